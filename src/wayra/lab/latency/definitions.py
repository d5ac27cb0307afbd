"""What every reported number means; printed by --definitions and kept in each run."""

from collections.abc import Mapping
from types import MappingProxyType

DEFINITIONS: Mapping[str, str] = MappingProxyType(
    {
        "ttft": "Time to first token, ms: from handing the request to the client (before connecting, where no kept "
        "connection is used) to the arrival of the first event that carries content; events without text (a role, a "
        "ping) do not count.",
        "e2e": "End to end, ms: from handing the request to the client to the arrival of the last event that carries "
        "content.",
        "tpot": "Time per output token, ms: (e2e - ttft) / (n - 1) of one request, n its output tokens as the server's "
        "usage counts them; none below two tokens. The first token is not in it (as in vLLM; guidellm counts it).",
        "icl": "Inter-chunk latency, ms: between the arrivals of neighbouring events with content, over all requests. "
        "vLLM's benchmark calls this ITL. Intervals resample whole requests.",
        "itl": "Inter-token latency, ms: the gap before an event divided by the tokens it carries, counted once a "
        "token; tokens of the first event have none. Only of requests whose server says what each event carries, or "
        "sends as many events as tokens. Intervals resample whole requests.",
        "queue": "Client delay, ms: from the moment an open loop meant to send a request to its sending; large values "
        "mean that the load generator, not the server, was late.",
        "requests": "Requests that ended well, in the measured part.",
        "failed": "Requests that ended in a failure, by kind; in no latency figure.",
        "cancelled": "Requests this program cancelled because the time was over; in no latency figure.",
        "request_rate": "Requests that ended well per second of the span from the first sending to the last end.",
        "input_rate": "Prompt tokens (the server's usage, cached ones included) of requests that ended well per second "
        "of that span.",
        "output_rate": "Output tokens (the server's usage) of requests that ended well per second of that span.",
        "decode_rate": "Output tokens per second of one request after its first token: 1000 / tpot, median.",
        "concurrency": "Mean number of requests under way over the span.",
        "cached_share": "Prompt tokens that the server says it served from its cache, of all prompt tokens.",
        "goodput": "Share of all measured requests (failed ones included, cancelled ones not) that ended well within "
        "every limit of the SLO; the interval is Wilson's.",
        "goodput_rate": "Requests per second that ended well within every limit of the SLO.",
        "slo_met": "1 when the P99 of TTFT and of TPOT are within the SLO's limits and nothing failed, else 0.",
        "cost": "Prompt and output tokens of requests that ended well at the prices given.",
        "pp": "Prefill: prompt tokens per second; the prompt's length over the time to the first token, one request "
        "at a time, no cache. The step that computes the prompt also samples the first token.",
        "tg": "Decode: tokens per second after the first, one request at a time, from a prompt of one token; no "
        "speculation.",
        "limit_share": "Share of the machine's limit: the rate over the stricter of two limits, memory bandwidth over "
        "the bytes and int8 peak over the operations that the model's Program needs for it.",
        "p50/p95/p99": "Quantiles over requests (icl and itl: over gaps and tokens), interpolated linearly; 95 % "
        "percentile-bootstrap intervals.",
    }
)
