"""A server that stays up: disconnects, overload, slow and malformed clients, draining, a dead engine."""

import json
import signal
import socket
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from live_server import LiveServer, hang_up, is_idle, read_to_end, together

CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4, "temperature": 0}


def ready_status(server: LiveServer) -> int | None:
    """None when nobody listens any more."""
    try:
        return server.get("/ready").status
    except OSError:
        return None


def test_health_is_a_step_of_the_engine(server: LiveServer) -> None:
    steps = server.metric("wayra:engine_steps_total")
    assert server.get("/health").status == 200
    assert server.metric("wayra:engine_steps_total") > steps
    assert server.get("/ready").status == 200


def test_a_client_that_hangs_up_frees_its_blocks(server: LiveServer) -> None:
    socks = [server.begin_chat() for _ in range(8)]
    assert server.metric("vllm:kv_cache_usage_perc") > 0
    for sock in socks:
        hang_up(sock)
    assert server.settles(lambda: is_idle(server))
    assert server.post(CHAT, HELLO).status == 200


def test_a_client_that_hangs_up_before_a_whole_answer_frees_its_blocks(server: LiveServer) -> None:
    aborted = server.metric("vllm:request_success_total")
    body = json.dumps({**HELLO, "max_tokens": 4000, "ignore_eos": True}).encode()
    sock = server.connect()
    sock.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    assert server.settles(lambda: server.metric("vllm:num_requests_running") == 1)
    hang_up(sock)
    assert server.settles(lambda: is_idle(server))
    assert server.metric("vllm:request_success_total") == aborted + 1


def test_metrics_are_what_prometheus_reads(server: LiveServer) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    server.post(CHAT, {**HELLO, "stream": True})
    answer = server.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in parser.text_string_to_metric_families(answer.body.decode())}
    for name, kind in (
        ("vllm:num_requests_running", "gauge"),
        ("vllm:kv_cache_usage_perc", "gauge"),
        ("vllm:generation_tokens", "counter"),
        ("vllm:request_success", "counter"),
        ("vllm:request_queue_time_seconds", "histogram"),
        ("vllm:time_to_first_token_seconds", "histogram"),
        ("vllm:inter_token_latency_seconds", "histogram"),
        ("vllm:e2e_request_latency_seconds", "histogram"),
    ):
        assert families[name].type == kind
    counts = {s.name: s.value for family in families.values() for s in family.samples if s.name.endswith("_count")}
    assert counts["vllm:request_queue_time_seconds_count"] >= counts["vllm:time_to_first_token_seconds_count"] >= 1
    ttft = {s.labels.get("le"): s.value for s in families["vllm:time_to_first_token_seconds"].samples}
    assert ttft["+Inf"] >= 1
    assert list(ttft.values())[:-2] == sorted(list(ttft.values())[:-2])


def test_what_a_request_took_is_told_apart(server: LiveServer) -> None:
    names = ("queue_time_seconds", "prefill_time_seconds", "decode_time_seconds", "max_num_generation_tokens")

    def sums() -> dict[str, float]:
        found = {name: server.metric(f"vllm:request_{name}_sum") for name in names}
        counts = {name: server.metric(f"vllm:request_{name}_count") for name in names[1:]}
        assert len(set(counts.values())) == 1
        answers = server.metric("vllm:request_generation_tokens_sum")
        return {**found, "count": counts["prefill_time_seconds"], "answers": answers}

    before, began = sums(), time.monotonic()
    assert server.post(CHAT, {**HELLO, "max_tokens": 8, "n": 2, "ignore_eos": True}).status == 200
    took_s = time.monotonic() - began
    grown = {name: value - before[name] for name, value in sums().items()}
    assert (grown["count"], grown["answers"], grown["max_num_generation_tokens"]) == (1, 16, 8)
    assert grown["prefill_time_seconds"] > 0 < grown["decode_time_seconds"]
    assert sum(grown[name] for name in names[:3]) <= took_s


