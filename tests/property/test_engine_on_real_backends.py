"""The engine's promise on backends that compute: bit for bit on the native one, within rounding on NumPy's."""

import random
from dataclasses import replace

import numpy as np
import pytest
from engine_schedules import (
    MAX_STEP_SEQS,
    MAX_STEP_TOKENS,
    Answer,
    answer_alone,
    check_schedule,
    is_identical,
    random_schedule,
)
from tiny_llama import blocky_spec, tiny_spec, tiny_weights

from wayra.backends.api import Backend, BackendOptions, Model
from wayra.base.formats import BF16, F16, F32, Q4_1, Q4_K, Q6_K, Q8_0, WeightFormat
from wayra.engine.engine import Engine
from wayra.engine.request import Request, SamplingParams
from wayra.engine.settings import EngineSettings
from wayra.model.record import record

VOCAB_SIZE = 251


def load(backend: Backend, options: BackendOptions, fmt: WeightFormat = F32) -> Model:
    spec = tiny_spec(VOCAB_SIZE) if fmt is F32 else blocky_spec(VOCAB_SIZE)
    options = replace(options, max_step_tokens=MAX_STEP_TOKENS, max_step_seqs=MAX_STEP_SEQS, packed_cache=False)
    return backend.load(record(spec), tiny_weights(spec, fmt), options)


@pytest.fixture(scope="module")
def numpy_model() -> Model:
    from wayra.backends.numpy.backend import NumpyBackend

    return load(NumpyBackend(), BackendOptions(kv_dtype="f32"))


def native_model(options: BackendOptions, fmt: WeightFormat = F32) -> Model:
    from wayra.backends.native.backend import NativeBackend

    return load(NativeBackend(), options, fmt)


def is_close(answer: Answer, expected: Answer) -> bool:
    """NumPy's matrix product rounds differently for different numbers of rows: float32, some 1e-6 relative."""
    if len(answer.logprobs) != len(expected.logprobs) or answer.error is not None:
        return False
    ours, theirs = ([p.logprob for p in a.logprobs] for a in (answer, expected))
    scores, expected_scores = answer.prompt_logprobs or (), expected.prompt_logprobs or ()
    return (
        answer.token_ids == expected.token_ids
        and answer.finish_reason == expected.finish_reason
        and np.allclose(ours, theirs, atol=1e-4)
        and np.allclose(scores, expected_scores, atol=1e-4)
    )


def test_numpy_answers_alike_in_any_company(numpy_model: Model, fuzz_cases: int) -> None:
    for seed in range(max(3, fuzz_cases // 2)):
        check_schedule(numpy_model, random_schedule(seed, VOCAB_SIZE, max_requests=5), is_close)


@pytest.mark.parametrize(
    ("threads", "isa", "kv_dtype", "fmt"),
    [
        (1, None, "f32", F32),
        (1, None, "f16", Q4_1),
        (2, None, "f16", Q8_0),
        (1, None, "bf16", Q4_K),
        (3, None, "f16", Q6_K),
        (1, None, "int8", Q4_1),
        (2, None, "int8", Q8_0),
        (1, "avx2", "int8", Q4_1),
        (1, "portable", "int8", Q4_1),
        (2, None, "int16", F16),
        (1, "avx2", "int16", BF16),
        (1, "portable", "int16", F32),
        (1, "avx2", "f16", Q4_1),
        (1, "avx2", "bf16", Q4_K),
        (1, "portable", "f16", Q4_1),
    ],
)
def test_native_answers_bit_for_bit_alike_in_any_company(
    threads: int, isa: str | None, kv_dtype: str, fmt: WeightFormat, fuzz_cases: int
) -> None:
    model = native_model(BackendOptions(threads=threads, isa=isa, kv_dtype=kv_dtype), fmt)
    # More threads than free cores make single steps slow.
    for seed in range(max(4, fuzz_cases // (10 if threads == 1 else 25))):
        check_schedule(model, random_schedule(seed, VOCAB_SIZE, max_requests=6), is_identical)


def test_native_answers_do_not_depend_on_the_number_of_threads(fuzz_cases: int) -> None:
    one, three = (native_model(BackendOptions(threads=n), Q4_1) for n in (1, 3))
    for seed in range(max(5, fuzz_cases // 10)):
        schedule = random_schedule(seed, VOCAB_SIZE)
        for arrival in schedule.arrivals:
            expected = answer_alone(one, schedule, arrival.request)
            assert is_identical(answer_alone(three, schedule, arrival.request), expected)


def test_prompt_logprobs_add_up_to_the_models_own_scores(numpy_model: Model) -> None:
    prompt = tuple(random.Random(5).choices(range(VOCAB_SIZE), k=70))
    engine = Engine(numpy_model, EngineSettings(step_tokens=16))
    engine.add(Request("scored", prompt, SamplingParams(max_tokens=0, prompt_logprobs=True)))
    outputs = [output for _ in range(100) if engine.has_work() for output in engine.step()]
    scores = outputs[-1].prompt_logprobs
    assert scores is not None
    assert len(scores) == 69
    # The same scores the long way round: one greedy request a prefix, asked for its likeliest tokens.
    for end in (1, 33, 64, 69):
        greedy = SamplingParams(temperature=0, max_tokens=1, logprobs=20)
        engine.add(Request(f"prefix{end}", prompt[:end], greedy))
        (output,) = [o for _ in range(20) if engine.has_work() for o in engine.step()]
        top = dict(output.logprobs[0].top)
        assert output.logprobs[0].logprob == max(top.values())
        if prompt[end] in top:
            assert abs(top[prompt[end]] - scores[end - 1]) < 1e-4
        else:
            assert scores[end - 1] < min(top.values()) + 1e-4
