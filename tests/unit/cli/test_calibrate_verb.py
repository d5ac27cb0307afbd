"""wayra calibrate, in this process: recorded benches and CSV files become constants; what cannot be used is said."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from wayra.cli.main import main
from wayra.lab.latency.record import RequestRecord, line_of
from wayra.lab.runs import RunFacts, RunStore
from wayra.plan.constants import default_constants, read_constants
from wayra.plan.hardware import hardware
from wayra.plan.models import architecture
from wayra.plan.roofline import Constants, Deployment, Load, decode_terms, prefill_terms, speed
from wayra.plan.stored import stored_as

Call = Callable[..., tuple[int, str, str]]
TRUE = Constants(0.7, 0.5, 2e-5, 0.0, 3e-5)
SERVED = ("--model", "llama3.1:8b", "--format", "bf16", "--hardware", "h100")
USERS = (1, 2, 4, 8, 16, 32, 64, 128)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunStore:
    monkeypatch.setenv("WAYRA_RUNS", str(tmp_path / "runs"))
    return RunStore(tmp_path / "runs")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*args: str) -> tuple[int, str, str]:
        code = main(["calibrate", *args])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def token_s(users: int, prompt: int, answer: int) -> float:
    deployment = Deployment(architecture("llama-3.1-8b"), stored_as("bf16"), hardware("h100"))
    return speed(decode_terms(deployment, Load(users, prompt, answer)), TRUE).seconds


def record(stage: str, number: int, times: tuple[float, ...], cached: int = 0, prompt: int = 1000) -> RequestRecord:
    """times: when it is sent, and seconds a token of 101; to the first one, if that differs."""
    sent, each, *first = times
    arrivals = [sent + (*first, each)[0] + i * each for i in range(101)]
    return RequestRecord(
        key=f"{stage}/{number:06d}", stage=stage, status="ok", sent_s=sent, ended_s=arrivals[-1], event_s=arrivals,
        event_tokens=[1] * 101, prompt_tokens=prompt, completion_tokens=101, cached_tokens=cached,
    )  # fmt: skip


def bench(store: RunStore, *, target: str = "http://127.0.0.1:8000", cached: int = 0, users: tuple[int, ...] = USERS):
    """A recorded bench whose answers take exactly what the roofline says under TRUE."""
    with store.create("bench", {"target": target, "mode": "traffic"}, RunFacts(name="made")) as run:
        for prompt in (1000, 4000):
            for count in users:
                each = token_s(count, prompt, 101)
                for i in range(count):
                    run.append(line_of(record(f"p{prompt} c{count}", i, (0.0, each), cached, prompt)))
        run.finish()
    return run.id


def test_a_recorded_bench_of_a_server_gives_its_constants(call: Call, store: RunStore, tmp_path: Path):
    bench(store)
    out = tmp_path / "mine.toml"
    code, text, err = call("latest", *SERVED, "--out", str(out), "--json")
    assert (code, err) == (0, "")
    found = json.loads(text)
    assert found["runs"] == 16
    assert found["mean_error"] < 0.02
    assert found["bandwidth_share"] == pytest.approx(0.7, rel=0.15)
    written = read_constants(out)
    assert (written.kind, written.bandwidth_share) == ("gpu", found["bandwidth_share"])


def test_times_that_something_disturbed_are_told(call: Call, store: RunStore, tmp_path: Path):
    header = "model,format,hardware,gpus,batch,input_len,output_len,seconds_per_token\n"
    rows = [(1 + i, token_s(1 + i, 1000, 101) * (10 if i % 3 == 0 else 1)) for i in range(12)]
    text = "".join(f"llama3.1:8b,bf16,h100,1,{users},1000,101,{seconds}\n" for users, seconds in rows)
    (tmp_path / "runs.csv").write_text(header + text, "utf-8")
    code, out, _ = call(str(tmp_path / "runs.csv"))
    assert code == 0
    assert re.search(r"note: times of tokens scatter over \d+ times around the fit; measure them again on a quiet", out)
    bench(store)
    code, out, _ = call("latest", *SERVED, "--json")
    assert (code, json.loads(out)["notes"]) == (0, [])


def test_a_server_does_not_say_what_it_runs(call: Call, store: RunStore):
    run_id = bench(store)
    code, _, err = call(run_id, "--model", "llama3.1:8b")
    assert code == 2
    assert "which does not say what it runs; name --model and --hardware" in err


def test_stages_whose_prompts_were_cached_are_left_out(call: Call, store: RunStore):
    run_id = bench(store, cached=900)
    code, _, err = call(run_id, *SERVED)
    assert code == 2
    assert "no stage with times between tokens of answers whose prompts were read" in err


def test_too_few_loads_are_refused(call: Call, store: RunStore):
    run_id = bench(store, users=(1, 2))
    code, _, err = call(run_id, *SERVED)
    assert code == 2
    assert "4 runs to calibrate with; expected 8 or more" in err


def test_runs_of_another_kind_are_refused(call: Call, store: RunStore):
    with store.create("eval", {}) as run:
        run.finish()
    code, _, err = call(run.id)
    assert code == 2
    assert "is of kind eval; times of tokens are in runs of wayra bench" in err


def test_a_run_of_another_machine_is_not_taken_for_one_of_this(
    call: Call, store: RunStore, monkeypatch: pytest.MonkeyPatch
):
    run_id = bench(store, target="smollm2")
    elsewhere = {"processor": "another one", "cores": 3}
    monkeypatch.setattr("wayra.cli.calibrate_runs.describe_machine", lambda: elsewhere)
    code, _, err = call(run_id)
    assert code == 2
    assert "this machine is another; calibrate there, or name its --hardware" in err


def test_a_run_of_a_model_here_says_itself_what_it_measured(call: Call, store: RunStore, smollm2_path: Path):
    bench(store, target=str(smollm2_path))
    code, text, _ = call("latest", "--json")
    assert code == 0
    assert json.loads(text)["kind"] == "cpu"


def on_cpu(kind: str, size: int) -> float:
    """Seconds of a step of a batch, or of a prompt of so many tokens, under constants of a CPU."""
    constants = Constants(0.9, 0.8, 1e-5, 0.0, 1e-4, kv_share=0.6, rows_share=0.7, attention_share=0.5)
    deployment = Deployment(architecture("llama-3.2-1b"), stored_as("q8_0"), hardware("desktop-ddr5"))
    if kind == "prompt":
        return speed(prefill_terms(deployment, size), constants).seconds
    return speed(decode_terms(deployment, Load(size, 512, 100)), constants).seconds


def test_prompts_read_one_at_a_time_give_their_constants(call: Call, store: RunStore):
    with store.create("bench", {"target": "http://127.0.0.1:8000", "mode": "traffic"}, RunFacts(name="made")) as run:
        for count in (1, 2, 3, 4, 6, 8, 12, 16):
            for i in range(count):
                run.append(
                    line_of(record(f"c{count}", i, (0.0, on_cpu("step", count), on_cpu("prompt", 512)), prompt=512))
                )
        for n, tokens in enumerate((64, 128, 256, 512, 1024, 2048, 4096, 8192)):
            first = on_cpu("prompt", tokens)
            one = RequestRecord(
                key=f"pp{tokens}/{n:06d}", stage=f"pp{tokens}", status="ok", sent_s=0.0, ended_s=first,
                event_s=[first], event_tokens=[1], prompt_tokens=tokens, completion_tokens=1, cached_tokens=0,
            )  # fmt: skip
            run.append(line_of(one))
        run.finish()
    served = ("--model", "llama3.2:1b", "--format", "q8_0", "--hardware", "desktop-ddr5")
    code, text, err = call("latest", *served, "--json")
    assert (code, err) == (0, "")
    found = json.loads(text)
    assert found["mean_errors"]["prompts"] < 0.03
    assert found["attention_share"] == pytest.approx(0.5, rel=0.1)
    assert found["prompt_low"] == pytest.approx(1, abs=0.15)
    assert "as shipped" not in found["source"]
    code, text, _ = call("latest", *served)
    assert code == 0
    assert "mean error on the measured times of prompts" in text
    assert "those of prompts within" in text


def test_without_prompts_of_several_lengths_the_shipped_constants_of_prompts_are_kept(call: Call, store: RunStore):
    with store.create("bench", {"target": "http://127.0.0.1:8000", "mode": "traffic"}, RunFacts(name="made")) as run:
        for count in (1, 2, 3, 4, 6, 8, 12, 16):
            for i in range(count):
                run.append(
                    line_of(record(f"c{count}", i, (0.0, on_cpu("step", count), on_cpu("prompt", 512)), prompt=512))
                )
        run.finish()
    code, text, _ = call("latest", "--model", "llama3.2:1b", "--format", "q8_0", "--hardware", "desktop-ddr5", "--json")
    assert code == 0
    found, shipped = json.loads(text), default_constants("cpu")
    assert (found["attention_share"], found["prompt_low"]) == (shipped.attention_share, shipped.prompt_low)
    assert "those of prompts as shipped" in found["source"]


def test_a_csv_may_say_when_first_tokens_came(call: Call, tmp_path: Path):
    lines = ["model,format,hardware,gpus,batch,input_len,output_len,seconds_per_token,seconds_to_first_token"]
    for tokens in (64, 128, 256, 512, 1024, 2048, 4096, 8192):
        each, first = on_cpu("step", 1), on_cpu("prompt", tokens)
        lines.append(f"llama3.2:1b,q8_0,desktop-ddr5,1,1,{tokens},100,{each},{first}")
    lines.append(f"llama3.2:1b,q8_0,desktop-ddr5,1,4,512,100,{on_cpu('step', 4)},")
    (tmp_path / "runs.csv").write_text("\n".join(lines))
    code, text, _ = call(str(tmp_path / "runs.csv"), "--json")
    assert code == 0
    found = json.loads(text)
    assert found["runs"] == 17
    assert found["mean_errors"]["prompts"] < 0.05
    (tmp_path / "bad.csv").write_text("\n".join([*lines[:3], lines[3].rsplit(",", 1)[0] + ",soon"]))
    code, _, err = call(str(tmp_path / "bad.csv"))
    assert code in (1, 2)
    assert "line 4: seconds_to_first_token is 'soon'" in err


def test_a_csv_is_still_read(call: Call, tmp_path: Path):
    lines = ["model,format,hardware,gpus,batch,input_len,output_len,seconds_per_token"]
    lines += [f"llama3.1:8b,bf16,h100,1,{n},1000,101,{token_s(n, 1000, 101)}" for n in range(1, 13)]
    (tmp_path / "runs.csv").write_text("\n".join(lines))
    code, text, _ = call(str(tmp_path / "runs.csv"), "--json")
    assert code == 0
    assert json.loads(text)["runs"] == 12


def test_what_is_no_run_is_one_sentence(call: Call, store: RunStore, tmp_path: Path):
    for name in ("nothing-like-it", str(tmp_path / "none.csv")):
        code, out, err = call(name)
        assert code in (1, 2)
        assert out == ""
        assert err.count("\n") == 1
