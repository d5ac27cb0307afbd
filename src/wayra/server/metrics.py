"""Counters and histograms in Prometheus' text format, under the names vLLM gave them, so that dashboards work.

Own code, because all that is needed is a few sums: a client library would cost 20 ms to import and a lock a token.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

from wayra.engine.metrics import EngineMetrics
from wayra.llm.results import Completion

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

TTFT_BUCKETS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160)
TOKEN_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 10)
REQUEST_BUCKETS = (0.1, 0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960)
LENGTH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000)

Labels = Mapping[str, str]


class Histogram:
    """buckets: upper bounds, ascending."""

    def __init__(self, buckets: Sequence[float]) -> None:
        self._buckets = buckets
        self._counts = [0] * (len(buckets) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(self._buckets, value)] += 1
        self._sum += value

    def samples(self, name: str, labels: Labels) -> Iterable[str]:
        """Its lines, cumulative as the format wants them."""
        total = 0
        for bound, count in zip((*map(_number, self._buckets), "+Inf"), self._counts, strict=True):
            total += count
            yield sample(f"{name}_bucket", total, {**labels, "le": bound})
        yield sample(f"{name}_sum", self._sum, labels)
        yield sample(f"{name}_count", total, labels)


class RequestMetrics:
    """What the requests of one model were like. Changed in the event loop only."""

    def __init__(self) -> None:
        self._queue = Histogram(REQUEST_BUCKETS)
        self._ttft = Histogram(TTFT_BUCKETS)
        self._inter_token = Histogram(TOKEN_BUCKETS)
        self._a_token = Histogram(TOKEN_BUCKETS)
        self._latency = Histogram(REQUEST_BUCKETS)
        self._prefill = Histogram(REQUEST_BUCKETS)
        self._decode = Histogram(REQUEST_BUCKETS)
        self._prompt_len = Histogram(LENGTH_BUCKETS)
        self._answer_len = Histogram(LENGTH_BUCKETS)
        self._longest_len = Histogram(LENGTH_BUCKETS)
        self._endings: dict[str, int] = {"stop": 0, "length": 0, "abort": 0, "error": 0}
        self._refused: dict[str, int] = {"queue": 0, "key": 0}

    def admitted(self, seconds: float) -> None:
        """A request ceased to wait for the engine, so long after its arrival."""
        self._queue.add(seconds)

    def first_token(self, seconds: float) -> None:
        """After arrival, waiting and tokenizing included."""
        self._ttft.add(seconds)

    def next_token(self, seconds: float) -> None:
        """Between two tokens of an answer."""
        self._inter_token.add(seconds)

    def answered(self, completion: Completion, seconds: float) -> None:
        """An answer has ended by itself, so long after the arrival of its request."""
        self.ended("length" if completion.finish_reason == "length" else "stop")
        self._latency.add(seconds)
        self._prompt_len.add(completion.usage.prompt_tokens)
        self._answer_len.add(completion.usage.completion_tokens)
        rate = completion.timings.decode_tokens_per_s
        if rate:
            self._a_token.add(1 / rate)

    def whole(self, prefill_s: float, decode_s: float, longest_len: int) -> None:
        """All answers of a request have ended by themselves. longest_len: tokens of the longest of them."""
        self._prefill.add(prefill_s)
        self._decode.add(decode_s)
        self._longest_len.add(longest_len)

    def ended(self, reason: str) -> None:
        """An answer has ended: "stop", "length", "abort" or "error"."""
        self._endings[reason] += 1

    def refused(self, reason: str) -> None:
        """A request was told to come again: the "queue" was full, or its "key" is at a limit."""
        self._refused[reason] += 1

    def lines(self, labels: Labels) -> Iterable[str]:
        yield from family("vllm:request_success", "counter", "Answers by the reason they ended.")
        for reason, count in self._endings.items():
            yield sample("vllm:request_success_total", count, {**labels, "finished_reason": reason})
        yield from family("wayra:requests_refused", "counter", "Requests told to come again, by what was full.")
        for reason, count in self._refused.items():
            yield sample("wayra:requests_refused_total", count, {**labels, "reason": reason})
        for name, histogram, what in (
            ("request_queue_time_seconds", self._queue, "Arrival to the first step that computes it."),
            ("time_to_first_token_seconds", self._ttft, "Arrival to first token."),
            ("inter_token_latency_seconds", self._inter_token, "Between two tokens of an answer."),
            ("request_time_per_output_token_seconds", self._a_token, "Mean time a token after the first, a request."),
            ("e2e_request_latency_seconds", self._latency, "Arrival to the end of the answer."),
            (
                "request_prefill_time_seconds",
                self._prefill,
                "The first step that computes a request to its first token.",
            ),
            ("request_decode_time_seconds", self._decode, "First token to the end of a request."),
            ("request_prompt_tokens", self._prompt_len, "Tokens of prompts."),
            ("request_generation_tokens", self._answer_len, "Tokens of answers."),
            ("request_max_num_generation_tokens", self._longest_len, "Tokens of the longest answer of a request."),
        ):
            yield from family(f"vllm:{name}", "histogram", what)
            yield from histogram.samples(f"vllm:{name}", labels)


def engine_lines(metrics: EngineMetrics, num_queued: int, labels: Labels) -> Iterable[str]:
    """num_queued: requests accepted that the engine does not know yet."""
    gauges = (
        ("vllm:num_requests_running", metrics.running, "Requests being computed."),
        ("vllm:num_requests_waiting", metrics.waiting + num_queued, "Requests waiting to be computed."),
        ("vllm:kv_cache_usage_perc", metrics.kv_usage, "Share of the KV cache in use, 0 to 1."),
    )
    counters = (
        ("vllm:prompt_tokens", metrics.prompt_tokens, "Tokens of prompts."),
        ("vllm:generation_tokens", metrics.generated_tokens, "Tokens generated."),
        ("vllm:prefix_cache_queries", metrics.prompt_tokens, "Tokens looked up in the prefix cache."),
        ("vllm:prefix_cache_hits", metrics.cached_prompt_tokens, "Tokens found in the prefix cache."),
        ("vllm:spec_decode_num_draft_tokens", metrics.drafted_tokens, "Tokens guessed by speculation."),
        ("vllm:spec_decode_num_accepted_tokens", metrics.accepted_tokens, "Guessed tokens that became output."),
        ("wayra:stored_prompt_tokens", metrics.stored_prompt_tokens, "Tokens of prompts read from disk."),
        ("wayra:stored_bytes_read", metrics.stored_bytes_read, "Bytes of KV blocks read from disk."),
        ("wayra:stored_bytes_written", metrics.stored_bytes_written, "Bytes of KV blocks written to disk."),
        ("wayra:engine_steps", metrics.steps, "Steps of the engine."),
        ("wayra:requests_failed", metrics.failed_requests, "Requests that failed in the engine."),
        ("wayra:requests_cancelled", metrics.cancelled_requests, "Requests cancelled in the engine."),
    )
    for name, value, what in gauges:
        yield from family(name, "gauge", what)
        yield sample(name, value, labels)
    for name, value, what in counters:
        yield from family(name, "counter", what)
        yield sample(f"{name}_total", value, labels)


def loading_lines(is_loaded: bool, num_loads: int, num_failed_loads: int, labels: Labels) -> Iterable[str]:
    """Of a model that may be loaded and unloaded."""
    yield from family("wayra:model_loaded", "gauge", "Whether the model is loaded now.")
    yield sample("wayra:model_loaded", int(is_loaded), labels)
    yield from family("wayra:model_loads", "counter", "Times the model was loaded.")
    yield sample("wayra:model_loads_total", num_loads, labels)
    yield from family("wayra:model_load_failures", "counter", "Times it could not be loaded.")
    yield sample("wayra:model_load_failures_total", num_failed_loads, labels)


def by_family(parts: Sequence[Sequence[str]]) -> Iterable[str]:
    """The lines of several models as one text, in which all samples of a metric stand together, as the format wants."""
    samples: dict[tuple[str, ...], list[str]] = {}
    for lines in parts:
        head: tuple[str, ...] = ()
        for line in lines:
            if line.startswith("# HELP "):
                head = (line,)
            elif line.startswith("# TYPE "):
                head = (*head, line)
                samples.setdefault(head, [])
            else:
                samples[head].append(line)
    for head, lines in samples.items():
        yield from head
        yield from lines


def family(name: str, kind: str, what: str) -> Iterable[str]:
    """The two lines that introduce a metric. Counters are named with _total, as their samples are."""
    full = f"{name}_total" if kind == "counter" else name
    yield f"# HELP {full} {what}"
    yield f"# TYPE {full} {kind}"


def sample(name: str, value: float, labels: Labels) -> str:
    """One line."""
    shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{shown}}} {_number(value)}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
