"""The log of a live server: a line a request, with all an operator asks for and nothing of what was said."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_server import LiveServer, hang_up

from wayra.server.keys import api_key

KEY = "sk-log-0123456789"
HELLO = {"messages": [{"role": "user", "content": "Xylophones"}], "max_tokens": 3, "temperature": 0}
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def keyed(smollm2_path: Path) -> Iterator[LiveServer]:
    args = ["--backend", "null", "--context", "4096", "--api-key", KEY]
    with LiveServer(str(smollm2_path), *args, headers={"X-Api-Key": KEY}) as live:
        yield live


def line_of(server: LiveServer, request_id: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    def is_written() -> bool:
        found[:] = [line for line in map(json.loads, server.log().splitlines()) if line.get("id") == request_id]
        return bool(found)

    assert server.settles(is_written), request_id
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(
    ("path", "body", "finish"),
    [
        (CHAT, HELLO, ["length"]),
        (CHAT, {**HELLO, "stream": True}, ["length"]),
        (CHAT, {**HELLO, "n": 2}, ["length", "length"]),
        ("/v1/completions", {"prompt": "Xylophones", "max_tokens": 3}, ["length"]),
        ("/v1/messages", {**HELLO, "model": ""}, ["length"]),
        ("/v1/responses", {"input": "Xylophones", "max_output_tokens": 3}, ["length"]),
        ("/api/chat", {"messages": HELLO["messages"], "model": "", "options": {"num_predict": 3}}, ["length"]),
        ("/api/generate", {"prompt": "Xylophones", "model": "", "options": {"num_predict": 3}}, ["length"]),
    ],
)
def test_an_answers_line_has_its_id_key_model_tokens_and_times(
    keyed: LiveServer, path: str, body: dict[str, object], finish: list[str]
) -> None:
    answer = keyed.post(path, body)
    assert answer.status == 200, answer.body
    line = line_of(keyed, answer.headers["x-request-id"])
    assert (line["event"], line["level"], line["method"], line["path"]) == ("request", "info", "POST", path)
    assert (line["status"], line["key"]) == (200, api_key(KEY).name)
    assert line["model"]
    assert line["prompt_tokens"] > 0
    assert line["completion_tokens"] == 3 * len(finish)
    assert line["finish"] == finish
    assert 0 <= line["queue_s"] <= line["ttft_s"] <= line["seconds"]


def test_embeddings_have_their_tokens(keyed: LiveServer) -> None:
    for path in ("/v1/embeddings", "/api/embed"):
        answer = keyed.post(path, {"input": "Xylophones", "model": ""})
        assert answer.status == 200, answer.body
        assert line_of(keyed, answer.headers["x-request-id"])["prompt_tokens"] > 0


def test_a_refused_request_says_why_and_a_given_up_one_what_it_cost(keyed: LiveServer) -> None:
    refused = line_of(keyed, keyed.post(CHAT, {"messages": 7}).headers["x-request-id"])
    assert (refused["status"], refused["level"]) == (400, "info")
    assert "messages" in refused["error"]
    stranger = line_of(keyed, keyed.post(CHAT, HELLO, X_Api_Key="sk-of-a-stranger").headers["x-request-id"])
    assert stranger["status"] == 401
    assert "key" not in stranger
    body = json.dumps({**HELLO, "stream": True, "ignore_eos": True, "max_tokens": 4000}).encode()
    sock = keyed.connect()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: {keyed.host}\r\nX-Api-Key: {KEY}\r\nX-Request-Id: left\r\n"
    sock.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    assert sock.recv(1)
    hang_up(sock)
    left = line_of(keyed, "left")
    assert left["finish"] == ["abort"]
    assert left["completion_tokens"] < 4000


def test_what_is_the_clients_fault_is_no_error(keyed: LiveServer) -> None:
    with keyed.connect() as sock:
        sock.sendall(b"GET / HTTP/9.9\r\nHost: localhost\r\nX-Request-Id: new\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 505 ")
    assert (line_of(keyed, "new")["status"], line_of(keyed, "new")["level"]) == (505, "info")


def test_neither_keys_nor_texts_are_written(keyed: LiveServer) -> None:
    log = keyed.log()
    assert KEY not in log
    assert "stranger" not in log
    assert "Xylophones" not in log


def test_a_log_of_text_at_a_level(smollm2_path: Path) -> None:
    args = ["--backend", "null", "--log-format", "text", "--log-level"]
    with LiveServer(str(smollm2_path), *args, "info") as live:
        live.post(CHAT, HELLO, X_Request_Id="seen")
        wanted = re.compile(r"^\S+Z info    request id=seen method=POST path=/v1/chat/completions status=200 ", re.M)
        assert live.settles(lambda: wanted.search(live.log()) is not None)
    with LiveServer(str(smollm2_path), *args, "error") as live:
        live.post(CHAT, HELLO, X_Request_Id="unseen")
        assert live.stop() == 0
        assert "request" not in live.log()
        assert "stopped" not in live.log()
