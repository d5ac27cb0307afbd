"""Two keys, one place in the engine: a backlog of one does not keep the other waiting."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_server import LiveServer, hang_up, is_idle, read_to_end

HEAVY, LIGHT = "sk-heavy-0123456789", "sk-light-0123456789"
BACKLOG = 40


GATED_STEP = """
import os, time
from wayra.backends import null
whole_step = null.NullModel.step
def step(self, batch):
    while os.path.exists({gate!r}):
        time.sleep(0.005)
    return whole_step(self, batch)
null.NullModel.step = step
"""


class Gate:
    """Shut, no step of the engine ends: whoever waits, waits."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        self.path.touch()

    def __exit__(self, *exc: object) -> None:
        self.path.unlink()


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    return Gate(tmp_path_factory.mktemp("gate") / "shut")


@pytest.fixture(scope="module")
def keyed(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory, gate: Gate) -> Iterator[LiveServer]:
    """One request at a time, sixty may wait."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"{HEAVY} weight=2\n{LIGHT}\n")
    args = ["--api-key-file", str(keys), "--max-batch", "1", "--max-waiting", "60", "--context", "4096"]
    prelude = GATED_STEP.format(gate=str(gate.path))
    headers = {"X-Api-Key": LIGHT}
    with LiveServer(str(smollm2_path), "--backend", "null", *args, prelude=prelude, headers=headers) as live:
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


def num_waiting(server: LiveServer) -> float:
    return server.metric("vllm:num_requests_waiting")


def test_a_light_keys_request_is_answered_before_the_heavy_keys_backlog(keyed: LiveServer, gate: Gate) -> None:
    blocker = send(keyed, HEAVY, 4000)
    assert keyed.settles(lambda: keyed.metric("vllm:num_requests_running") == 1)
    with gate:
        waiting = [send(keyed, HEAVY, 20) for _ in range(BACKLOG)]
        assert keyed.settles(lambda: num_waiting(keyed) == BACKLOG)
        waiting.append(send(keyed, LIGHT, 20, "light"))
        assert keyed.settles(lambda: num_waiting(keyed) == BACKLOG + 1)
        hang_up(blocker)
        assert keyed.settles(lambda: len(names_in_order(keyed)) == 1)
    for sock in waiting:
        with sock:
            assert read_to_end(sock).startswith(b"HTTP/1.1 200")
    assert keyed.settles(lambda: len(names_in_order(keyed)) == BACKLOG + 2)
    # After the blocker; one of the backlog may have begun before it.
    assert names_in_order(keyed).index("light") <= 2


def test_a_backlog_leaves_places_to_wait_for_other_keys(keyed: LiveServer, gate: Gate) -> None:
    socks = [send(keyed, HEAVY, 4000)]
    assert keyed.settles(lambda: keyed.metric("vllm:num_requests_running") == 1)
    with gate:
        socks += [send(keyed, HEAVY, 4000) for _ in range(60)]
        assert keyed.settles(lambda: keyed.metric("wayra:requests_refused_total") == 61 - 49)
        refused = keyed.post("/v1/completions", {"prompt": "Hi", "max_tokens": 1}, X_Api_Key=HEAVY)
        assert (refused.status, refused.error["code"]) == (429, "queue_full")
        assert "of this API key are under way" in refused.error["message"]
        assert int(refused.headers["retry-after-ms"]) >= 100
        other = send(keyed, LIGHT, 1)
        assert keyed.settles(lambda: num_waiting(keyed) == 49)
        for sock in socks:
            hang_up(sock)
    with other:
        assert read_to_end(other).startswith(b"HTTP/1.1 200")
    assert keyed.settles(lambda: is_idle(keyed))
