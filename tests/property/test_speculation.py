"""Speculation changes when tokens come, never which: the same answers with any drafter, right, wrong or broken."""

import logging
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from drafters import Broken, Liar, Oracle
from engine_schedules import (
    MAX_STEP_SEQS,
    MAX_STEP_TOKENS,
    Answer,
    Schedule,
    answer_alone,
    check_schedule,
    is_identical,
    random_schedule,
    run_schedule,
)
from hypothesis import given
from hypothesis import strategies as st

from wayra.backends.api import BackendOptions, StepBatch, StepResult
from wayra.backends.null import NullModel, null_spec
from wayra.engine.engine import Engine
from wayra.engine.request import Request, SamplingParams
from wayra.engine.sequence import Sequence as EngineSequence
from wayra.engine.settings import EngineSettings
from wayra.engine.speculate import lengths, speculator
from wayra.engine.speculate.draft_model import DraftModel
from wayra.engine.speculate.step_times import StepTimes

VOCAB_SIZE = 61
OPTIONS = BackendOptions(max_step_tokens=MAX_STEP_TOKENS, max_step_seqs=4 * MAX_STEP_SEQS)


def null_model() -> NullModel:
    return NullModel(null_spec(VOCAB_SIZE, 512), OPTIONS)


@pytest.fixture(autouse=True)
def reckless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guess whenever it is possible, as if it cost nothing, whatever the clock says; and let no drafter fail unseen."""

    def fail(message: str, cause: object) -> None:
        raise AssertionError(message) from (cause if isinstance(cause, Exception) else None)

    def curve(times: StepTimes, num_tokens: int, num_keys: int, num_more: int) -> list[float]:
        return [1.0] * (num_more + 1)

    monkeypatch.setattr(speculator, "_FIRST_CREDIT", 1e9)
    monkeypatch.setattr(lengths, "MIN_GAIN", 0.0)
    monkeypatch.setattr(StepTimes, "curve", curve)
    monkeypatch.setattr(StepTimes, "is_known", lambda times, num_tokens: True)
    monkeypatch.setattr(StepTimes, "largest", 1000)
    monkeypatch.setattr(logging.getLogger("wayra.engine.speculate.speculator"), "warning", fail)


def speculative(seed: int, speculate: str) -> Schedule:
    """A schedule of the engine's own test with speculation on."""
    schedule = random_schedule(seed, VOCAB_SIZE)
    settings = replace(schedule.settings, speculate=speculate, draft_tokens=random.Random(seed).choice([1, 3, 15, 31]))
    return replace(schedule, settings=settings)


def answers_of(schedule: Schedule) -> dict[str, Sequence[int]]:
    model = null_model()
    return {a.request.id: answer_alone(model, schedule, a.request).token_ids for a in schedule.arrivals}


@given(st.integers(0, 2**40))
def test_lookup_gives_the_answers_of_plain_decoding(seed: int) -> None:
    check_schedule(null_model(), speculative(seed, "lookup"), is_identical)


@given(st.integers(0, 2**40))
def test_a_drafter_right_or_wrong_gives_the_answers_of_plain_decoding(seed: int) -> None:
    schedule = speculative(seed, "draft")
    drafter = Oracle(answers_of(schedule), VOCAB_SIZE, random.Random(seed).choice([0.0, 0.1, 0.5, 1.0]), seed)
    check_schedule(null_model(), schedule, is_identical, drafter)


@given(st.integers(0, 2**40))
def test_a_lying_drafter_gives_the_answers_of_plain_decoding(seed: int) -> None:
    schedule = speculative(seed, "draft")
    check_schedule(null_model(), schedule, is_identical, Liar(answers_of(schedule), VOCAB_SIZE, 0.2, seed))


def test_a_drafter_that_breaks_is_told_of_and_never_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    log = logging.getLogger("wayra.engine.speculate.speculator")
    monkeypatch.setattr(log, "warning", lambda message, cause: told.append(message % cause))
    num_broken = 0
    for seed in range(20):
        schedule = speculative(seed, "draft")
        drafter = Broken(answers_of(schedule), VOCAB_SIZE, 0.2, seed)
        check_schedule(null_model(), schedule, is_identical, drafter)
        num_broken += drafter.is_broken
    assert num_broken > 5
    assert told == ["speculation is off from here on: the drafter failed (out of ink)"] * num_broken


def test_right_guesses_take_fewer_steps_and_are_counted() -> None:
    num_accepted = 0
    for seed in range(30):
        schedule = speculative(seed, "draft")
        plain = replace(schedule, settings=replace(schedule.settings, speculate="off"))
        counted: list[Answer] = list(
            run_schedule(null_model(), schedule, Oracle(answers_of(schedule), VOCAB_SIZE, 0.0)).values()
        )
        for answer, without in zip(counted, run_schedule(null_model(), plain).values(), strict=True):
            assert answer.num_outputs <= without.num_outputs or "cancelled" in (
                answer.finish_reason,
                without.finish_reason,
            )
            assert answer.accepted_tokens <= answer.drafted_tokens
            num_accepted += answer.accepted_tokens
    assert num_accepted > 500


class FussyModel(NullModel):
    """Refuses steps that hold a given token, after having written half of the KV."""

    def __init__(self, poison: int) -> None:
        super().__init__(null_spec(VOCAB_SIZE, 512), OPTIONS)
        self._poison = poison

    def step(self, batch: StepBatch) -> StepResult:
        result = super().step(batch)
        if self._poison in batch.token_ids:
            raise RuntimeError("broken")
        return result


