"""Random schedules for the engine, and what each of their requests answers alone.

A schedule is a pure function of its seed. Prompts share beginnings, some requests are cancelled, pools are small: what
may differ between two runs is when things are computed, never what comes out.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from wayra.backends.api import KV_BLOCK_LEN, Model
from wayra.engine.engine import Engine
from wayra.engine.request import FinishReason, Output, Request, SamplingParams, Share, TokenLogprob
from wayra.engine.settings import EngineSettings, blocks_for
from wayra.engine.speculate.drafter import Drafter
from wayra.engine.stored_prefixes import StoredPrefixes

MAX_STEP_TOKENS = 96
MAX_STEP_SEQS = 8


@dataclass(frozen=True)
class Arrival:
    """A request, the step before which it is added, and the step before which it is cancelled, if it is."""

    request: Request
    step: int
    cancel_step: int | None


@dataclass(frozen=True)
class Schedule:
    """Everything that decides a run."""

    arrivals: tuple[Arrival, ...]
    settings: EngineSettings
    eos_ids: frozenset[int]


@dataclass(frozen=True)
class Answer:
    """All a request gave, over its steps."""

    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...]
    prompt_logprobs: tuple[float, ...] | None
    finish_reason: FinishReason | None
    cached_tokens: int
    error: str | None
    num_outputs: int
    drafted_tokens: int
    accepted_tokens: int


def random_schedule(seed: int, vocab_size: int, max_requests: int = 10) -> Schedule:
    """One schedule out of many, the same for the same seed."""
    rng = random.Random(seed)
    max_context = rng.choice([rng.randint(2, 64), rng.randint(64, 200), rng.randint(130, 200)])
    step_tokens = rng.choice([1, 2, 7, 31, 32, 33, MAX_STEP_TOKENS])
    context_blocks = blocks_for(max_context)
    settings = EngineSettings(
        max_context=max_context,
        kv_blocks=context_blocks + rng.choice([0, 0, 1, 2, context_blocks, 8 * context_blocks]),
        prefix_cache=rng.random() < 0.75,
        step_tokens=step_tokens,
        max_running=rng.randint(1, min(MAX_STEP_SEQS, step_tokens)),
    )
    stems = [[rng.randrange(vocab_size) for _ in range(max_context)] for _ in range(rng.randint(1, 2))]
    last_arrival = rng.choice([0, 0, 5, 40])
    arrivals: list[Arrival] = []
    for number in range(rng.randint(1, max_requests)):
        params = random_params(rng, vocab_size)
        stem = rng.choice(stems)
        # Whole blocks, and one token more or less, are where sharing goes wrong.
        whole_blocks = KV_BLOCK_LEN * rng.randint(1, 6) + rng.randint(-1, 1)
        length = rng.choice([1, rng.randint(1, max_context), whole_blocks, whole_blocks])
        prompt = stem[: max(1, min(length, max_context - 1))]
        if rng.random() < 0.5:
            fork = rng.randrange(len(prompt))
            prompt[fork:] = [rng.randrange(vocab_size) for _ in prompt[fork:]]
        step = rng.randint(0, last_arrival)
        cancel_step = step + rng.randint(0, 30) if rng.random() < 0.2 else None
        salt = rng.choice(["", "", "", "", "", "other"])
        share = Share(salt, weight=3 if salt else 1)
        request = Request(f"r{number}", tuple(prompt), params, salt=salt, share=share)
        arrivals.append(Arrival(request, step, cancel_step))
    eos_ids = frozenset(rng.sample(range(vocab_size), vocab_size // 60))
    return Schedule(tuple(sorted(arrivals, key=lambda a: a.step)), settings, eos_ids)


def random_params(rng: random.Random, vocab_size: int) -> SamplingParams:
    """Parameters that exercise every array of a SamplingBatch."""
    penalised = rng.random() < 0.3
    max_tokens = rng.choice([None, None, 0, 1, rng.randint(1, 80)])
    return SamplingParams(
        temperature=rng.choice([0.0, 0.0, 0.7, 1.5]),
        top_k=rng.choice([0, 0, 5]),
        top_p=rng.choice([1.0, 1.0, 0.9, 0.0]),
        min_p=rng.choice([0.0, 0.0, 0.05]),
        repetition_penalty=1.2 if penalised else 1.0,
        presence_penalty=0.4 if penalised else 0.0,
        frequency_penalty=-0.3 if penalised else 0.0,
        seed=rng.randrange(1 << 64),
        max_tokens=max_tokens,
        min_tokens=rng.choice([0, 0, min(40, max_tokens if max_tokens is not None else 40)]),
        stop_token_ids=tuple(rng.sample(range(vocab_size), rng.choice([0, 0, 3]))),
        ignore_eos=rng.random() < 0.2,
        logit_bias={rng.randrange(vocab_size): 4.0} if rng.random() < 0.2 else {},
        logprobs=rng.choice([None, None, 0, 3]),
        prompt_logprobs=rng.random() < 0.15,
    )


def run_schedule(
    model: Model, schedule: Schedule, drafter: Drafter | None = None, stored: StoredPrefixes | None = None
) -> dict[str, Answer]:
    """Run it to the end, checking the engine after each step. Fails if a request starves or a block leaks."""
    engine = Engine(model, schedule.settings, schedule.eos_ids, drafter, stored)
    arrivals = list(schedule.arrivals)
    cancels = {a.request.id: a.cancel_step for a in arrivals if a.cancel_step is not None}
    outputs: dict[str, list[Output]] = {a.request.id: [] for a in arrivals}
    # Some sequence moves by a token or more in each step, so this many suffice.
    max_steps = 50 + sum(engine.limits.max_context + len(a.request.prompt_ids) for a in arrivals)
    step = 0
    while arrivals or engine.has_work():
        while arrivals and arrivals[0].step <= step:
            engine.add(arrivals.pop(0).request)
        for request_id in [i for i, cancel_step in cancels.items() if cancel_step == step]:
            engine.cancel(request_id)
            engine.check_integrity()
        for output in engine.step():
            assert not outputs[output.request_id] or outputs[output.request_id][-1].finish_reason is None
            outputs[output.request_id].append(output)
        engine.check_integrity()
        step += 1
        assert step <= max_steps, f"no end after {step} steps"
    metrics = engine.metrics()
    assert (metrics.kv_blocks_used, metrics.running, metrics.waiting) == (0, 0, 0)
    return {request_id: joined(parts) for request_id, parts in outputs.items()}


def joined(outputs: list[Output]) -> Answer:
    """The outputs of one request, in order, as one answer."""
    return Answer(
        token_ids=tuple(t for o in outputs for t in o.token_ids),
        logprobs=tuple(p for o in outputs for p in o.logprobs),
        prompt_logprobs=outputs[0].prompt_logprobs,
        finish_reason=outputs[-1].finish_reason,
        cached_tokens=outputs[0].cached_tokens,
        error=outputs[-1].error,
        num_outputs=len(outputs),
        drafted_tokens=sum(o.drafted_tokens for o in outputs),
        accepted_tokens=sum(o.accepted_tokens for o in outputs),
    )


def answer_alone(model: Model, schedule: Schedule, request: Request) -> Answer:
    """What the request gives with the engine to itself: no sharing, no chunks, no one else."""
    settings = EngineSettings(max_context=schedule.settings.max_context, prefix_cache=False, max_running=1)
    engine = Engine(model, settings, schedule.eos_ids)
    engine.add(request)
    outputs: list[Output] = []
    while engine.has_work():
        outputs += engine.step()
    return joined(outputs)


def check_schedule(
    model: Model,
    schedule: Schedule,
    same: Callable[[Answer, Answer], bool],
    drafter: Drafter | None = None,
    stored: StoredPrefixes | None = None,
) -> dict[str, Answer]:
    """Every request answers as it does alone; one cancelled in time answers with the beginning of that."""
    answers = run_schedule(model, schedule, drafter, stored)
    for arrival in schedule.arrivals:
        expected = answer_alone(model, schedule, arrival.request)
        answer = answers[arrival.request.id]
        if answer.finish_reason == "cancelled":
            num_tokens = len(answer.token_ids)
            assert arrival.cancel_step is not None
            assert answer.token_ids == expected.token_ids[:num_tokens]
            assert len(answer.logprobs) == min(num_tokens, len(answer.logprobs))
        else:
            assert same(answer, expected), f"{arrival.request}\ngave {answer}\nalone {expected}"
    return answers


def is_identical(answer: Answer, expected: Answer) -> bool:
    """Bit for bit; only what the cache saved may differ."""
    return (
        answer.token_ids == expected.token_ids
        and answer.logprobs == expected.logprobs
        and answer.prompt_logprobs == expected.prompt_logprobs
        and answer.finish_reason == expected.finish_reason
        and answer.error is None
    )
