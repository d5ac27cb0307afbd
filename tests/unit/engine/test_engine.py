"""The engine's behaviour towards one request, and what one may do to the others, on the null backend."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from wayra.backends.api import KV_BLOCK_LEN, BackendOptions, StepBatch, StepResult
from wayra.backends.null import NullModel, null_spec
from wayra.base.errors import ContextOverflow, InvalidParameter
from wayra.engine.engine import Engine
from wayra.engine.request import Output, Request, SamplingParams
from wayra.engine.settings import EngineSettings

VOCAB_SIZE = 500
GREEDY = SamplingParams(temperature=0.0, max_tokens=8)


def make_engine(model: NullModel | None = None, eos_ids: Sequence[int] = (), **settings: int | bool) -> Engine:
    model = model or NullModel(null_spec(VOCAB_SIZE, 256))
    return Engine(model, EngineSettings(**settings), frozenset(eos_ids))  # type: ignore[arg-type]


def finish(engine: Engine) -> dict[str, list[Output]]:
    outputs: dict[str, list[Output]] = {}
    for _ in range(2000):
        if not engine.has_work():
            return outputs
        for output in engine.step():
            outputs.setdefault(output.request_id, []).append(output)
        engine.check_integrity()
    raise AssertionError("the engine does not come to an end")


def tokens(outputs: Sequence[Output]) -> tuple[int, ...]:
    return tuple(t for o in outputs for t in o.token_ids)


def ask(engine: Engine, prompt: Sequence[int], params: SamplingParams = GREEDY, name: str = "r") -> list[Output]:
    engine.add(Request(name, tuple(prompt), params))
    return finish(engine)[name]


def test_a_prompt_of_one_token_is_answered() -> None:
    outputs = ask(make_engine(), [7])
    assert len(tokens(outputs)) == 8
    assert [o.finish_reason for o in outputs] == [None] * 7 + ["length"]


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="the prompt is empty, expected at least one token"):
        make_engine().add(Request("r", (), GREEDY))


def test_a_prompt_over_the_context_names_both_numbers_and_the_way_out() -> None:
    engine = make_engine(max_context=64)
    with pytest.raises(ContextOverflow, match=r"prompt has 64 tokens, limit is 63 .*shorten it or raise --max-context"):
        engine.add(Request("r", (1,) * 64, GREEDY))
    assert not engine.has_work()


def test_a_prompt_may_fill_the_context_when_no_answer_is_wanted() -> None:
    (output,) = ask(make_engine(max_context=64), [1] * 64, SamplingParams(max_tokens=0, prompt_logprobs=True))
    assert output.token_ids == ()
    assert output.finish_reason == "length"
    assert output.prompt_logprobs is not None
    assert len(output.prompt_logprobs) == 63


@pytest.mark.parametrize("prompt", [(1, 500), (1, -1), (1.5, 2), ("a",), (True, False), (1, 10**30), ((1, 2), (3,))])
def test_prompts_of_anything_but_known_tokens_are_refused(prompt: tuple[int, ...]) -> None:
    with pytest.raises(InvalidParameter, match="the prompt holds"):
        make_engine().add(Request("r", prompt, GREEDY))


def test_tokens_of_biases_and_stops_must_be_in_the_vocabulary() -> None:
    engine = make_engine()
    with pytest.raises(InvalidParameter, match="a logit_bias token id is 500, the vocabulary has 0 to 499"):
        engine.add(Request("r", (1,), SamplingParams(logit_bias={500: 1.0})))
    with pytest.raises(InvalidParameter, match="a stop token id is 9,999, the vocabulary has 0 to 499"):
        engine.add(Request("r", (1,), SamplingParams(stop_token_ids=(9999,))))


def test_a_request_id_is_free_again_only_after_its_end_was_reported() -> None:
    engine = make_engine()
    engine.add(Request("r", (1,), GREEDY))
    with pytest.raises(InvalidParameter, match="request id 'r' is in use"):
        engine.add(Request("r", (2,), GREEDY))
    engine.cancel("r")
    with pytest.raises(InvalidParameter, match="request id 'r' is in use"):
        engine.add(Request("r", (2,), GREEDY))
    finish(engine)
    engine.add(Request("r", (2,), GREEDY))


def test_an_answer_ends_at_the_context() -> None:
    outputs = ask(make_engine(max_context=50), range(40), replace(GREEDY, max_tokens=None))
    assert len(tokens(outputs)) == 10
    assert outputs[-1].finish_reason == "length"


def test_end_of_sequence_and_stop_tokens_end_the_answer_and_are_not_part_of_it() -> None:
    free = tokens(ask(make_engine(), range(20)))
    for engine, params in (
        (make_engine(eos_ids=[free[3]]), GREEDY),
        (make_engine(), replace(GREEDY, stop_token_ids=(free[3],))),
    ):
        outputs = ask(engine, range(20), params)
        assert tokens(outputs) == free[:3]
        assert outputs[-1].finish_reason == "stop"


def test_ignore_eos_goes_on_but_stop_tokens_still_stop() -> None:
    free = tokens(ask(make_engine(), range(20)))
    engine = make_engine(eos_ids=[free[3]])
    assert tokens(ask(engine, range(20), replace(GREEDY, ignore_eos=True))) == free
    params = replace(GREEDY, ignore_eos=True, stop_token_ids=(free[5],))
    assert tokens(ask(engine, range(20), params)) == free[:5]


def test_min_tokens_keeps_the_stop_token_away_until_reached() -> None:
    free = tokens(ask(make_engine(), range(20)))
    outputs = ask(make_engine(eos_ids=[free[0]]), range(20), replace(GREEDY, min_tokens=4))
    # The null backend's second choice is the favourite's neighbour.
    assert outputs[0].token_ids == (free[0] + 1,)
    assert len(tokens(outputs)) >= 4
    assert free[0] not in tokens(outputs)[:4]


def test_seeds_decide_sampled_answers() -> None:
    engine = make_engine()
    params = SamplingParams(temperature=2.0, max_tokens=20, seed=11)
    first, again = ask(engine, [5, 6], params, "a"), ask(engine, [5, 6], params, "b")
    other = ask(engine, [5, 6], replace(params, seed=12), "c")
    assert tokens(first) == tokens(again) != tokens(other)


def test_a_seed_of_none_gives_different_answers() -> None:
    engine = make_engine()
    params = SamplingParams(temperature=50.0, max_tokens=20)
    assert tokens(ask(engine, [5], params, "a")) != tokens(ask(engine, [5], params, "b"))


def test_logprobs_name_the_chosen_token_and_the_likeliest() -> None:
    outputs = ask(make_engine(), [9, 8], replace(GREEDY, logprobs=2))
    for output in outputs:
        (entry,) = output.logprobs
        assert entry.token_id == output.token_ids[0]
        assert entry.top[0] == (entry.token_id, entry.logprob)
        assert entry.top[1][1] < entry.logprob < 0.0


def test_prompt_logprobs_come_once_and_are_computed_in_spite_of_the_cache() -> None:
    engine = make_engine(step_tokens=40, max_running=4)
    prompt = [3, 1, 4, 1, 5] * 20
    ask(engine, prompt, GREEDY, "warm")
    outputs = ask(engine, prompt, replace(GREEDY, prompt_logprobs=True), "scored")
    assert outputs[0].prompt_logprobs is not None
    assert len(outputs[0].prompt_logprobs) == 99
    assert outputs[0].cached_tokens == 0
    assert all(o.prompt_logprobs is None for o in outputs[1:])
    cold = ask(make_engine(), prompt, replace(GREEDY, prompt_logprobs=True))
    assert outputs[0].prompt_logprobs == cold[0].prompt_logprobs


def test_the_prefix_cache_serves_whole_blocks_and_never_the_last_token() -> None:
    engine = make_engine()
    prompt = list(range(2 * KV_BLOCK_LEN))
    cold = ask(engine, prompt, GREEDY, "a")
    warm = ask(engine, prompt, GREEDY, "b")
    longer = ask(engine, [*prompt, 5], GREEDY, "c")
    assert [cold[0].cached_tokens, warm[0].cached_tokens, longer[0].cached_tokens] == [0, 32, 64]
    assert tokens(cold) == tokens(warm)
    assert engine.metrics().cached_prompt_tokens == 96


def test_a_conversation_goes_on_from_its_own_answer() -> None:
    engine = make_engine()
    params = replace(GREEDY, max_tokens=40)
    answer = tokens(ask(engine, range(30), params, "a"))
    (first, *_) = ask(engine, [*range(30), *answer, 1, 2, 3], params, "b")
    assert first.cached_tokens == 64


def test_prefixes_are_not_shared_across_salts() -> None:
    engine = make_engine()
    prompt = tuple(range(100))
    for name, salt, cached in (("a", "x", 0), ("b", "y", 0), ("c", "x", 96)):
        engine.add(Request(name, prompt, GREEDY, salt=salt))
        assert finish(engine)[name][0].cached_tokens == cached


def test_equal_prompts_that_arrive_together_are_computed_once() -> None:
    engine = make_engine(step_tokens=64, max_running=8)
    for name in "abcd":
        engine.add(Request(name, tuple(range(200)), GREEDY))
    outputs = finish(engine)
    assert [outputs[name][0].cached_tokens for name in "abcd"] == [0, 192, 192, 192]
    assert len({tokens(outputs[name]) for name in "abcd"}) == 1


def test_cancelling_frees_the_blocks_at_once_and_is_reported() -> None:
    engine = make_engine()
    engine.add(Request("r", tuple(range(100)), GREEDY))
    engine.step()
    assert engine.metrics().kv_blocks_used == 4
    engine.cancel("r")
    assert engine.metrics().kv_blocks_used == 0
    assert [(o.request_id, o.finish_reason) for o in engine.step()] == [("r", "cancelled")]
    assert not engine.has_work()


def test_cancelling_unknown_or_finished_requests_does_nothing() -> None:
    engine = make_engine()
    engine.cancel("nobody")
    ask(engine, [1])
    engine.cancel("r")
    assert not engine.has_work()
    assert engine.metrics().cancelled_requests == 0


class Poisoned(NullModel):
    """Fails steps with token 13, answers NaN after token 17, and a token out of range after token 19."""

    def step(self, batch: StepBatch) -> StepResult:
        result = super().step(batch)
        if 13 in batch.token_ids:
            raise RuntimeError("the arithmetic unit is on fire")
        logprobs, token_ids = result.logprobs.copy(), result.token_ids.copy()
        logprobs[batch.token_ids[batch.logit_rows] == 17] = math.nan
        token_ids[batch.token_ids[batch.logit_rows] == 19] = -1
        return replace(result, logprobs=logprobs, token_ids=token_ids)


@pytest.mark.parametrize(
    ("poison", "message"),
    [
        (13, "RuntimeError: the arithmetic unit is on fire"),
        (17, "log-probability nan"),
        (19, "the model gave token -1"),
        (19, "its weights may be damaged, compare their hash"),
    ],
)
def test_a_failing_request_ends_alone_and_leaves_nothing_behind(poison: int, message: str) -> None:
    healthy = tokens(ask(make_engine(), [1, 2, 3]))
    engine = make_engine(Poisoned(null_spec(VOCAB_SIZE, 256)))
    engine.add(Request("good", (1, 2, 3), GREEDY))
    engine.add(Request("bad", (*range(100, 164), poison), GREEDY))
    outputs = finish(engine)
    assert tokens(outputs["good"]) == healthy
    (failure,) = outputs["bad"]
    assert failure.finish_reason == "error"
    assert failure.error is not None
    assert message in failure.error
    metrics = engine.metrics()
    assert (metrics.failed_requests, metrics.kv_blocks_used, metrics.kv_blocks_cached) == (1, 0, 0)


class Interrupted(NullModel):
    """Ctrl-C in the third step."""

    steps = 0

    def step(self, batch: StepBatch) -> StepResult:
        self.steps += 1
        if self.steps == 3:
            raise KeyboardInterrupt
        return super().step(batch)


def test_a_step_interrupted_by_the_keyboard_can_be_repeated() -> None:
    expected = tokens(ask(make_engine(), [1, 2, 3]))
    engine = make_engine(Interrupted(null_spec(VOCAB_SIZE, 256)))
    engine.add(Request("r", (1, 2, 3), GREEDY))
    outputs = engine.step() + engine.step()
    with pytest.raises(KeyboardInterrupt):
        engine.step()
    engine.check_integrity()
    assert tokens(outputs + finish(engine)["r"]) == expected


class OnlyThese:
    """Allows the given tokens, one after the other."""

    def __init__(self, wanted: Sequence[int], ends_when_complete: bool = False) -> None:
        self.wanted = list(wanted)
        self.ends_when_complete = ends_when_complete
        self.accepted: list[int] = []

    def mask(self) -> NDArray[np.uint32]:
        mask = np.zeros((VOCAB_SIZE + 31) // 32, dtype=np.uint32)
        if len(self.accepted) < len(self.wanted):
            token_id = self.wanted[len(self.accepted)]
            mask[token_id // 32] = 1 << (token_id % 32)
        return mask

    def accept(self, token_id: int) -> bool:
        self.accepted.append(token_id)
        return self.ends_when_complete and self.accepted == self.wanted


def test_a_constraint_decides_what_may_be_said() -> None:
    engine = make_engine(eos_ids=[9])
    constraint = OnlyThese([3, 499, 32, 9])
    engine.add(Request("r", (1, 2), SamplingParams(temperature=1.0, seed=1), constraint=constraint))
    engine.add(Request("free", (1, 2), GREEDY))
    outputs = finish(engine)
    assert tokens(outputs["r"]) == (3, 499, 32)
    assert outputs["r"][-1].finish_reason == "stop"
    assert constraint.accepted == [3, 499, 32]
    assert tokens(outputs["free"]) == tokens(ask(make_engine(), [1, 2]))


def test_a_complete_constraint_ends_the_answer_without_another_step() -> None:
    engine = make_engine(eos_ids=[9])
    engine.add(Request("r", (1, 2), GREEDY, constraint=OnlyThese([3, 499], ends_when_complete=True)))
    outputs = finish(engine)
    assert tokens(outputs["r"]) == (3, 499)
    assert (outputs["r"][-1].finish_reason, engine.metrics().steps) == ("stop", 2)


def test_a_constraint_that_allows_nothing_fails_its_own_request_only() -> None:
    engine = make_engine()
    engine.add(Request("r", (1, 2), GREEDY, constraint=OnlyThese([3])))
    engine.add(Request("free", (1, 2), GREEDY))
    outputs = finish(engine)
    assert tokens(outputs["r"]) == (3,)
    assert outputs["r"][-1].error == "the constraint allows no token; loosen it"
    assert outputs["free"][-1].finish_reason == "length"


def test_requests_of_unlimited_length_share_a_pool_that_holds_one_of_them() -> None:
    engine = make_engine(max_context=128, kv_blocks=6)
    params = SamplingParams(temperature=0.0)
    for name in "abc":
        engine.add(Request(name, (ord(name), 1), params))
    outputs = finish(engine)
    assert {len(tokens(o)) for o in outputs.values()} == {126}
    assert engine.metrics().steps < 3 * 126


def test_requests_start_in_the_order_they_came() -> None:
    engine = make_engine(max_running=1)
    for name in ("first", "second", "third"):
        engine.add(Request(name, (1,), replace(GREEDY, max_tokens=2)))
    assert list(finish(engine)) == ["first", "second", "third"]


def test_decoding_goes_on_while_a_long_prompt_is_read() -> None:
    engine = make_engine(step_tokens=16, max_running=4)
    engine.add(Request("short", (1,), GREEDY))
    engine.step()
    engine.add(Request("long", tuple(range(100)), GREEDY))
    assert [[o.request_id for o in engine.step()] for _ in range(5)] == [["short"]] * 5


def test_settings_that_contradict_the_model_are_refused() -> None:
    model = NullModel(null_spec(VOCAB_SIZE, 256), BackendOptions(max_step_tokens=64, max_step_seqs=4))
    for settings, message in (
        (EngineSettings(max_context=257), "max_context is 257, the model knows 256 positions"),
        (EngineSettings(max_context=256, kv_blocks=7), "kv_blocks is 7, a context of 256 tokens takes 8"),
        (EngineSettings(step_tokens=65), "step_tokens is 65, the backend was loaded for 64"),
        (EngineSettings(max_running=5), "max_running is 5, expected 1 to 4"),
    ):
        with pytest.raises(InvalidParameter, match=message):
            Engine(model, settings)


@pytest.mark.parametrize("name", ["max_context", "kv_blocks", "kv_memory_bytes", "step_tokens", "max_running"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, 1 << 60])
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(InvalidParameter, match=f"{name} is {value!r}, expected an integer from 1 to"):
        EngineSettings(**{name: value})  # type: ignore[arg-type]


def test_the_context_is_cut_to_the_memory_when_it_was_left_open() -> None:
    model = NullModel(null_spec(VOCAB_SIZE, 4096))
    engine = Engine(model, EngineSettings(kv_memory_bytes=10 * model.kv_bytes_per_block()))
    assert (engine.limits.max_context, engine.limits.kv_blocks) == (320, 10)
