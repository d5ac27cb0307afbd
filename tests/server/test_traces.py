"""Spans of a live server as a collector receives them; needs wayra[otel]."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from live_server import LiveServer

pytestmark = pytest.mark.otel

CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "Xylophones"}], "max_tokens": 3, "temperature": 0}
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """Takes what is sent to /v1/traces. url: of the collector."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.path == "/v1/traces":
                    bodies.append(body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def spans(self) -> list[tuple[Any, dict[str, Any], dict[str, Any]]]:
        """Each with its attributes and those of its resource."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        found: list[tuple[Any, dict[str, Any], dict[str, Any]]] = []
        for body in self.bodies:
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = _values(group.resource.attributes)
                found += [(s, _values(s.attributes), resource) for scope in group.scope_spans for s in scope.spans]
        return found

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _values(attributes: Any) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        kind = value.WhichOneof("value")
        return [plain(v) for v in value.array_value.values] if kind == "array_value" else getattr(value, kind)

    return {attribute.key: plain(attribute.value) for attribute in attributes}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    found = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
    yield found
    found.close()


def test_a_span_a_request_goes_on_from_the_clients_trace_and_holds_no_text(
    smollm2_path: Path, collector: Collector
) -> None:
    with LiveServer(str(smollm2_path), "--backend", "null") as live:
        parent = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}
        answer = live.ask("POST", CHAT, HELLO, {**parent, "x-request-id": "traced"})
        assert answer.status == 200
        assert live.post(CHAT, {**HELLO, "stop": 7}).status == 400
        assert live.get("/health").status == 200
        assert live.post("/v1/embeddings", {"input": "Xylophones"}).status == 200
        assert live.stop() == 0
        assert f'"trace_id": "{TRACE}"' in live.log()
    spans = {span.name: (span, attributes, resource) for span, attributes, resource in collector.spans()}
    assert len(collector.spans()) == 3
    chat = next(name for name, (_, found, _) in spans.items() if found.get("wayra.request_id") == "traced")
    span, attributes, resource = spans[chat]
    assert (span.trace_id.hex(), span.parent_span_id.hex(), span.trace_state) == (TRACE, PARENT, "vendor=1")
    assert span.kind == 2  # SPAN_KIND_SERVER
    assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < 60e9
    assert chat == f"chat {attributes['gen_ai.request.model']}"
    assert attributes["gen_ai.usage.output_tokens"] == 3
    assert attributes["gen_ai.response.finish_reasons"] == ["length"]
    assert attributes["gen_ai.latency.time_in_queue"] <= attributes["gen_ai.latency.time_to_first_token"]
    assert resource["service.name"] == "wayra"
    assert all(b"Xylophones" not in body for body in collector.bodies)


def test_a_collector_that_is_not_there_holds_nobody_up(smollm2_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    with LiveServer(str(smollm2_path), "--backend", "null", "--otel") as live:
        assert [live.post(CHAT, HELLO).status for _ in range(5)] == [200] * 5
        assert live.stop() == 0
        assert "Xylophones" not in live.log()


def test_a_name_of_the_service_in_the_environment_stays(
    smollm2_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "ours")
    with LiveServer(str(smollm2_path), "--backend", "null") as live:
        assert live.post("/tokenize", {"prompt": "Hi"}).status == 200
        assert live.stop() == 0
    ((span, attributes, resource),) = collector.spans()
    assert (span.name, resource["service.name"]) == ("POST", "ours")
    assert attributes["url.path"] == "/tokenize"
