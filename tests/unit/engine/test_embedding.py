"""Vectors of whole prompts: pooled over chunks, batched with answers, and never taken from cached prefixes."""

import numpy as np
import pytest
from numpy.typing import NDArray

from wayra.backends.api import BackendOptions, StepBatch, StepResult
from wayra.backends.null import NullModel, null_spec
from wayra.base.errors import InvalidParameter
from wayra.engine.engine import Engine
from wayra.engine.request import Output, Pooling, Request, SamplingParams
from wayra.engine.settings import EngineSettings

NOTHING = SamplingParams(max_tokens=0)
PROMPT = tuple(range(3, 120))


def make_engine(model: NullModel | None = None, step_tokens: int = 32) -> Engine:
    return Engine(model or null_model(), EngineSettings(step_tokens=step_tokens, max_context=256))


def null_model() -> NullModel:
    return NullModel(null_spec(500, 256), BackendOptions(max_step_tokens=128, max_step_seqs=8))


def finish(engine: Engine) -> dict[str, list[Output]]:
    outputs: dict[str, list[Output]] = {}
    for _ in range(500):
        if not engine.has_work():
            return outputs
        for output in engine.step():
            outputs.setdefault(output.request_id, []).append(output)
        engine.check_integrity()
    raise AssertionError("the engine does not come to an end")


def embed(engine: Engine, pooling: Pooling, prompt: tuple[int, ...] = PROMPT) -> NDArray[np.float32]:
    engine.add(Request("e", prompt, NOTHING, pooling=pooling))
    (output,) = finish(engine)["e"]
    assert (output.finish_reason, output.token_ids) == ("stop", ())
    assert output.embedding is not None
    return output.embedding


def hidden_of(prompt: tuple[int, ...]) -> NDArray[np.float32]:
    """What the backend gives for each token of a prompt, in one step."""
    model = null_model()
    model.allocate_kv(4)
    count = len(prompt)
    batch = StepBatch(
        token_ids=np.array(prompt, np.int32),
        positions=np.arange(count, dtype=np.int32),
        query_starts=np.array([0, count], np.int32),
        kv_lens=np.array([count], np.int32),
        block_tables=np.arange(4, dtype=np.int32)[None],
        logit_rows=np.arange(count, dtype=np.int32),
        return_hidden=True,
    )
    hidden = model.step(batch).hidden
    assert hidden is not None
    return hidden


@pytest.mark.parametrize("step_tokens", [1, 7, 32, 128])
def test_a_prompt_is_pooled_however_it_is_cut(step_tokens: int) -> None:
    hidden = hidden_of(PROMPT)
    np.testing.assert_allclose(embed(make_engine(None, step_tokens), "mean"), hidden.mean(axis=0), atol=1e-6)
    np.testing.assert_array_equal(embed(make_engine(None, step_tokens), "last"), hidden[-1])


def test_cached_prefixes_do_not_change_a_vector() -> None:
    engine = make_engine()
    first = {pooling: embed(engine, pooling) for pooling in ("mean", "last")}
    again = {pooling: embed(engine, pooling) for pooling in ("mean", "last")}
    for pooling, vector in first.items():
        np.testing.assert_array_equal(vector, again[pooling])


def test_answers_and_vectors_share_the_engine_without_touching_each_other() -> None:
    params = SamplingParams(temperature=0.0, max_tokens=20)
    alone = make_engine()
    alone.add(Request("a", PROMPT[:40], params))
    expected = [t for o in finish(alone)["a"] for t in o.token_ids]
    engine = make_engine()
    engine.add(Request("a", PROMPT[:40], params))
    for i in range(10):
        engine.add(Request(f"e{i}", PROMPT[i:], NOTHING, pooling="mean" if i % 2 else "last"))
    outputs = finish(engine)
    assert [t for o in outputs["a"] for t in o.token_ids] == expected
    for i in range(10):
        vector = outputs[f"e{i}"][-1].embedding
        assert vector is not None
        np.testing.assert_array_equal(vector, embed(make_engine(), "mean" if i % 2 else "last", PROMPT[i:]))


def test_a_prompt_of_one_token_has_a_vector() -> None:
    np.testing.assert_array_equal(embed(make_engine(), "mean", (7,)), hidden_of((7,))[0])


@pytest.mark.parametrize(
    "params", [SamplingParams(), SamplingParams(max_tokens=4), SamplingParams(max_tokens=0, prompt_logprobs=True)]
)
def test_a_request_wants_a_vector_or_an_answer(params: SamplingParams) -> None:
    with pytest.raises(InvalidParameter, match="pooling is set on a request that wants tokens"):
        make_engine().add(Request("e", PROMPT, params, pooling="mean"))


def test_an_unknown_pooling_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="pooling is 'max', expected 'mean' or 'last'"):
        make_engine().add(Request("e", PROMPT, NOTHING, pooling="max"))  # type: ignore[arg-type]


class BrokenModel(NullModel):
    """Its vectors are not numbers."""

    def step(self, batch: StepBatch) -> StepResult:
        result = super().step(batch)
        if result.hidden is not None:
            result.hidden[:] = np.nan
        return result


def test_a_vector_that_is_not_finite_fails_its_request_alone() -> None:
    model = BrokenModel(null_spec(500, 256), BackendOptions(max_step_tokens=128, max_step_seqs=8))
    engine = make_engine(model)
    engine.add(Request("e", PROMPT, NOTHING, pooling="mean"))
    engine.add(Request("a", PROMPT[:5], SamplingParams(temperature=0.0, max_tokens=3)))
    outputs = finish(engine)
    assert outputs["e"][-1].finish_reason == "error"
    assert "not finite" in (outputs["e"][-1].error or "")
    assert outputs["a"][-1].finish_reason == "length"
