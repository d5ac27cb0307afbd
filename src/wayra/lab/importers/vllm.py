"""`vllm bench serve --save-result --save-detailed`: a JSON object with a list for each kind of raw value."""

from pathlib import Path

import msgspec
import numpy as np

from wayra.base.errors import RunError
from wayra.client.failures import Failure
from wayra.lab.latency.record import RequestRecord


class VllmResult(msgspec.Struct):
    """start_times: seconds of one clock. ttfts: s. itls: s, one list a request, a value a chunk after the first.

    queue_times: s that a request waited in the client for its turn or for others. duration: s of the whole.
    """

    completed: int
    duration: float = 0.0
    request_rate: float | str | None = None
    max_concurrency: int | None = None
    input_lens: list[int] | None = None
    output_lens: list[int] | None = None
    start_times: list[float] | None = None
    ttfts: list[float] | None = None
    itls: list[list[float]] | None = None
    queue_times: list[float] | None = None
    generated_texts: list[str | None] | None = None
    errors: list[str | None] | None = None


def records_from_vllm(content: bytes, path: Path) -> list[RequestRecord]:
    """Raises RunError when the raw lists are missing or of different lengths."""
    try:
        result = msgspec.json.decode(content, type=VllmResult)
    except msgspec.ValidationError as error:
        raise RunError(f"{path} is no result of vllm bench serve: {error}") from error
    inputs, outputs, ttfts, itls = result.input_lens, result.output_lens, result.ttfts, result.itls
    if inputs is None or outputs is None or ttfts is None or itls is None:
        raise RunError(
            f"{path} has only totals, no raw values; run vllm bench serve with --save-result --save-detailed"
        )
    if len({len(inputs), len(outputs), len(ttfts), len(itls)}) != 1:
        raise RunError(f"{path} has lists of different lengths; it is damaged")
    count = len(inputs)
    has_starts = bool(result.start_times) and len(result.start_times or ()) == count
    starts = result.start_times if result.start_times and has_starts else [0.0] * count
    queued = result.queue_times if result.queue_times and len(result.queue_times) == count else [None] * count
    errors = result.errors if result.errors and len(result.errors) == count else [None] * count
    texts = result.generated_texts if result.generated_texts and len(result.generated_texts) == count else [""] * count
    # Without a rate all are due at once, and wait for one another.
    queued = [None] * count if result.request_rate in (None, "inf") else queued
    origin = min(starts, default=0.0)
    stage = f"concurrency {result.max_concurrency}" if result.max_concurrency else f"rate {result.request_rate}"
    records: list[RequestRecord] = []
    for index in range(count):
        sent = starts[index] - origin
        arrivals = [float(at) for at in sent + ttfts[index] + np.cumsum([0.0, *itls[index]])]
        wait = queued[index]
        # Releases that kept no start times still kept how long it all took: the rates are of that span.
        ended = arrivals[-1] if has_starts or index else max(arrivals[-1], result.duration)
        # vLLM gives a failed request zeros in every list.
        failed = bool(errors[index]) or not outputs[index]
        records.append(
            RequestRecord(
                key=f"{stage}/{index:06d}",
                stage=stage,
                status="failed" if failed else "ok",
                sent_s=sent,
                ended_s=ended,
                due_s=None if wait is None else sent - wait,
                event_s=[] if failed else arrivals,
                event_tokens=[] if failed else [None] * len(arrivals),
                prompt_tokens=inputs[index],
                completion_tokens=outputs[index],
                text=texts[index] or "",
                failure=Failure("server", (errors[index] or "no output")[-300:]) if failed else None,
            )
        )
    return records
