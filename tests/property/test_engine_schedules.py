"""Whatever the batch, the chunks, the cache and the company: a request answers as it does alone (null backend)."""

import random

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

VOCAB_SIZE = 251
OPTIONS = BackendOptions(max_step_tokens=MAX_STEP_TOKENS, max_step_seqs=MAX_STEP_SEQS)


def null_model() -> NullModel:
    return NullModel(null_spec(VOCAB_SIZE, 512), OPTIONS)


@given(st.integers(0, 2**40))
def test_every_request_answers_as_it_does_alone(seed: int) -> None:
    check_schedule(null_model(), random_schedule(seed, VOCAB_SIZE), is_identical)


class FailingModel(NullModel):
    """Refuses steps that hold a given token, after having written half of the KV."""

    def __init__(self, poison: int) -> None:
        super().__init__(null_spec(VOCAB_SIZE, 512), OPTIONS)
        self._poison = poison

    def step(self, batch: StepBatch) -> StepResult:
        result = super().step(batch)
        if self._poison in batch.token_ids:
            raise RuntimeError("broken")
        return result


def reads(answer: Answer, prompt_ids: tuple[int, ...], token_id: int) -> bool:
    """Whether the token was ever fed to the model: after "length" the last token of an answer never is."""
    fed = answer.token_ids[:-1] if answer.finish_reason == "length" else answer.token_ids
    return token_id in prompt_ids or token_id in fed


@given(st.integers(0, 2**40))
def test_a_failing_request_takes_no_other_down_with_it(seed: int) -> None:
    schedule = random_schedule(seed, VOCAB_SIZE)
    poison = random.Random(seed).randrange(VOCAB_SIZE)
    answers = run_schedule(FailingModel(poison), schedule)
    sound = null_model()
    for arrival in schedule.arrivals:
        answer = answers[arrival.request.id]
        expected = answer_alone(sound, schedule, arrival.request)
        if answer.finish_reason == "cancelled":
            continue
        if answer.finish_reason == "error":
            assert answer.error == "RuntimeError: broken"
            assert answer.token_ids == expected.token_ids[: len(answer.token_ids)]
            assert poison in (arrival.request.prompt_ids + answer.token_ids)
        else:
            assert is_identical(answer, expected)
            assert not reads(expected, arrival.request.prompt_ids, poison)


class ForgetfulModel(NullModel):
    """Loses one KV block in the middle of a run: what the property test must notice."""

    def __init__(self) -> None:
        super().__init__(null_spec(VOCAB_SIZE, 512), OPTIONS)
        self._steps = 0

    def allocate_kv(self, num_blocks: int) -> None:
        self._steps = 0
        super().allocate_kv(num_blocks)

    def step(self, batch: StepBatch) -> StepResult:
        self._steps += 1
        if self._steps == 4:
            self._kv[batch.block_tables[0, 0]] = 1
        return super().step(batch)


def test_the_null_backend_notices_a_lost_block() -> None:
    noticed = 0
    for seed in range(40):
        schedule: Schedule = random_schedule(seed, VOCAB_SIZE)
        answers = run_schedule(ForgetfulModel(), schedule)
        for arrival in schedule.arrivals:
            expected = answer_alone(null_model(), schedule, arrival.request)
            answer = answers[arrival.request.id]
            noticed += answer.token_ids != expected.token_ids[: len(answer.token_ids)]
    assert noticed > 20
