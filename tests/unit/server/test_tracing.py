"""What a span tells of a request; sending it is tests/server/test_traces.py."""

import json
import sys
import time

import pytest

from wayra.base.errors import InvalidParameter
from wayra.base.settings import from_environment
from wayra.engine.request import SamplingParams, Share
from wayra.server.calls import Caller
from wayra.server.tracing import attributes_of, span_name, start_tracing


class Visit:
    def __init__(self, path: str, status: int, **facts: object) -> None:
        self.request_id = "req-1"
        self.method = "POST"
        self.path = path
        self.began = time.perf_counter()
        self.caller: Caller | None = Caller("req-1", Share("ab12", 2))
        self.status = status
        self.facts = dict(facts)
        self.params: SamplingParams | None = None
        self.error = "the message holds 'Xylophones'"

    def header(self, name: bytes) -> list[bytes]:
        return []


def test_a_chats_span_follows_the_conventions() -> None:
    visit = Visit(
        "/v1/chat/completions", 200, model="m", prompt_tokens=7, cached_tokens=0, completion_tokens=3, ttft_s=0.5,
        queue_s=0.25, finish=["stop"], stream=True,
    )  # fmt: skip
    visit.params = SamplingParams(temperature=0.5, max_tokens=9, stop=("Xylophones",), seed=2**64 - 1)
    assert span_name(visit) == "chat m"
    found = attributes_of(visit)
    assert found.items() >= {
        "http.request.method": "POST", "url.path": "/v1/chat/completions", "http.response.status_code": 200,
        "wayra.request_id": "req-1", "enduser.pseudo.id": "ab12", "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "wayra", "gen_ai.request.model": "m", "gen_ai.response.model": "m",
        "gen_ai.usage.input_tokens": 7, "gen_ai.usage.output_tokens": 3,
        "gen_ai.latency.time_to_first_token": 0.5, "gen_ai.latency.time_in_queue": 0.25,
        "gen_ai.request.temperature": 0.5, "gen_ai.request.max_tokens": 9,
    }.items()  # fmt: skip
    assert found["gen_ai.response.finish_reasons"] == ["stop"]
    # A seed that the wire has no number for, and everything that holds text.
    assert "gen_ai.request.seed" not in found
    assert "Xylophones" not in json.dumps(found)


@pytest.mark.parametrize(("status", "error"), [(0, "client_left"), (429, "429"), (500, "500"), (200, None)])
def test_a_failed_requests_span_says_so_without_its_message(status: int, error: str | None) -> None:
    visit = Visit("/v1/embeddings", status, model="m")
    found = attributes_of(visit)
    assert found.get("error.type") == error
    assert "Xylophones" not in json.dumps(found)


def test_paths_that_are_no_operation_name_no_span() -> None:
    visit = Visit("/anything/somebody/asks/for", 404)
    assert span_name(visit) == "POST"
    assert not any(name.startswith("gen_ai") for name in attributes_of(visit))


def test_without_the_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(InvalidParameter, match=r"pip install 'wayra\[otel\]'"):
        start_tracing()


def test_an_endpoint_in_the_environment_is_noticed() -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        assert from_environment({name: "http://collector:4318"}).has_otel_endpoint
    assert not from_environment({}).has_otel_endpoint
