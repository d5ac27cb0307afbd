"""wayra profile: how calls are added up, what limits mean, and refusals; the steps themselves run on the real model."""

import json
from pathlib import Path

import numpy as np
import pytest

from wayra.backends.native.profile import Spent, StepTimes, step_times
from wayra.base.errors import BackendError, InvalidParameter
from wayra.cli.main import main
from wayra.cli.profile import Entry, Limits, Shape, operation_name, read_limits, summarise
from wayra.model.cost import Cost, call_costs, cost, step_size
from wayra.model.program import Call, Program
from wayra.model.record import record
from wayra.model.spec import ModelSpec


def spent(*cells: tuple[int, int]) -> Spent:
    return Spent(np.array([work for work, _ in cells]), np.array([wait for _, wait in cells]))


def test_calls_of_one_name_are_added_up_over_layers_and_threads() -> None:
    first, second = spent((3_000_000, 1_000_000), (1_000_000, 3_000_000)), spent((2_000_000, 0), (2_000_000, 0))
    other = spent((1_000_000, 0), (1_000_000, 0))
    times = StepTimes(9_000_000, other, (first, second), spent((0, 0), (0, 0)))
    entries = [
        Entry("rotary angles", other, Cost(), None),
        Entry("linear o", first, Cost(flops=2e9, weight_bytes=1e6), "int8_gop_s"),
        Entry("linear o", second, Cost(flops=2e9, weight_bytes=1e6), "int8_gop_s"),
    ]
    found = summarise(Shape("decode", 1, 1, 0), 1, times, entries, Limits(read_gb_s=10, int8_gop_s=2000))
    rotary, linear = found.operations
    assert (linear.calls, linear.busy_ms, linear.wait_ms) == (2, pytest.approx(4), pytest.approx(2))
    assert (linear.share, rotary.share) == (pytest.approx(0.8), pytest.approx(0.2))
    assert (linear.gop_s, linear.gb_s) == (pytest.approx(1000), pytest.approx(0.5))
    # 1 ms a call by operations, 0.1 ms by bytes: the stricter counts.
    assert linear.limit_share == pytest.approx(0.5)
    assert rotary.limit_share is None
    assert [(t.busy_ms, t.barrier_ms, t.idle_ms) for t in found.threads] == [(6, 1, 2), (4, 3, 2)]


def test_a_share_needs_every_limit_that_could_be_the_stricter_one() -> None:
    one = spent((1_000_000, 0))
    entries = [Entry("logits embed", one, Cost(flops=1e9, weight_bytes=1e6), "int8_gop_s")]
    times = StepTimes(2_000_000, one, (), one)
    for limits in (Limits(), Limits(read_gb_s=10), Limits(int8_gop_s=10)):
        assert summarise(Shape("decode", 1, 1, 0), 1, times, entries, limits).operations[0].limit_share is None


@pytest.mark.parametrize(
    ("text", "told"),
    [("{", "cannot be read as JSON"), ("[1]", "no JSON object"), ('{"gb": 1}', "is no limit"),
     ('{"read_gb_s": -1}', "expected a rate above 0"), ('{"int8_gop_s": true}', "expected a rate above 0"),
     ('{"int8_gop_s": NaN}', "expected a rate above 0")],
)  # fmt: skip
def test_a_bad_file_of_limits_is_refused_with_what_is_wrong(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "limits.json"
    path.write_text(text)
    with pytest.raises(InvalidParameter, match=told):
        read_limits(path)


def test_limits_may_be_given_in_part(tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    path.write_text('{"read_gb_s": 40}')
    assert read_limits(path) == Limits(read_gb_s=40.0)


def test_a_name_leaves_the_layer_out() -> None:
    call = Call("linear", (), ("layers.12.qkv", None), {}, (), ())
    assert operation_name(call) == "linear qkv"
    assert operation_name(Call("attention", (), (), {}, (), ())) == "attention"


@pytest.fixture(scope="module")
def program(smollm2_path: Path) -> Program:
    from wayra.weights.loader import model_spec, open_checkpoint

    checkpoint = open_checkpoint(smollm2_path)
    spec: ModelSpec = model_spec(checkpoint)
    checkpoint.close()
    return record(spec)


def test_the_costs_of_calls_add_up_to_the_cost_of_the_step(program: Program) -> None:
    costs = call_costs(program, step_size(8, 1, [8], "bf16"), 4.5)
    whole = cost(program, tokens=8, rows=1, kv_lens=[8], weight_bits=4.5)
    assert len(costs) == len(program.calls)
    assert sum(c.flops for c in costs) == pytest.approx(whole.flops)
    assert sum(c.memory_bytes for c in costs) == pytest.approx(whole.memory_bytes)


def test_cells_of_another_program_are_refused(program: Program) -> None:
    cells = np.zeros((2, len(program.calls) + 2, 2), np.int64)
    cells[:, -1, 0] = 7
    times = step_times(program, cells, 1)
    assert times.num_threads == 2
    assert times.sampling.work_ns.tolist() == [7, 7]
    with pytest.raises(BackendError, match="does not fit"):
        step_times(program, cells[:, 1:], 1)


def test_a_step_of_a_real_model_is_told_whole(smollm2_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["profile", str(smollm2_path), "--prefill", "40", "--decode", "70", "--batch", "2", "--threads", "2"]
    assert main([*args, "--repeats", "1", "--json"]) == 0
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert [(step["kind"], step["tokens"], step["kv_len"]) for step in steps] == [
        ("prefill", 80, 40),
        ("decode", 2, 71),
    ]
    for step in steps:
        assert [t["thread"] for t in step["threads"]] == [0, 1]
        for thread in step["threads"]:
            told = thread["busy_ms"] + thread["barrier_ms"] + thread["idle_ms"]
            assert told == pytest.approx(step["step_ms"], rel=0.01)
        assert sum(op["share"] for op in step["operations"]) == pytest.approx(1)
        assert {"linear qkv", "attention", "logits embed", "sampling"} <= {op["name"] for op in step["operations"]}


def test_a_step_beyond_the_context_is_refused(smollm2_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", str(smollm2_path), "--decode", "100000"]) == 2
    assert "the model takes 8,192" in capsys.readouterr().err
