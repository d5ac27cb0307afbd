"""A span a request, for OpenTelemetry: who asked for what, how long it waited and ran; never a word of it.

The span is made when the request is over, from what its line in the log says: the path of a token knows nothing of it.
Attributes follow the semantic conventions for HTTP and gen_ai; durations are named as vLLM names them.
"""

import importlib
import logging
import threading
import time
from collections.abc import Mapping
from typing import Any, Protocol, TypeGuard

from wayra import __version__
from wayra.base.errors import InvalidParameter
from wayra.engine.request import SamplingParams
from wayra.server.calls import Caller

_log = logging.getLogger(__name__)

CLOSE_S = 5.0
"""How long the end of the server may wait for a collector to take the last spans."""
OPERATIONS: Mapping[str, str] = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "chat",
    "/v1/messages": "chat",
    "/api/chat": "chat",
    "/v1/completions": "text_completion",
    "/api/generate": "text_completion",
    "/v1/embeddings": "embeddings",
    "/api/embed": "embeddings",
}
_OF_FACTS: Mapping[str, str] = {
    "prompt_tokens": "gen_ai.usage.input_tokens",
    "cached_tokens": "gen_ai.usage.cache_read.input_tokens",
    "completion_tokens": "gen_ai.usage.output_tokens",
    "ttft_s": "gen_ai.latency.time_to_first_token",
    "queue_s": "gen_ai.latency.time_in_queue",
    "finish": "gen_ai.response.finish_reasons",
}
_OF_PARAMS: Mapping[str, str] = {
    "max_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_k": "gen_ai.request.top_k",
    "top_p": "gen_ai.request.top_p",
    "seed": "gen_ai.request.seed",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
}

Attribute = str | int | float | list[str]


class Traced(Protocol):
    """What a span tells of a request."""

    request_id: str
    method: str
    path: str
    began: float
    caller: Caller | None
    status: int
    facts: dict[str, object]
    params: SamplingParams | None

    def header(self, name: bytes) -> list[bytes]: ...


class Tracing:
    """Hands spans to a provider of OpenTelemetry's SDK, which sends them from a thread of its own."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("wayra", __version__)
        trace = importlib.import_module("opentelemetry.trace")
        propagation = importlib.import_module("opentelemetry.trace.propagation.tracecontext")
        self._server = trace.SpanKind.SERVER
        self._failed = trace.Status(trace.StatusCode.ERROR)
        self._extract = propagation.TraceContextTextMapPropagator().extract

    def visited(self, visit: Traced) -> str | None:
        """A request is over. Its trace's id; None where there is no span: only what asks for work has one."""
        if visit.method != "POST":
            return None
        try:
            return self._span(visit)
        except Exception:  # nobody's answer depends on it
            _log.exception("a request could not be traced")
            return None

    def close(self) -> None:
        """Send what waits, for a few seconds at most."""
        closing = threading.Thread(target=self._provider.shutdown, name="wayra-traces", daemon=True)
        closing.start()
        closing.join(CLOSE_S)

    def _span(self, visit: Traced) -> str:
        ended_ns = time.time_ns()
        began_ns = ended_ns - int((time.perf_counter() - visit.began) * 1e9)
        span = self._tracer.start_span(
            span_name(visit),
            self._extract(_carrier(visit)),
            self._server,
            attributes_of(visit),
            start_time=began_ns,
        )
        if visit.status >= 500:
            span.set_status(self._failed)
        span.end(ended_ns)
        return f"{span.get_span_context().trace_id:032x}"


def start_tracing() -> Tracing:
    """Begin to send spans, to where OpenTelemetry's own environment variables say.

    Raises InvalidParameter when its packages are not installed.
    """
    try:
        trace = importlib.import_module("opentelemetry.sdk.trace")
        export = importlib.import_module("opentelemetry.sdk.trace.export")
        resources = importlib.import_module("opentelemetry.sdk.resources")
        exporter = importlib.import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    except ImportError as error:
        raise InvalidParameter(
            f"traces need OpenTelemetry, of which {error.name or 'a part'} is not installed; pip install 'wayra[otel]'"
        ) from error
    try:
        resource = resources.Resource.create({})
        if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):
            resource = resource.merge(resources.Resource({"service.name": "wayra", "service.version": __version__}))
        provider = trace.TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(export.BatchSpanProcessor(exporter.OTLPSpanExporter()))
    except ValueError as error:
        raise InvalidParameter(f"OpenTelemetry refuses its environment variables: {error}") from error
    return Tracing(provider)


def span_name(visit: Traced) -> str:
    """What was done and with which model, of which there are few, unlike paths."""
    operation, model = OPERATIONS.get(visit.path), visit.facts.get("model")
    if operation is None:
        return visit.method
    return operation if model is None else f"{operation} {model}"


def attributes_of(visit: Traced) -> dict[str, Attribute]:
    """By the names of the conventions; no text of a prompt, an answer or an error is among them."""
    found: dict[str, object] = {
        "http.request.method": visit.method,
        "url.path": visit.path[:200],
        "wayra.request_id": visit.request_id,
    }
    if visit.status:
        found["http.response.status_code"] = visit.status
    else:
        found["error.type"] = "client_left"
    if visit.status >= 400:
        found["error.type"] = str(visit.status)
    if visit.caller is not None and visit.caller.share.name:
        found["enduser.pseudo.id"] = visit.caller.share.name
    operation = OPERATIONS.get(visit.path)
    if operation is not None:
        found |= {"gen_ai.operation.name": operation, "gen_ai.provider.name": "wayra"}
        if (model := visit.facts.get("model")) is not None:
            found |= {"gen_ai.request.model": model, "gen_ai.response.model": model}
        found |= {name: visit.facts.get(fact) for fact, name in _OF_FACTS.items()}
        if visit.params is not None:
            found |= {name: getattr(visit.params, param) for param, name in _OF_PARAMS.items()}
    return {name: value for name, value in found.items() if _is_attribute(value)}


def _is_attribute(value: object) -> TypeGuard[Attribute]:
    # Integers have 64 bits on the wire, of which seeds may be too large.
    return isinstance(value, str | float | list) or (isinstance(value, int) and -(1 << 63) <= value < 1 << 63)


def _carrier(visit: Traced) -> dict[str, str]:
    parents, states = visit.header(b"traceparent"), visit.header(b"tracestate")
    if len(parents) != 1:
        return {}
    carrier = {"traceparent": parents[0].decode("latin-1")}
    if states:
        carrier["tracestate"] = ",".join(state.decode("latin-1") for state in states)
    return carrier
