"""The null backend's tokens are the documented function of what its KV cache holds."""

import numpy as np
import pytest

from wayra.backends.api import BackendOptions, StepBatch
from wayra.backends.null import NullModel, null_spec
from wayra.base.errors import ShapeError
from wayra.engine.engine import Engine
from wayra.engine.request import Request, SamplingParams
from wayra.engine.settings import EngineSettings

MASK = (1 << 64) - 1


def mix(value: int) -> int:
    z = value * 0x9E3779B97F4A7C15 & MASK
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def favourite(token_ids: list[int], vocab_size: int) -> int:
    """The definition in the module's docstring, in plain integers."""
    return mix(sum((t + 2) * mix(p + 1) for p, t in enumerate(token_ids)) & MASK) % vocab_size


def batch(token_ids: list[int], start: int, table: list[int], rows: list[int]) -> StepBatch:
    num = len(token_ids)
    return StepBatch(
        token_ids=np.array(token_ids, np.int32),
        positions=np.arange(start, start + num, dtype=np.int32),
        query_starts=np.array([0, num], np.int32),
        kv_lens=np.array([start + num], np.int32),
        block_tables=np.array([table], np.int32),
        logit_rows=np.array(rows, np.int32),
        return_logits=True,
    )


def logits(model: NullModel, step: StepBatch) -> np.ndarray:
    result = model.step(step).logits
    assert result is not None
    return result


def test_greedy_answers_follow_the_documented_definition() -> None:
    engine = Engine(NullModel(null_spec(997, 256)), EngineSettings())
    engine.add(Request("r", (5, 6, 7), SamplingParams(temperature=0.0, max_tokens=40)))
    known = [5, 6, 7]
    while engine.has_work():
        for output in engine.step():
            assert output.token_ids == (favourite(known, 997),)
            known += output.token_ids
    assert len(known) == 43


def test_each_row_sees_the_tokens_up_to_its_own_position_only() -> None:
    model = NullModel(null_spec(997, 256))
    model.allocate_kv(2)
    prompt = list(range(10, 50))
    rows = logits(model, batch(prompt, 0, [1, 0], [0, 31, 39]))
    assert rows.argmax(axis=1).tolist() == [favourite(prompt[:n], 997) for n in (1, 32, 40)]
    assert rows.max() == 8.0


def test_a_wrong_table_a_stale_block_or_an_unwritten_slot_changes_the_answer() -> None:
    model = NullModel(null_spec(997, 256))
    model.allocate_kv(4)
    prompt = list(range(40))
    model.step(batch(prompt, 0, [0, 1], [39]))
    right = logits(model, batch([3], 40, [0, 1], [0])).argmax()
    assert right == favourite([*prompt, 3], 997)
    assert logits(model, batch([3], 40, [2, 1], [0])).argmax() != right
    model.step(batch([9] * 32, 0, [0], [31]))
    assert logits(model, batch([3], 40, [0, 1], [0])).argmax() != right


def test_malformed_batches_are_refused() -> None:
    model = NullModel(null_spec(997, 256), BackendOptions(max_step_tokens=8))
    model.allocate_kv(2)
    for bad in (
        batch([1, 2], 0, [2], [0]),
        batch([1, 2], 0, [-1], [0]),
        batch([1, 997], 0, [0], [0]),
        batch([1] * 9, 0, [0], [0]),
        batch([1, 2], 31, [0], [0]),
    ):
        with pytest.raises(ShapeError):
            model.step(bad)
