"""Speculation changes when tokens come, never which: the same answers with any drafter, right, wrong or broken."""

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
from wayra.engine.speculate import lengths, speculator

VOCAB_SIZE = 61
OPTIONS = BackendOptions(max_step_tokens=MAX_STEP_TOKENS, max_step_seqs=4 * MAX_STEP_SEQS)


def null_model() -> NullModel:
    return NullModel(null_spec(VOCAB_SIZE, 512), OPTIONS)


@pytest.fixture(autouse=True)
def reckless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guess whenever it is possible, as if it cost nothing: what is tested is that it does no harm."""
    monkeypatch.setattr(speculator, "_FIRST_CREDIT", 1e9)
    monkeypatch.setattr(lengths, "MIN_GAIN", 0.0)


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


@given(st.integers(0, 2**40), st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_a_drafter_right_or_wrong_gives_the_answers_of_plain_decoding(seed: int, wrong_share: float) -> None:
    schedule = speculative(seed, "draft")
    drafter = Oracle(answers_of(schedule), VOCAB_SIZE, wrong_share, seed)
    check_schedule(null_model(), schedule, is_identical, drafter)


@given(st.integers(0, 2**40), st.sampled_from([Liar, Broken]))
def test_a_lying_or_breaking_drafter_gives_the_answers_of_plain_decoding(seed: int, kind: type[Oracle]) -> None:
    schedule = speculative(seed, "draft")
    check_schedule(null_model(), schedule, is_identical, kind(answers_of(schedule), VOCAB_SIZE, 0.2, seed))


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