@given(st.integers(0, 2**40))
def test_nobody_fails_for_a_token_that_was_only_guessed(seed: int) -> None:
    schedule = speculative(seed, "draft")
    poison = random.Random(seed).randrange(VOCAB_SIZE)
    answers = run_schedule(FussyModel(poison), schedule, Oracle(answers_of(schedule), VOCAB_SIZE, 0.4, seed))
    plain = replace(schedule, settings=replace(schedule.settings, speculate="off"))
    expected = run_schedule(FussyModel(poison), plain)
    for request_id, answer in answers.items():
        if "cancelled" not in (answer.finish_reason, expected[request_id].finish_reason):
            assert answer.token_ids == expected[request_id].token_ids
            assert answer.logprobs == expected[request_id].logprobs
            assert (answer.finish_reason, answer.error) == (
                expected[request_id].finish_reason,
                expected[request_id].error,
            )


class DivergingModel(NullModel):
    """Gives not-a-number after a given token."""

    def __init__(self, poison: int) -> None:
        super().__init__(null_spec(VOCAB_SIZE, 512), OPTIONS)
        self._poison = poison

    def step(self, batch: StepBatch) -> StepResult:
        result = super().step(batch)
        if len(result.logprobs):
            result.logprobs[batch.token_ids[batch.logit_rows] == self._poison] = float("nan")
        return result


@given(st.integers(0, 2**40))
def test_a_row_of_nonsense_ends_the_answer_where_plain_decoding_ends_it(seed: int) -> None:
    schedule = speculative(seed, "draft")
    poison = random.Random(seed).randrange(VOCAB_SIZE)
    answers = run_schedule(DivergingModel(poison), schedule, Oracle(answers_of(schedule), VOCAB_SIZE, 0.2, seed))
    plain = replace(schedule, settings=replace(schedule.settings, speculate="off"))
    expected = run_schedule(DivergingModel(poison), plain)
    for request_id, answer in answers.items():
        if "cancelled" not in (answer.finish_reason, expected[request_id].finish_reason):
            assert (answer.token_ids, answer.error) == (expected[request_id].token_ids, expected[request_id].error)


@given(st.integers(0, 2**40), st.booleans())
def test_a_draft_model_gives_the_answers_of_plain_decoding(seed: int, is_same: bool) -> None:
    schedule = speculative(seed, "draft")
    rng = random.Random(seed)
    # A smaller vocabulary, cache, context and step than the target's: what does not fit is not drafted.
    vocab_size = VOCAB_SIZE if is_same else rng.randint(VOCAB_SIZE - 9, VOCAB_SIZE + 9)
    options = BackendOptions(max_step_tokens=rng.choice([4, 33, 96]), max_step_seqs=rng.randint(1, 4))
    draft = NullModel(null_spec(vocab_size, rng.choice([40, 512])), options)
    drafter = DraftModel(draft, VOCAB_SIZE, rng.choice([2, 6, 40]), MAX_STEP_SEQS, 200)
    free_blocks = drafter.free_blocks
    check_schedule(null_model(), schedule, is_identical, drafter)
    assert drafter.free_blocks == free_blocks


def test_the_same_model_as_draft_is_always_right_even_when_sampling() -> None:
    model, draft = null_model(), null_model()
    drafter = DraftModel(draft, VOCAB_SIZE, 64, MAX_STEP_SEQS, 512)
    engine = Engine(model, EngineSettings(speculate="draft", draft_tokens=7, prefix_cache=False), drafter=drafter)
    for number in range(3):
        params = SamplingParams(temperature=0.9, seed=number, max_tokens=80, repetition_penalty=1.1)
        engine.add(Request(f"r{number}", tuple(range(1, 40 + 7 * number)), params))
    while engine.has_work():
        engine.step()
        engine.check_integrity()
    metrics = engine.metrics()
    assert metrics.generated_tokens == 240
    assert metrics.accepted_tokens == metrics.drafted_tokens > 150
    assert metrics.steps < 60


class StubbornModel(NullModel):
    """Chooses what nobody would guess at every fifth position."""

    def step(self, batch: StepBatch) -> StepResult:
        result = super().step(batch)
        if len(result.token_ids):
            is_fifth = (batch.positions[batch.logit_rows] + 1) % 5 == 0
            result.token_ids[is_fifth] = (result.token_ids[is_fifth] + 1) % VOCAB_SIZE
        return result


class Watched(DraftModel):
    """Remembers what it guessed: (request, position of the first guess, guesses)."""

    def __init__(self, draft: NullModel) -> None:
        super().__init__(draft, VOCAB_SIZE, 64, MAX_STEP_SEQS, 512)
        self.told: list[tuple[str, int, list[int]]] = []

    def draft(self, asked: Sequence[tuple[EngineSequence, int]]) -> list[list[int]]:
        drafts = super().draft(asked)
        self.told += [(seq.id, len(seq.token_ids), guesses) for (seq, _), guesses in zip(asked, drafts, strict=True)]
        return drafts


@pytest.mark.parametrize("draft_tokens", [1, 3, 7])
def test_a_draft_model_is_right_again_after_it_was_wrong(draft_tokens: int) -> None:
    drafter = Watched(null_model())
    settings = EngineSettings(speculate="draft", draft_tokens=draft_tokens)
    engine = Engine(StubbornModel(null_spec(VOCAB_SIZE, 512), OPTIONS), settings, drafter=drafter)
    tokens = {f"r{number}": [5, number] for number in range(2)}
    for request_id, prompt in tokens.items():
        engine.add(Request(request_id, tuple(prompt), SamplingParams(temperature=0, max_tokens=300)))
    while engine.has_work():
        for output in engine.step():
            tokens[output.request_id] += output.token_ids
        engine.check_integrity()
    num_guesses = 0
    for request_id, start, guesses in drafter.told:
        for position, guess in enumerate(guesses, start):
            num_guesses += 1
            if guess != tokens[request_id][position]:
                assert position % 5 == 0
                break
    assert num_guesses > 100
