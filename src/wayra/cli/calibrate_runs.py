"""What recorded benches say to a calibration: which deployment was measured, its loads, and the times of tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from wayra.base.errors import InvalidParameter
from wayra.base.settings import Settings
from wayra.lab.latency.metrics import span_s, times_of
from wayra.lab.latency.record import RequestRecord, record_from
from wayra.lab.runs import Run
from wayra.lab.runs.header import describe_machine
from wayra.plan.measurements import HERE, Setup
from wayra.plan.roofline import Load
from wayra.weights.sources.resolve import resolve

MOST_CACHED = 0.05
"""Of the prompts' tokens: a stage whose prompts were cached did not read what its load says."""
LEAST_PROMPT = 32
MOST_BESIDE = 1.1
"""Requests under way on average, up to which a prompt is read with hardly anything beside it."""


def setup_of(run: Run, settings: Settings, stated: Setup) -> Setup:
    """What was measured; `stated` (empty texts for nothing) goes before what the run says.

    Raises: InvalidParameter when it is no bench, or when the run cannot know; ModelNotFound when the model is gone.
    """
    if run.kind != "bench":
        raise InvalidParameter(f"run {run.id} is of kind {run.kind}; times of tokens are in runs of wayra bench")
    target = str(run.config.get("target", ""))
    if target.startswith(("http://", "https://")):
        if not stated.model or not stated.hardware:
            raise InvalidParameter(
                f"run {run.id} measured {target[:80]}, which does not say what it runs; name --model and --hardware"
            )
        return stated
    if not stated.hardware:
        _check_machine(run)
    model = stated.model or str(resolve(target, settings, offline=True).path)
    return replace(stated, model=model, hardware=stated.hardware or HERE)


def _check_machine(run: Run) -> None:
    here = describe_machine()
    seen, mine = ((machine.get("processor"), machine.get("cores")) for machine in (run.header.machine, here))
    if seen != mine:
        raise InvalidParameter(
            f"run {run.id} was made on {str(seen[0])[:60]} with {seen[1]} cores, this machine is another; "
            "calibrate there, or name its --hardware"
        )


def loads_of(run: Run) -> list[tuple[Load, float]]:
    """Load and seconds a token of each stage that has them."""
    return [item for stage in _stages(run) if (item := _load_of(stage)) is not None]


def prompts_of(run: Run) -> list[tuple[int, float]]:
    """Tokens and seconds to the first token of each request of the stages whose requests came one after the other."""
    return [item for stage in _stages(run) for item in _prompts_of(stage)]


def check_useful(run: Run, found: Sequence[object]) -> None:
    """Raises InvalidParameter when a run gave nothing to calibrate with."""
    if not found:
        raise InvalidParameter(
            f"run {run.id} has no stage with times between tokens of answers whose prompts were read; "
            "measure one with wayra bench MODEL --concurrency 1,2,4,8"
        )


def _stages(run: Run) -> Iterator[Sequence[RequestRecord]]:
    stages: dict[str, list[RequestRecord]] = {}
    for number, line in enumerate(run.records(), start=1):
        record = record_from({**line, "text": ""}, number)
        if not record.is_warmup:
            stages.setdefault(record.stage, []).append(record)
    yield from stages.values()


def _prompts_of(records: Sequence[RequestRecord]) -> Iterator[tuple[int, float]]:
    span = span_s(records)
    if span <= 0 or sum(record.ended_s - record.sent_s for record in records) > MOST_BESIDE * span:
        return
    for record in records:
        times = times_of(record)
        # A few tokens take a step, which is in the fit already.
        if times is not None and (record.prompt_tokens or 0) >= LEAST_PROMPT and not record.cached_tokens:
            yield record.prompt_tokens or 0, times.ttft_s


def _load_of(records: Sequence[RequestRecord]) -> tuple[Load, float] | None:
    """Means over the stage; requests at once are those under way on average."""
    span = span_s(records)
    timed = [
        (record, times.tpot_s)
        for record in records
        if (times := times_of(record)) is not None and times.tpot_s and record.prompt_tokens
    ]
    if not timed or span <= 0:
        return None
    prompts = sum(record.prompt_tokens or 0 for record, _ in timed)
    if sum(record.cached_tokens or 0 for record, _ in timed) > MOST_CACHED * prompts:
        return None
    busy_s = sum(record.ended_s - record.sent_s for record in records)
    answers = sum(record.completion_tokens or 0 for record, _ in timed)
    load = Load(max(1.0, busy_s / span), prompts / len(timed), answers / len(timed))
    return load, float(np.mean([seconds for _, seconds in timed]))
