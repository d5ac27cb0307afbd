"""A sweep against servers of a known capacity, in virtual time, so that what it finds is certain."""

import asyncio
from pathlib import Path

import pytest
from virtual_time import run_in_virtual_time

from wayra.client import RequestFailed
from wayra.lab.bench.settings import BenchSettings
from wayra.lab.bench.summary import summarise
from wayra.lab.bench.traffic_run import TrafficBench, output_rate
from wayra.lab.runs import Run, RunStore
from wayra.lab.targets import Ask, Reply

TOKEN_S = 0.01
TOKENS = 8


class Server:
    """Computes for `capacity` requests at once, a token each in TOKEN_S; the others wait their turn.

    most: requests it takes at all, the others fail at once. slowdown: more seconds a token for each request waiting.
    """

    name = "a server of known capacity"
    can_take_ids = False

    def __init__(self, capacity: int, *, most: int = 10_000, slowdown: float = 0.0) -> None:
        self._places = asyncio.Semaphore(capacity)
        self._capacity, self._most, self._slowdown = capacity, most, slowdown
        self.under_way = 0
        self.widest = 0

    async def send(self, ask: Ask) -> Reply:
        now = asyncio.get_running_loop().time
        reply = Reply(sent_s=now())
        self.under_way += 1
        self.widest = max(self.widest, self.under_way)
        try:
            if self.under_way > self._most:
                await asyncio.sleep(TOKEN_S)
                reply.status, reply.failure = "failed", RequestFailed("rate_limited", "too many", 429).failure
            else:
                await self._answer(ask, reply)
        finally:
            self.under_way -= 1
        reply.ended_s = now()
        return reply

    async def _answer(self, ask: Ask, reply: Reply) -> None:
        async with self._places:
            for _ in range(ask.max_tokens):
                waiting = max(0, self.under_way - self._capacity)
                await asyncio.sleep(TOKEN_S + self._slowdown * waiting)
                reply.event_s.append(asyncio.get_running_loop().time())
        reply.event_chars, reply.event_tokens = [1] * ask.max_tokens, [1] * ask.max_tokens
        reply.prompt_tokens, reply.completion_tokens = len(str(ask.prompt).split()), ask.max_tokens

    def describe(self) -> dict[str, object]:
        return {"kind": "virtual"}

    async def aclose(self) -> None:
        pass


def swept(server: Server, folder: Path, **changes: int) -> Run:
    settings = BenchSettings("virtual", sweep=True, answer=str(TOKENS), **changes)
    store = RunStore(folder)
    with store.create("bench", {"mode": "traffic", "target": "virtual"}) as run:
        run_in_virtual_time(TrafficBench(server, settings, run, lambda *_: None).run())
        run.finish()
    return store.open(run.id)


def knee_of(run: Run) -> object:
    return run.header.facts["knee_concurrency"]


@pytest.mark.parametrize(("capacity", "knee"), [(1, 1), (2, 2), (4, 4), (16, 16), (32, 32), (6, 8)])
def test_the_knee_is_the_capacity_or_the_first_doubling_that_holds_it(tmp_path: Path, capacity: int, knee: int) -> None:
    server = Server(capacity)
    run = swept(server, tmp_path, num_requests=64)
    assert knee_of(run) == knee
    assert server.widest == 2 * knee  # one level beyond it was tried, and no further one
    assert output_rate(run.path, f"concurrency {knee}") == pytest.approx(capacity / TOKEN_S, rel=0.04)


def test_the_rate_of_each_level_is_what_the_server_gave(tmp_path: Path) -> None:
    run = swept(Server(4), tmp_path, num_requests=64)
    figures = summarise(run)
    assert figures.find("knee").value == 4
    for width in (1, 2, 4, 8):
        assert figures.find("output_rate", f"concurrency {width}").value == pytest.approx(min(width, 4) / TOKEN_S)
        assert figures.find("concurrency", f"concurrency {width}").value == pytest.approx(width, rel=0.1)
        # Who waits for a place waits as long as those before it answer.
        first_ms = 1000 * (TOKEN_S + (TOKENS * TOKEN_S if width == 8 else 0))
        assert figures.find("ttft_p50", f"concurrency {width}").value == pytest.approx(first_ms)


def test_a_server_that_slows_down_beyond_its_capacity_has_its_knee_there(tmp_path: Path) -> None:
    assert knee_of(swept(Server(4, slowdown=0.01), tmp_path, num_requests=64)) == 4


def test_a_server_that_refuses_what_is_too_much_has_its_knee_before_that(tmp_path: Path) -> None:
    run = swept(Server(64, most=8), tmp_path, num_requests=64)
    assert knee_of(run) == 8
    statuses = [(line["stage"], line["status"]) for line in run.records()]
    assert ("concurrency 16", "failed") in statuses
    assert ("concurrency 8", "failed") not in statuses


def test_a_sweep_that_ends_before_the_knee_says_so(tmp_path: Path) -> None:
    run = swept(Server(64), tmp_path, num_requests=32, max_concurrency=8)
    assert "knee_concurrency" not in run.header.facts
    assert any("still grew at 8 requests" in note for note in run.header.notes)


def test_a_server_that_answers_nothing_ends_the_sweep_at_once_without_a_knee(tmp_path: Path) -> None:
    run = swept(Server(64, most=0), tmp_path, num_requests=8)
    assert "knee_concurrency" not in run.header.facts
    assert {line["stage"] for line in run.records()} == {"concurrency 1"}
    assert any("no request of the first level was answered" in note for note in run.header.notes)
    assert summarise(run).find("knee") is None
