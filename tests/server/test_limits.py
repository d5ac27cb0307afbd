"""What a server grants its clients, on one with room for three requests and no patience."""

import errno
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_server import LiveServer, hang_up, is_idle, read_to_end, together

CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4, "temperature": 0}


@pytest.fixture(scope="module")
def small(smollm2_path: Path) -> Iterator[LiveServer]:
    args = ["--max-batch", "2", "--max-waiting", "1", "--header-timeout", "0.5", "--body-timeout", "0.5"]
    args += ["--stall-timeout", "1", "--max-connections", "40", "--max-body", "1", "--context", "4096"]
    with LiveServer(str(smollm2_path), "--backend", "null", *args) as live:
        yield live


def test_a_full_queue_answers_429_and_when_to_come_again(small: LiveServer) -> None:
    socks = [small.begin_chat() for _ in range(2)]
    waiting = small.connect()
    body = json.dumps(HELLO).encode()
    waiting.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
    waiting.sendall(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    assert small.settles(lambda: small.metric("vllm:num_requests_waiting") == 1)
    for answer in together([lambda: small.post(CHAT, HELLO)] * 5):
        assert answer.status == 429
        assert answer.error["code"] == "queue_full"
        assert 100 <= int(answer.headers["retry-after-ms"]) <= 30_000
        assert int(answer.headers["retry-after"]) >= 1
    for sock in (*socks, waiting):
        hang_up(sock)
    assert small.settles(lambda: is_idle(small))
    assert small.post(CHAT, HELLO).status == 200


def test_more_answers_than_there_is_room_for_are_refused_for_good(small: LiveServer) -> None:
    answer = small.post(CHAT, {**HELLO, "n": 4})
    assert (answer.status, answer.error["param"]) == (400, "n")


def test_slow_headers_and_bodies_meet_their_deadlines(small: LiveServer) -> None:
    with small.connect() as silent, small.connect() as headers, small.connect() as body:
        headers.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: loc")
        body.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 1000\r\n\r\n{"
        )
        assert read_to_end(headers).startswith(b"HTTP/1.1 408 ")
        assert read_to_end(body).startswith(b"HTTP/1.1 408 ")
        assert read_to_end(silent) == b""


def test_too_many_connections_are_closed_and_room_comes_back(small: LiveServer) -> None:
    socks = [small.connect() for _ in range(60)]
    closed = sum(read_to_end(sock) == b"" for sock in socks)
    for sock in socks:
        sock.close()
    assert closed == 60
    assert small.post(CHAT, HELLO).status == 200


def test_a_body_over_the_limit_is_refused(small: LiveServer) -> None:
    answer = small.post("/v1/completions", {"prompt": "x" * (1 << 20)})
    assert answer.status == 413


def test_a_client_that_takes_nothing_of_its_answer_is_given_up(small: LiveServer) -> None:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect((small.host, small.port))
    # Log-probabilities make the answer larger than what the system takes off the server's hands.
    body = json.dumps(
        {**HELLO, "max_tokens": 4000, "ignore_eos": True, "stream": True, "logprobs": True, "top_logprobs": 20}
    ).encode()
    sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
    sock.sendall(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    assert small.settles(lambda: small.metric("vllm:num_requests_running") == 1)
    assert small.settles(lambda: is_idle(small), 60)
    # A reset, not an end behind what nobody reads: the system holds nothing for it any more.
    assert small.settles(lambda: sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET)
    sock.close()


def test_a_text_that_cannot_fit_is_refused_before_it_is_tokenized(small: LiveServer) -> None:
    text = "a " * 400_000
    asked = [("/v1/completions", {"prompt": text}), ("/v1/embeddings", {"input": text})]
    asked.append(("/v1/chat/completions", {"messages": [{"role": "user", "content": text}]}))
    for path, body in asked:
        answer = small.post(path, body)
        assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
        assert "tokens, limit is 4,096" in answer.error["message"]
    counted = small.post("/tokenize", {"prompt": "a " * 100_000})
    assert counted.json["count"] >= 100_000
