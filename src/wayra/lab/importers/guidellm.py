"""guidellm's benchmarks.json: benchmarks, each with requests by how they ended and the times guidellm kept of them."""

from pathlib import Path

import msgspec

from wayra.base.errors import RunError
from wayra.client.failures import Failure
from wayra.lab.latency.record import RequestRecord, RequestStatus

CLOSED = ("synchronous", "concurrent", "throughput", "benchmark")
"""Kinds of traffic whose requests wait for others and are due at no time."""


class Timings(msgspec.Struct):
    """Unix times in seconds."""

    targeted_start: float | None = None
    resolve_start: float | None = None
    request_start: float | None = None
    first_token_iteration: float | None = None
    last_token_iteration: float | None = None
    request_end: float | None = None
    resolve_end: float | None = None
    token_iterations: int = 0

    @property
    def started(self) -> float | None:
        return self.request_start if self.request_start is not None else self.resolve_start


class Info(msgspec.Struct):
    timings: Timings = msgspec.field(default_factory=Timings)
    error: str | None = None


class Tokens(msgspec.Struct):
    text_tokens: int | None = None
    total_tokens: int | None = None


class Request(msgspec.Struct):
    info: Info = msgspec.field(default_factory=Info)
    output: str | None = None
    input_metrics: Tokens = msgspec.field(default_factory=Tokens)
    output_metrics: Tokens = msgspec.field(default_factory=Tokens)


class Requests(msgspec.Struct):
    successful: list[Request] | None = None
    incomplete: list[Request] | None = None
    errored: list[Request] | None = None


class Strategy(msgspec.Struct):
    """rate: requests a second, streams: users, of those kinds that have them."""

    type_: str = "benchmark"
    rate: float | None = None
    streams: int | None = None


class Config(msgspec.Struct):
    strategy: Strategy = msgspec.field(default_factory=Strategy)


class Benchmark(msgspec.Struct):
    requests: Requests
    config: Config = msgspec.field(default_factory=Config)


class Report(msgspec.Struct):
    benchmarks: list[Benchmark]


def records_from_guidellm(content: bytes, path: Path) -> list[RequestRecord]:
    """guidellm keeps the first and the last token's time only, so these records know no gaps between events.

    Raises RunError when the file is of another form (releases before 0.4 kept other fields) or has no requests.
    """
    try:
        report = msgspec.json.decode(content, type=Report)
    except msgspec.ValidationError as error:
        raise RunError(f"{path} is no report of guidellm 0.4 or later: {error}") from error
    records: list[RequestRecord] = []
    stages: list[str] = []
    for benchmark in report.benchmarks:
        groups: tuple[tuple[RequestStatus, list[Request] | None], ...] = (
            ("ok", benchmark.requests.successful),
            ("cancelled", benchmark.requests.incomplete),
            ("failed", benchmark.requests.errored),
        )
        found: list[tuple[RequestStatus, Request]] = [
            (status, request) for status, requests in groups for request in requests or []
        ]
        strategy = benchmark.config.strategy
        stages.append(_stage(strategy, stages))
        starts = [started for _, r in found if (started := r.info.timings.started) is not None]
        origin = min(starts, default=0.0)
        for index, (status, request) in enumerate(found):
            if (record := _record(stages[-1], index, (status, request), origin)) is not None:
                if strategy.type_ in CLOSED:
                    record.due_s = None
                records.append(record)
    if not records:
        raise RunError(f"{path} has no request with times; save guidellm's report with its requests")
    return records


def _stage(strategy: Strategy, others: list[str]) -> str:
    """As guidellm calls it, each once."""
    width = strategy.streams if strategy.rate is None else strategy.rate
    name = strategy.type_ if width is None else f"{strategy.type_} {width:g}"
    return f"{name} ({len(others) + 1})" if name in others else name


def _record(stage: str, index: int, found: tuple[RequestStatus, Request], origin: float) -> RequestRecord | None:
    status, request = found
    times = request.info.timings
    started = times.started
    if started is None:
        return None
    ended = times.request_end or times.resolve_end or times.last_token_iteration or started
    arrivals = [at - origin for at in (times.first_token_iteration, times.last_token_iteration) if at is not None]
    if len(arrivals) < 2 and status == "ok":
        status = "failed"
    due = None if times.targeted_start is None else times.targeted_start - origin
    return RequestRecord(
        key=f"{stage}/{index:06d}",
        stage=stage,
        status=status,
        sent_s=started - origin,
        ended_s=ended - origin,
        due_s=due,
        event_s=arrivals,
        event_tokens=[None] * len(arrivals),
        has_all_events=False,
        prompt_tokens=_count(request.input_metrics),
        # As guidellm itself counts where the server gave no usage: a token an event.
        completion_tokens=_count(request.output_metrics) or times.token_iterations or None,
        text=request.output or "",
        failure=Failure("server", (request.info.error or "no time of its tokens")[:300])
        if status == "failed"
        else None,
    )


def _count(tokens: Tokens) -> int | None:
    return tokens.text_tokens if tokens.text_tokens is not None else tokens.total_tokens
