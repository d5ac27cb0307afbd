"""Two keys, one place in the engine: a backlog of one does not keep the other waiting."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_server import LiveServer, hang_up, is_idle, read_to_end

HEAVY, LIGHT = "sk-heavy-0123456789", "sk-light-0123456789"
BACKLOG = 40


@pytest.fixture(scope="module")
def keyed(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """One request at a time, sixty may wait."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"{HEAVY} weight=2\n{LIGHT}\n")
    args = ["--api-key-file", str(keys), "--max-batch", "1", "--max-waiting", "60", "--context", "4096"]
    with LiveServer(str(smollm2_path), "--backend", "null", *args, headers={"X-Api-Key": LIGHT}) as live:
        yield live


def send(server: LiveServer, key: str, max_tokens: int, name: str = "any") -> socket.socket:
    body = json.dumps({"prompt": "Hi", "ignore_eos": True, "max_tokens": max_tokens}).encode()
    sock = server.connect()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {server.host}\r\nX-Api-Key: {key}\r\n"
    head += f"X-Request-Id: {name}\r\nConnection: close\r\n"
    sock.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    return sock


def names_in_order(server: LiveServer) -> list[str]:
    """The request ids of the answers that are over, as the server ended them."""
    lines = [json.loads(line) for line in server.log().splitlines()]
    return [line["id"] for line in lines if line.get("path") == "/v1/completions"]


def test_a_light_keys_request_is_answered_before_the_heavy_keys_backlog(keyed: LiveServer) -> None:
    blocker = send(keyed, HEAVY, 4000)
    assert keyed.settles(lambda: keyed.metric("vllm:num_requests_running") == 1)
    waiting = [send(keyed, HEAVY, 20) for _ in range(BACKLOG)]
    assert keyed.settles(lambda: keyed.metric("vllm:num_requests_waiting") == BACKLOG)
    waiting.append(send(keyed, LIGHT, 20, "light"))
    assert keyed.settles(lambda: keyed.metric("vllm:num_requests_waiting") == BACKLOG + 1)
    hang_up(blocker)
    for sock in waiting:
        with sock:
            assert read_to_end(sock).startswith(b"HTTP/1.1 200")
    assert keyed.settles(lambda: len(names_in_order(keyed)) == BACKLOG + 2)
    # After the blocker; one of the backlog may have begun before it.
    assert names_in_order(keyed).index("light") <= 2


def test_a_backlog_leaves_places_to_wait_for_other_keys(keyed: LiveServer) -> None:
    socks = [send(keyed, HEAVY, 4000) for _ in range(61)]
    try:
        assert keyed.settles(lambda: keyed.metric("wayra:requests_refused_total") == 61 - 49)
        refused = keyed.post("/v1/completions", {"prompt": "Hi", "max_tokens": 1}, X_Api_Key=HEAVY)
        assert (refused.status, refused.error["code"]) == (429, "queue_full")
        assert "of this API key are under way" in refused.error["message"]
        assert int(refused.headers["retry-after-ms"]) >= 100
        other = send(keyed, LIGHT, 1)
        assert keyed.settles(lambda: keyed.metric("vllm:num_requests_waiting") == 49)
    finally:
        for sock in socks:
            hang_up(sock)
    with other:
        assert read_to_end(other).startswith(b"HTTP/1.1 200")
    assert keyed.settles(lambda: is_idle(keyed))
