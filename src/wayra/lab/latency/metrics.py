"""The arithmetic of latency: from the records of one stage to its figures."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wayra.lab.latency.record import RequestRecord
from wayra.lab.latency.slo import Slo
from wayra.lab.runs.summary import Figure, with_bounds
from wayra.lab.statistics.bootstrap import Interval, bootstrap_clustered_quantile, bootstrap_quantile
from wayra.lab.statistics.proportions import wilson

QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
NO_TOKENS = "no request has two output tokens that its server counted"
NO_ANSWER = "no request ended well"
NO_ITL = "chunks carry several tokens and the server does not say how many"
NO_GAPS = "no request has two events"
NOT_KEPT = "the tool that measured kept the first and the last token's time only"

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RequestTimes:
    """Of one request that ended well, in seconds. icl_s: gaps between events. itl_s: one a token, None if unknown."""

    ttft_s: float
    e2e_s: float
    tpot_s: float | None
    icl_s: Floats
    itl_s: Floats | None
    queue_s: float | None


@dataclass(frozen=True, slots=True)
class Prices:
    """Of a million tokens, in one currency."""

    input_per_million: float = 0.0
    output_per_million: float = 0.0


def times_of(record: RequestRecord) -> RequestTimes | None:
    """What its timestamps say; None for a request that did not end well."""
    if record.status != "ok" or not record.event_s:
        return None
    arrivals = np.asarray(record.event_s)
    ttft_s, e2e_s = float(arrivals[0] - record.sent_s), float(arrivals[-1] - record.sent_s)
    tokens = record.completion_tokens
    gaps = np.diff(arrivals) if record.has_all_events else np.empty(0)
    return RequestTimes(
        ttft_s=ttft_s,
        e2e_s=e2e_s,
        tpot_s=(e2e_s - ttft_s) / (tokens - 1) if tokens is not None and tokens > 1 else None,
        icl_s=gaps,
        itl_s=_token_gaps(record, gaps),
        queue_s=None if record.due_s is None else record.sent_s - record.due_s,
    )


def _token_gaps(record: RequestRecord, gaps: Floats) -> Floats | None:
    if not record.has_all_events:
        return None
    known = [tokens for tokens in record.event_tokens if tokens is not None]
    if len(known) != len(record.event_s):
        return gaps if record.completion_tokens == len(record.event_s) else None
    counts = np.asarray(known[1:], dtype=np.int64)
    some = counts > 0
    return np.repeat(gaps[some] / counts[some], counts[some])


def stage_figures(
    records: Sequence[RequestRecord], stage: str, *, slo: Slo | None = None, prices: Prices | None = None
) -> list[Figure]:
    """Every figure of one stage from its measured records (warm-up requests must not be among them)."""
    good = [(record, times) for record in records if (times := times_of(record)) is not None]
    figures = _counts(records, stage)
    figures += _rates(records, stage)
    figures += _latencies([times for _, times in good], stage, all(record.has_all_events for record, _ in good))
    if slo is not None:
        figures += _goodput(records, stage, slo)
    if prices is not None and good:
        cost = sum(
            (r.prompt_tokens or 0) * prices.input_per_million + (r.completion_tokens or 0) * prices.output_per_million
            for r, _ in good
        )
        figures.append(Figure("cost", cost / 1e6, "currency", group=stage, higher_is_better=False))
    return figures


def _counts(records: Sequence[RequestRecord], stage: str) -> list[Figure]:
    by_status = Counter(record.status for record in records)
    kinds = Counter(record.failure.kind for record in records if record.failure is not None)
    first = {r.failure.kind: r.failure.message for r in reversed(records) if r.failure is not None}
    return [
        Figure("requests", by_status["ok"], group=stage),
        Figure("failed", by_status["failed"], group=stage, higher_is_better=False),
        Figure("cancelled", by_status["cancelled"], group=stage),
        *(
            Figure(f"failed: {kind}", number, group=stage, why=f"the first: {first[kind]}")
            for kind, number in sorted(kinds.items())
        ),
    ]


def span_s(records: Sequence[RequestRecord]) -> float:
    """From the first sending to the last end, summed over the sessions of a resumed run."""
    total = 0.0
    for session in {record.session for record in records}:
        own = [record for record in records if record.session == session]
        total += max(record.ended_s for record in own) - min(record.sent_s for record in own)
    return total


def _rates(records: Sequence[RequestRecord], stage: str) -> list[Figure]:
    if not records or (span := span_s(records)) <= 0:
        return []
    good = [record for record in records if record.status == "ok"]
    prompt = [r.prompt_tokens for r in good if r.prompt_tokens is not None]
    output = [r.completion_tokens for r in good if r.completion_tokens is not None]
    busy_s = sum(record.ended_s - record.sent_s for record in records)
    no_usage = None if len(output) == len(good) else "the server gave no usage"
    figures = [
        Figure("span", span, "s", group=stage),
        Figure("request_rate", len(good) / span, "1/s", group=stage, higher_is_better=True),
        Figure("input_rate", None if no_usage else sum(prompt) / span, "tok/s", group=stage, why=no_usage),
        Figure(
            "output_rate",
            None if no_usage else sum(output) / span,
            "tok/s",
            group=stage,
            why=no_usage,
            higher_is_better=True,
        ),
        Figure("concurrency", busy_s / span, group=stage),
    ]
    if prompt and any(r.cached_tokens is not None for r in good):
        cached = sum(r.cached_tokens or 0 for r in good)
        figures.append(Figure("cached_share", cached / max(1, sum(prompt)), group=stage))
    return figures


def _latencies(times: Sequence[RequestTimes], stage: str, has_all_events: bool) -> list[Figure]:
    figures: list[Figure] = []
    no_itl, no_gaps = (NO_ITL, NO_GAPS) if has_all_events else (NOT_KEPT, NOT_KEPT)
    tpot = [t.tpot_s for t in times if t.tpot_s is not None]
    figures += _quantiles("ttft", [t.ttft_s for t in times], stage, NO_ANSWER)
    figures += _quantiles("tpot", tpot, stage, NO_TOKENS if times else NO_ANSWER)
    gaps = [t.itl_s for t in times if t.itl_s is not None]
    if 0 < len(gaps) < len(times):
        # Whose chunks happen to carry a token each are the requests that had the server to themselves.
        no_itl, gaps = f"of {len(times) - len(gaps)} of {len(times)} requests: {no_itl}", []
    figures += _clustered("itl", gaps, stage, no_itl if times else NO_ANSWER)
    figures += _clustered("icl", [t.icl_s for t in times], stage, no_gaps if times else NO_ANSWER)
    figures += _quantiles("e2e", [t.e2e_s for t in times], stage, NO_ANSWER)
    queue = [t.queue_s for t in times if t.queue_s is not None]
    if queue:
        figures += _quantiles("queue", queue, stage, "")
    rates = [1 / value for value in tpot if value > 0]
    if rates:
        found = bootstrap_quantile(rates, 0.5)
        rate = Figure("decode_rate", found.value, "tok/s", group=stage, count=len(rates), higher_is_better=True)
        figures.append(with_bounds(rate, found.low, found.high))
    return figures


def _quantiles(name: str, values_s: Sequence[float], stage: str, why: str) -> list[Figure]:
    if not values_s:
        return [Figure(f"{name}_{label}", None, "ms", group=stage, why=why) for label, _ in QUANTILES]
    values_ms = 1000 * np.asarray(values_s)
    figures: list[Figure] = []
    for label, quantile in QUANTILES:
        found = bootstrap_quantile(values_ms, quantile)
        figures.append(_latency(f"{name}_{label}", found, stage, len(values_s)))
    return figures


def _clustered(name: str, clusters_s: Sequence[Floats], stage: str, why: str) -> list[Figure]:
    clusters_ms = [1000 * cluster for cluster in clusters_s if len(cluster)]
    if not clusters_ms:
        return [Figure(f"{name}_{label}", None, "ms", group=stage, why=why) for label, _ in QUANTILES]
    count = sum(len(cluster) for cluster in clusters_ms)
    figures: list[Figure] = []
    for label, quantile in QUANTILES:
        found = bootstrap_clustered_quantile(clusters_ms, quantile)
        figures.append(_latency(f"{name}_{label}", found, stage, count))
    return figures


def _latency(name: str, found: Interval, stage: str, count: int) -> Figure:
    figure = Figure(name, found.value, "ms", group=stage, count=count, higher_is_better=False)
    return with_bounds(figure, found.low, found.high)


def _goodput(records: Sequence[RequestRecord], stage: str, slo: Slo) -> list[Figure]:
    counted = [record for record in records if record.status != "cancelled"]
    if not counted:
        return []
    times = [times_of(record) for record in counted]
    kept = sum(t is not None and is_within(t, slo) for t in times)
    share = wilson(kept, len(counted))
    good = [t for t in times if t is not None]
    met = len(good) == len(counted) and all(
        limit is None or (bool(values) and 1000 * float(np.quantile(values, 0.99)) <= limit)
        for limit, values in (
            (slo.ttft_ms, [t.ttft_s for t in good]),
            (slo.tpot_ms, [t.tpot_s for t in good if t.tpot_s is not None]),
            (slo.e2e_ms, [t.e2e_s for t in good]),
        )
    )
    span = span_s(records)
    return [
        Figure("goodput", share.value, "", share.low, share.high, stage, len(counted), higher_is_better=True),
        Figure("goodput_rate", kept / span if span > 0 else None, "1/s", group=stage, higher_is_better=True),
        Figure("slo_met", float(met), group=stage, higher_is_better=True),
    ]


def is_within(times: RequestTimes, slo: Slo) -> bool:
    """Whether one request kept every limit. A request of one token has no TPOT to exceed."""
    return all(
        limit is None or value is None or 1000 * value <= limit
        for limit, value in ((slo.ttft_ms, times.ttft_s), (slo.tpot_ms, times.tpot_s), (slo.e2e_ms, times.e2e_s))
    )
