"""What every reported number means; printed by --definitions and kept in each run."""

from collections.abc import Mapping
from types import MappingProxyType

FAILURES: Mapping[str, str] = MappingProxyType(
    {
        "connect": "nobody answers at the address",
        "tls": "no secure connection comes about",
        "timeout": "the whole request took too long",
        "stall": "no byte came for too long",
        "cut": "the answer was closed in the middle",
        "protocol": "the answer is not HTTP",
        "rubbish": "the answer is not the API's JSON",
        "auth": "the key is refused (401, 403)",
        "rate_limited": "too many requests (429)",
        "refused": "another status of 3xx or 4xx",
        "server": "a status of 5xx, or an error in the stream",
        "too_large": "the answer is larger than is read",
        "empty": "an answer without a token",
        "engine": "an error of the engine in this process",
    }
)
"""What wayra.client.failures' kinds mean to who reads a report."""

DEFINITIONS: Mapping[str, str] = MappingProxyType(
    {
        "ttft": "Time to first token, ms: from handing the request to the client (before connecting, where no kept "
        "connection is used) to the arrival of the first event that carries content; events without text (a role, a "
        "ping) do not count.",
        "e2e": "End to end, ms: from handing the request to the client to the arrival of the last event that carries "
        "content.",
        "tpot": "Time per output token, ms: (e2e - ttft) / (n - 1) of one request, n its output tokens as the "
        "server's usage counts them; none below two tokens. The first token is not in it (as in vLLM; guidellm counts "
        "it).",
        "icl": "Inter-chunk latency, ms: between the arrivals of neighbouring events with content, over all requests. "
        "vLLM's benchmark calls this ITL. Intervals resample whole requests.",
        "itl": "Inter-token latency, ms: the gap before an event divided by the tokens it carries, counted once a "
        "token; tokens of the first event have none. Only where the server says of every request what each event "
        "carries, or sends as many events as tokens. Intervals resample whole requests.",
        "queue": "Client delay, ms: from the moment an open loop meant to send a request to its sending; large values "
        "mean that the load generator, not the server, was late.",
        "requests": "Requests that ended well, in the measured part.",
        "failed": "Requests that ended in a failure; in no latency figure.",
        **{f"failed: {kind}": f"Requests that failed: {text}." for kind, text in FAILURES.items()},
        "cancelled": "Requests this program cancelled because the time was over; in no latency figure.",
        "span": "Seconds from the first sending to the last end, summed over the sessions of a resumed run.",
        "request_rate": "Requests that ended well per second of the span from the first sending to the last end.",
        "input_rate": "Prompt tokens (the server's usage, cached ones included) of requests that ended well per "
        "second of the span from the first sending to the last end.",
        "output_rate": "Output tokens (the server's usage) of requests that ended well per second of the span from "
        "the first sending to the last end.",
        "decode_rate": "Output tokens per second of one request after its first token: 1000 / tpot, median.",
        "concurrency": "Mean number of requests under way over the span from the first sending to the last end.",
        "cached_share": "Prompt tokens that the server says it served from its cache, of all prompt tokens.",
        "goodput": "Share of all measured requests (failed ones included, cancelled ones not) that ended well within "
        "every limit that the SLO sets, of its own TTFT, TPOT and E2E. A request of one token has no TPOT to exceed. "
        "The interval is Wilson's.",
        "goodput_rate": "Requests per second of the span from the first sending to the last end that ended well "
        "within every limit that the SLO sets, of TTFT, TPOT and E2E.",
        "slo_met": "1 when nothing failed and the P99 over requests is within the limit for each that the SLO sets, "
        "of TTFT, TPOT and E2E; else 0.",
        "cost": "Prompt and output tokens of requests that ended well at the prices given, in their currency.",
        "knee": "Requests at once beyond which a doubling raises the output rate by less than 10 %.",
        "rate": "Tokens per second of a test, the median of its repeats, one request at a time. pp, prefill: the "
        "prompt's length over the time to the first token, no cache; the step that computes the prompt samples the "
        "first token too. tg, decode: tokens after the first, from a prompt of one token, no speculation. The "
        "interval is a 95 % percentile bootstrap of the median.",
        "deviation": "Standard deviation of a test's repeats (over n - 1), tokens per second.",
        "limit": "Tokens per second that the machine allows at most, the stricter of two limits: memory bandwidth "
        "over the bytes and int8 peak over the operations that the model's Program needs for a token.",
        "limit_share": "Share of the machine's limit: the rate over the limit.",
        "p50/p95/p99": "Quantiles over requests (icl and itl: over gaps and tokens), interpolated linearly; 95 % "
        "percentile-bootstrap intervals, which cannot reach beyond the largest value seen: of few requests those of "
        "P95 and P99 say little.",
    }
)
