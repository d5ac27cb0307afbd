"""A thousand of everything: nothing is lost, nothing is left behind."""

import contextlib
import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from live_server import LiveServer, hang_up, is_idle, together

pytestmark = pytest.mark.slow

CHAT = "/v1/chat/completions"
MAX_GROWTH_MB = 64


@pytest.fixture
def live(smollm2_path: Path) -> Iterator[LiveServer]:
    with LiveServer(str(smollm2_path), "--backend", "null", "--quiet", "--header-timeout", "2") as found:
        found.post(CHAT, {"messages": [{"role": "user", "content": "warm up"}], "max_tokens": 4})
        yield found


def open_files(server: LiveServer) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def resident_mb(server: LiveServer) -> float:
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_a_thousand_clients_that_hang_up_anywhere_leave_nothing_behind(live: LiveServer) -> None:
    files, resident = open_files(live), resident_mb(live)
    rng = random.Random(0)
    for number in range(1000):
        body = {"messages": [{"role": "user", "content": f"Hi {number}"}], "stream": True, "ignore_eos": True}
        encoded = json.dumps({**body, "n": rng.choice([1, 1, 2])}).encode()
        head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        request = f"{head}Content-Length: {len(encoded)}\r\n\r\n".encode() + encoded
        sock = live.connect()
        sock.sendall(request[: rng.choice([40, len(request) - 5, len(request), len(request), len(request)])])
        if rng.random() < 0.5:
            sock.settimeout(0.02)
            with contextlib.suppress(OSError):
                sock.recv(rng.choice([1, 200, 2000]))
        hang_up(sock)
    assert live.settles(lambda: is_idle(live))
    assert live.settles(lambda: open_files(live) <= files + 1)
    assert resident_mb(live) < resident + MAX_GROWTH_MB
    assert live.get("/health").status == 200


def test_a_thousand_slow_sockets_do_not_keep_others_waiting_and_are_closed(live: LiveServer) -> None:
    files = open_files(live)
    socks = [live.connect() for _ in range(1000)]
    for sock in socks:
        sock.sendall(b"POST /v1/chat")
    answer = live.post(CHAT, {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4})
    assert answer.status == 200
    assert live.settles(lambda: open_files(live) <= files + 1, limit_s=60)
    for sock in socks:
        sock.close()


def test_ten_times_too_many_requests_are_answered_or_told_when_to_come_again(live: LiveServer) -> None:
    def asking(number: int) -> Callable[[], int]:
        body = {"messages": [{"role": "user", "content": f"Number {number}"}], "max_tokens": 20, "n": 5}

        def ask() -> int:
            answer = live.post(CHAT, body)
            if answer.status == 429:
                assert int(answer.headers["retry-after-ms"]) >= 100
            else:
                assert len(answer.json["choices"]) == 5
            return answer.status

        return ask

    statuses = Counter(together([asking(number) for number in range(576)]))
    assert set(statuses) == {200, 429}
    # 32 computed and 256 waiting, five to a request.
    assert statuses[200] >= 57
    assert live.settles(lambda: is_idle(live))
    assert live.get("/health").status == 200