@pytest.mark.parametrize(
    ("raw", "statuses"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", {400}),
        (b"GET / HTTP/1.1\r\n\r\n", {400}),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", {400}),
        (b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", {505}),
        (b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n", {400}),
        (b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", {400}),
        (b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
         b"0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", {400}),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 200_000 + b"\r\n\r\n", {431, 0}),
        (b"GET /" + b"y" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", {431, 0}),
        (b"GET http://elsewhere/ HTTP/1.1\r\nHost: localhost\r\n\r\n", {404}),
        (b"GET /%2e%2e/etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", {404}),
        (b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", {400, 404}),
        (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", {404}),
    ],
)  # fmt: skip
def test_malformed_requests_are_refused_and_nothing_else_happens(
    server: LiveServer, raw: bytes, statuses: set[int]
) -> None:
    with server.connect() as sock:
        try:
            sock.sendall(raw)
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it was refused before it was sent to the end
        seen = read_to_end(sock)
    status = int(seen.split(b" ")[1]) if seen else 0
    assert status in statuses | {0}
    assert seen.count(b"\r\ncontent-length: ") <= 1
    assert server.post(CHAT, HELLO).status == 200


def test_bodies_that_are_too_large_or_no_json_are_refused(server: LiveServer) -> None:
    assert server.post(CHAT, b'{"messages": [').status == 400
    assert server.post(CHAT, b"\xff\xfe").status == 400
    assert server.post(CHAT, b"[" * 1_000_000).status == 400
    assert server.ask("POST", CHAT, b"{}", {"Content-Type": "text/plain"}).status == 415
    assert server.ask("POST", CHAT, b"x", {"Content-Encoding": "gzip"}).status == 415
    answer = server.ask("POST", CHAT, b"{}", {"Content-Length": "268435456"})
    assert (answer.status, answer.error["type"]) == (413, "request_too_large")
    with server.connect() as sock:
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        sock.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            sock.sendall((b"10000\r\n" + b" " * 65536 + b"\r\n") * 1000)
    assert server.get("/metrics").status == 200


def test_a_body_in_crumbs_is_refused_before_it_costs_much(server: LiveServer) -> None:
    head = b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    with server.connect() as sock:
        sock.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 2100)
        seen = read_to_end(sock)
    assert seen.startswith(b"HTTP/1.1 400 ")
    assert b"too many chunks" in seen
    with server.connect() as sock:
        sock.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 2000)
        sock.sendall((b"100\r\n" + b" " * 256 + b"\r\n") * 3000 + b'f\r\n{"prompt": "x"}\r\n0\r\n\r\n')
        assert read_to_end(sock).startswith(b"HTTP/1.1 200 ")


def test_paths_and_methods_that_do_not_exist_are_refused_in_the_apis_shape(server: LiveServer) -> None:
    missing, wrong = server.get("/v1/nonesuch"), server.get(CHAT)
    assert (missing.status, missing.error["code"]) == (404, "unknown_url")
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
    assert wrong.error["type"] == "invalid_request_error"


def test_a_request_id_is_given_back_and_logged(server: LiveServer) -> None:
    assert server.post(CHAT, HELLO, X_Request_Id="my-id.7").headers["x-request-id"] == "my-id.7"
    made = server.post(CHAT, HELLO, X_Request_Id="bad id\t!").headers["x-request-id"]
    assert made.startswith("req-")

    def logged() -> list[Any]:
        return [line for line in map(json.loads, server.log().splitlines()) if line.get("id") in ("my-id.7", made)]

    assert server.settles(lambda: len(logged()) == 2)
    assert [line["status"] for line in logged()] == [200, 200]
    assert "Hello" not in server.log()


def test_an_old_client_gets_its_stream_without_chunks(server: LiveServer) -> None:
    body = json.dumps({**HELLO, "stream": True}).encode()
    with server.connect() as sock:
        sock.sendall(b"POST /v1/chat/completions HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n")
        sock.sendall(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        head, _, stream = read_to_end(sock).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert stream.startswith(b"data: {")
    assert stream.endswith(b"data: [DONE]\n\n")


def test_requests_on_one_connection_are_answered_in_turn(server: LiveServer) -> None:
    body = json.dumps(HELLO).encode()
    one = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    one += b"Content-Length: %d\r\n" % len(body)
    with server.connect() as sock:
        sock.sendall((one + b"\r\n" + body) * 2 + one + b"Connection: close\r\n\r\n" + body)
        assert read_to_end(sock).count(b'"object":"chat.completion"') == 3


def test_sigterm_lets_requests_finish_and_exits_with_0(smollm2_path: Path) -> None:
    with LiveServer(str(smollm2_path), "--backend", "null", "--context", "4096") as live:
        kept = live.connect()
        kept.sendall(b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert kept.recv(65536).startswith(b"HTTP/1.1 200")
        sock = live.begin_chat(max_tokens=400)
        live.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        while (status := ready_status(live)) is not None:
            assert status == 503
            assert time.monotonic() < began + 10
        seen = read_to_end(sock)
        assert b"data: [DONE]\n\n" in seen
        assert b'"finish_reason":"length"' in seen
        assert live.stop() == 0
        kept.close()
        sock.close()


def test_who_comes_while_the_server_drains_is_told_in_its_own_words_when_to_come_again(smollm2_path: Path) -> None:
    """Their bodies are still on the way when the signal comes: nobody else is let in."""
    bodies: dict[str, dict[str, Any]] = {
        CHAT: HELLO,
        "/v1/completions": {"prompt": "Hello"},
        "/v1/embeddings": {"input": "Hello"},
        "/v1/responses": {"input": "Hello"},
        "/tokenize": {"prompt": "Hello"},
        "/v1/messages": {"model": "", **HELLO},
        "/v1/messages/count_tokens": {"model": "", "messages": HELLO["messages"]},
        "/api/chat": {"model": "", "messages": HELLO["messages"]},
        "/api/embed": {"model": "", "input": "Hello"},
    }
    socks: dict[str, socket.socket] = {}
    with LiveServer(str(smollm2_path), "--backend", "null", "--context", "4096") as live:
        for path, body in bodies.items():
            socks[path] = live.connect()
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            socks[path].sendall(f"{head}Content-Length: {len(json.dumps(body))}\r\n\r\n".encode())
        assert live.get("/ready").status == 200
        live.process.send_signal(signal.SIGTERM)
        assert live.settles(lambda: "draining" in live.log())
        for path, body in bodies.items():
            socks[path].sendall(json.dumps(body).encode())
            head, _, seen = read_to_end(socks[path]).lower().partition(b"\r\n\r\n")
            assert head.startswith(b"http/1.1 503 "), (path, head)
            assert b"\r\nretry-after-ms: 1000\r\nretry-after: 1\r\n" in head, (path, head)
            error = json.loads(seen)["error"]
            if path.startswith("/api/"):
                assert "shutting down" in error
            else:
                assert (error["type"], "shutting down" in error["message"]) == ("overloaded_error", True)
            socks[path].close()
        assert live.stop() == 0


def test_a_second_signal_ends_at_once(smollm2_path: Path) -> None:
    with LiveServer(str(smollm2_path), "--backend", "null", "--context", "8192") as live:
        sock = live.begin_chat()
        live.process.send_signal(signal.SIGINT)
        assert live.settles(lambda: "draining" in live.log())
        assert live.stop(signal.SIGINT) == 0
        sock.close()


def test_what_is_still_under_way_after_the_drain_timeout_is_cut(smollm2_path: Path) -> None:
    with LiveServer(str(smollm2_path), "--backend", "null", "--context", "8192", "--drain-timeout", "0") as live:
        sock = live.begin_chat()
        assert live.stop() == 0
        assert b"[DONE]" not in read_to_end(sock)
        sock.close()


DYING_ENGINE = """
from wayra.engine import engine
whole_step = engine.Engine.step
def step(self):
    if self.metrics().generated_tokens > 300:
        raise MemoryError("the test broke it")
    return whole_step(self)
engine.Engine.step = step
"""


def test_a_dead_engine_is_told_to_its_clients_and_ends_the_process(smollm2_path: Path) -> None:
    with LiveServer(str(smollm2_path), "--backend", "null", prelude=DYING_ENGINE) as live:
        endless = {**HELLO, "max_tokens": 1000, "ignore_eos": True}
        whole, streamed = together(
            [lambda: live.post(CHAT, endless), lambda: live.post(CHAT, {**endless, "stream": True})]
        )
        assert whole.status == 500
        assert "the engine failed" in whole.error["message"]
        last = json.loads(streamed.body.split(b"\n\n")[-2].removeprefix(b"data: "))
        assert "the engine failed" in last["error"]["message"]
        assert live.process.wait(30) == 1
        assert "the test broke it" in live.log()


FAILING_BACKEND = """
from wayra.backends import null
null.NullModel.step = lambda self, batch: 1 / 0
"""


def test_a_backend_that_computes_nothing_is_unhealthy(smollm2_path: Path) -> None:
    with LiveServer(str(smollm2_path), "--backend", "null", prelude=FAILING_BACKEND) as live:
        answer = live.post(CHAT, HELLO)
        assert answer.status == 500
        assert live.get("/health").status == 503
        assert live.get("/ready").status == 200


def test_one_request_that_breaks_outside_the_engine_leaves_the_others_alone(smollm2_path: Path) -> None:
    prelude = """
from wayra.llm import assemble
whole_push = assemble.Assembler.push
def push(self, output):
    if self._params.seed == 666:
        raise ValueError("the test broke it")
    return whole_push(self, output)
assemble.Assembler.push = push
"""
    with LiveServer(str(smollm2_path), "--backend", "null", prelude=prelude) as live:
        broken, fine = together([lambda: live.post(CHAT, {**HELLO, "seed": 666}), lambda: live.post(CHAT, HELLO)])
        assert (broken.status, fine.status) == (500, 200)
        assert "the test broke it" not in broken.body.decode()
        assert "the test broke it" in live.log()
        assert is_idle(live)


def test_clients_that_choose_the_same_request_id_do_not_meet(server: LiveServer) -> None:
    def ask(word: str) -> int:
        fields = {"prompt": word, "max_tokens": 24, "ignore_eos": True}
        answer = server.post("/v1/completions", fields, X_Request_Id="mine")
        assert (answer.status, answer.headers["x-request-id"]) == (200, "mine")
        return answer.json["usage"]["completion_tokens"]

    assert together([partial(ask, word) for word in ("one", "two", "three", "four")]) == [24] * 4
