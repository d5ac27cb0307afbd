"""Which models are loaded when memory is short: the catalog over models that only remember what was done to them."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wayra.base.errors import FileFormatError
from wayra.engine.metrics import EngineMetrics
from wayra.server import catalog as catalog_module
from wayra.server.catalog import Catalog, CatalogRules
from wayra.server.errors import ApiError, ClientLeft
from wayra.server.metrics import RequestMetrics
from wayra.server.offer import Lease, Offer, OfferFacts
from wayra.server.served_model import ServedModel

IDLE = EngineMetrics(*(0 for _ in range(13)))


class FakeThread:
    def __init__(self) -> None:
        self.metrics = IDLE
        self.is_started = False

    def start(self) -> None:
        self.is_started = True


class FakeModel:
    """Counts its memory in a shared account from its making to its closing."""

    def __init__(self, memory: "Memory", offer: Offer) -> None:
        self.metrics = RequestMetrics()
        self.thread = FakeThread()
        self.is_closed = False
        self.offer = offer
        self._memory = memory
        memory.take(offer)

    def held_bytes(self) -> int:
        return self.offer.facts.need_bytes

    def close(self) -> bool:
        assert self.offer.num_leases == 0
        self.is_closed = True
        self._memory.give_back(self.offer)
        return True


def _open_gate() -> threading.Event:
    gate = threading.Event()
    gate.set()
    return gate


@dataclass
class Memory:
    """What is loaded, and the most it ever was. gate: loading waits at it. broken: names that cannot be loaded."""

    gate: threading.Event = field(default_factory=_open_gate)
    broken: set[str] = field(default_factory=set)
    held: dict[str, int] = field(default_factory=dict)
    most: int = 0
    loads: list[str] = field(default_factory=list)
    unloads: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def load(self, offer: Offer) -> ServedModel:
        assert self.gate.wait(20)
        self.loads.append(offer.name)
        if offer.name in self.broken:
            raise FileFormatError("the file is torn")
        return cast(ServedModel, FakeModel(self, offer))

    def take(self, offer: Offer) -> None:
        with self.lock:
            assert offer.name not in self.held
            self.held[offer.name] = offer.facts.need_bytes
            self.most = max(self.most, sum(self.held.values()))

    def give_back(self, offer: Offer) -> None:
        with self.lock:
            del self.held[offer.name]
            self.unloads.append(offer.name)


class FakeClient:
    """lost: what is called when it goes away."""

    def __init__(self) -> None:
        self.lost: Callable[[], None] | None = None

    def when_lost(self, callback: Callable[[], None]) -> None:
        self.lost = callback

    def release(self) -> None:
        self.lost = None


class World:
    """A catalog of models "a", "b", ... of the given sizes, none loaded."""

    def __init__(self, sizes: Sequence[int], budget: int | None, memory: Memory | None = None, **rules: Any) -> None:
        self.memory = memory or Memory()
        spec = cast(Any, None)
        self.offers = [
            Offer(OfferFacts((chr(97 + i),), "here", "0" * 64, spec, None, size, 64, size))
            for i, size in enumerate(sizes)
        ]
        self.stuck: list[Exception] = []
        self.catalog = Catalog(self.offers, self.memory.load, CatalogRules(budget, **rules), self.stuck.append)

    def offer(self, name: str) -> Offer:
        return self.offers[ord(name) - 97]

    async def lease(self, name: str) -> Lease:
        return await self.catalog.acquire(self.offer(name), FakeClient())

    async def use(self, name: str) -> None:
        (await self.lease(name)).release()

    async def settle(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not holds():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.001)


def run(world: World, work: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    try:
        asyncio.run(work(world))
    finally:
        world.catalog.close()
    assert world.memory.held == {}
    assert world.stuck == []


requests = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=16)


@given(sizes=st.lists(st.integers(1, 4), min_size=4, max_size=4), budget=st.integers(4, 9), wanted=requests)
def test_everybody_is_served_within_the_budget_and_nobody_loses_a_model_in_use(
    sizes: list[int], budget: int, wanted: list[tuple[int, int, int]]
) -> None:
    """wanted: which model, when (in slices), and for how long."""
    served: list[int] = []

    async def request(world: World, index: int, at: int, slices: int) -> None:
        await asyncio.sleep(at * 0.0005)
        lease = await world.catalog.acquire(world.offers[index], FakeClient())
        for _ in range(slices + 1):
            assert not cast(FakeModel, lease.model).is_closed
            assert lease.model.thread.is_started  # type: ignore[attr-defined]
            await asyncio.sleep(0.0003)
        served.append(index)
        lease.release()
        lease.release()

    async def work(world: World) -> None:
        await asyncio.gather(*(request(world, *one) for one in wanted))
        assert all(offer.num_leases == 0 and not offer.waiters for offer in world.offers)

    world = World(sizes, budget)
    run(world, work)
    assert sorted(served) == sorted(index for index, _, _ in wanted)
    assert world.memory.most <= budget


def test_who_waits_for_one_model_shares_its_loading() -> None:
    async def work(world: World) -> None:
        leases = await asyncio.gather(*(world.lease("a") for _ in range(20)))
        assert len({id(lease.model) for lease in leases}) == 1
        for lease in leases:
            lease.release()

    world = World([1], 1)
    run(world, work)
    assert world.memory.loads == ["a"]


def test_the_least_recently_used_idle_model_makes_room() -> None:
    async def work(world: World) -> None:
        for name in "abab":
            await world.use(name)
        await world.use("a")
        await world.use("c")
        assert world.memory.unloads == ["b"]
        await world.use("b")
        assert world.memory.unloads == ["b", "a"]

    world = World([1, 1, 1], 2)
    run(world, work)
    assert world.memory.loads == ["a", "b", "c", "b"]


def test_as_many_are_unloaded_as_a_large_model_needs() -> None:
    async def work(world: World) -> None:
        for name in "abc":
            await world.use(name)
        await world.use("d")
        assert world.memory.unloads == ["a", "b"]

    run(World([1, 1, 1, 2], 3), work)


def test_an_idle_model_goes_before_one_in_use_that_was_used_longer_ago() -> None:
    async def work(world: World) -> None:
        held = await world.lease("a")
        await world.use("b")
        await world.use("c")
        assert world.memory.unloads == ["b"]
        held.release()

    run(World([1, 1, 1], 2), work)


def test_a_model_in_use_is_unloaded_when_its_requests_end_and_takes_no_new_ones_until_then() -> None:
    async def work(world: World) -> None:
        held = await world.lease("a")
        other = asyncio.create_task(world.lease("b"))
        await asyncio.sleep(0.01)
        late = asyncio.create_task(world.lease("a"))
        await asyncio.sleep(0.01)
        assert not other.done()
        assert not late.done()
        assert world.memory.held == {"a": 1}
        held.release()
        (await other).release()
        (await late).release()

    world = World([1, 1], 1)
    run(world, work)
    assert world.memory.loads == ["a", "b", "a"]


def test_a_model_that_was_to_go_is_kept_when_the_others_do_not_want_its_room_any_more() -> None:
    async def work(world: World) -> None:
        held = await world.lease("a")
        client = FakeClient()
        other = asyncio.create_task(world.catalog.acquire(world.offer("b"), client))
        await asyncio.sleep(0.01)
        late = asyncio.create_task(world.lease("a"))
        await asyncio.sleep(0.01)
        assert client.lost is not None
        client.lost()
        with pytest.raises(ClientLeft):
            await other
        (await late).release()
        held.release()

    world = World([1, 1], 1)
    run(world, work)
    assert world.memory.loads == ["a"]


def test_other_models_answer_while_one_is_loaded() -> None:
    async def work(world: World) -> None:
        await world.use("a")
        world.memory.gate.clear()
        slow = asyncio.create_task(world.lease("b"))
        for _ in range(100):
            await world.use("a")
            await asyncio.sleep(0)
        assert not slow.done()
        world.memory.gate.set()
        (await slow).release()

    run(World([1, 1], 2), work)


def test_more_waiters_than_allowed_are_told_to_come_again() -> None:
    async def work(world: World) -> None:
        world.memory.gate.clear()
        waiting = [asyncio.create_task(world.lease("a")) for _ in range(3)]
        await asyncio.sleep(0.01)
        with pytest.raises(ApiError, match="3 requests wait for a") as refused:
            await world.lease("a")
        assert refused.value.status == 429
        assert int(refused.value.headers["retry-after-ms"]) >= 500
        world.memory.gate.set()
        for lease in await asyncio.gather(*waiting):
            lease.release()

    run(World([1], 1, max_waiting=3), work)


def test_nobody_waits_longer_than_the_deadline() -> None:
    async def work(world: World) -> None:
        held = await world.lease("a")
        with pytest.raises(ApiError, match=r"b was not loaded within 0\.05 s") as late:
            await world.lease("b")
        assert late.value.status == 503
        assert "retry-after-ms" in late.value.headers
        held.release()
        await world.use("a")

    world = World([1, 1], 1, wait_s=0.05)
    run(world, work)
    assert world.memory.loads == ["a"]


def test_a_model_that_cannot_be_loaded_fails_its_own_requests_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_module, "RETRY_LOAD_S", 0.1)

    async def work(world: World) -> None:
        held = await world.lease("a")
        asked = [asyncio.create_task(world.lease("b")) for _ in range(3)]
        for result in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(result, ApiError)
            assert (result.status, result.code) == (500, "model_load_failed")
            assert result.message == "b cannot be loaded: the file is torn"
        # Not tried again at once, which would cost others their place.
        with pytest.raises(ApiError, match="the file is torn"):
            await world.lease("b")
        assert world.memory.loads == ["a", "b"]
        held.release()
        await world.use("a")
        await asyncio.sleep(0.11)
        world.memory.broken.clear()
        await world.use("b")

    world = World([1, 1], 2, Memory(broken={"b"}))
    run(world, work)
    assert world.memory.loads == ["a", "b", "b"]
    assert (world.offer("b").num_loads, world.offer("b").num_failed_loads) == (1, 1)


def test_a_model_goes_after_its_last_answer_when_it_is_not_to_be_kept() -> None:
    async def work(world: World) -> None:
        first, second = await world.lease("a"), await world.lease("a")
        world.offer("a").keep_s = 0.0
        first.release()
        await asyncio.sleep(0.01)
        assert world.memory.unloads == []
        second.release()
        await world.settle(lambda: world.memory.unloads == ["a"])

    run(World([1, 1], 2), work)


def test_a_model_is_kept_as_long_as_asked_after_its_last_use() -> None:
    async def work(world: World) -> None:
        await world.use("a")
        world.catalog.keep(world.offer("a"), 0.15)
        for _ in range(3):
            await asyncio.sleep(0.08)
            assert world.memory.unloads == []
            await world.use("a")
        await world.settle(lambda: world.memory.unloads == ["a"])
        await world.use("a")
        assert world.offer("a").keep_s is None

    run(World([1, 1], 2), work)


def test_a_pinned_model_stays_but_does_not_count_as_used() -> None:
    async def work(world: World) -> None:
        await world.use("a")
        await world.use("b")
        pin = world.catalog.pin(world.offer("a"))
        third = asyncio.create_task(world.lease("c"))
        await world.settle(lambda: world.memory.unloads == ["b"])
        (await third).release()
        pin.release()
        await world.use("b")
        assert world.memory.unloads == ["b", "a"]

    run(World([1, 1, 1], 2), work)


def test_closing_frees_a_model_that_is_just_being_loaded() -> None:
    async def work(world: World) -> None:
        world.memory.gate.clear()
        asked = asyncio.create_task(world.lease("a"))
        await asyncio.sleep(0.02)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        threading.Timer(0.05, world.memory.gate.set).start()

    world = World([1], 1)
    run(world, work)
    assert world.memory.loads == ["a"]


def test_a_cancelled_caller_leaves_no_lease_behind() -> None:
    async def work(world: World) -> None:
        world.memory.gate.clear()
        asked = [asyncio.create_task(world.lease("a")) for _ in range(4)]
        await asyncio.sleep(0.01)
        asked[1].cancel()
        world.memory.gate.set()
        await world.settle(lambda: world.offer("a").model is not None)
        asked[2].cancel()  # granted, but not told yet
        results = await asyncio.gather(*asked, return_exceptions=True)
        for result in results:
            if isinstance(result, Lease):
                result.release()
        assert world.offer("a").num_leases == 0

    run(World([1], 1), work)


def test_figures_of_an_engine_go_on_where_the_one_before_ended() -> None:
    async def work(world: World) -> None:
        for generated in (5, 7):
            lease = await world.lease("a")
            thread = cast(FakeThread, lease.model.thread)
            thread.metrics = replace(IDLE, generated_tokens=generated, running=1, kv_blocks=4, kv_blocks_used=2)
            lease.release()
            world.catalog.keep(world.offer("a"), 0.0)
            await world.settle(lambda: world.offer("a").model is None)
        figures = world.offer("a").engine_metrics
        assert (figures.generated_tokens, figures.running, figures.kv_usage) == (12, 0, 0.0)

    run(World([1, 1], 2), work)
