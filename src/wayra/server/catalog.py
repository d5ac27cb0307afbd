"""Which of the offered models are loaded: on demand, within a budget of memory, the least recently used out first.

One model is loaded or unloaded at a time, in the order in which somebody began to wait. A model is unloaded when nobody
uses it; one that must make room gets no new requests until then, they wait for it to be loaded again. So everybody's
turn comes, and who waits for the same model shares its loading. Lives in the event loop, and leaves it to load.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from wayra.base.errors import BackendError, OutOfMemory, WayraError
from wayra.server.errors import ApiError, ClientLeft, retry_after
from wayra.server.free_memory import give_back_memory
from wayra.server.offer import Client, Lease, Offer
from wayra.server.served_model import ServedModel

_log = logging.getLogger(__name__)

RETRY_LOAD_S = 10.0
"""How long a model that could not be loaded is not tried again: others would be unloaded for it each time."""
LEAST_RETRY_MS = 500
MOST_RETRY_MS = 30_000


@dataclass(frozen=True, slots=True)
class CatalogRules:
    """budget_bytes: of all loaded models together; None sets no limit. max_waiting: requests for one model that may
    wait for it, more get 429. wait_s: how long they may wait. say: told what happens, for the log.
    """

    budget_bytes: int | None = None
    max_waiting: int = 256
    wait_s: float = 120.0
    say: Callable[..., None] = lambda event, level="info", **facts: None


class Catalog:
    """load: makes a model, in a thread of its own. on_stuck: told when a model cannot be unloaded."""

    def __init__(
        self,
        offers: Sequence[Offer],
        load: Callable[[Offer], ServedModel],
        rules: CatalogRules,
        on_stuck: Callable[[Exception], None],
    ) -> None:
        self.offers = tuple(offers)
        self._load = load
        self._rules = rules
        self._on_stuck = on_stuck
        self._numbers = itertools.count()
        self._doomed: set[Offer] = set()
        self._task: asyncio.Task[None] | None = None
        self._timers: dict[Offer, asyncio.TimerHandle] = {}
        self._executor = ThreadPoolExecutor(1, "wayra-load")
        self._unclaimed: ServedModel | None = None
        # No offer has it any more, and its end has not begun.
        self._leaving: ServedModel | None = None
        self._is_closed = False
        self._load_s = 1.0

    @property
    def loaded(self) -> list[Offer]:
        return [offer for offer in self.offers if offer.model is not None]

    def start(self) -> None:
        """Let what is loaded compute, in the running event loop."""
        for offer in self.offers:
            if offer.model is not None:
                offer.model.thread.start()

    def close(self) -> None:
        """Stop computing and free the models, one that is just being loaded too. The event loop is over."""
        self._is_closed = True
        self._executor.shutdown(wait=True, cancel_futures=True)
        for model in (self._unclaimed, self._leaving):
            if model is not None:
                model.close()
        for offer in self.offers:
            if offer.model is not None:
                offer.forget_model().close()

    def has(self, offer: Offer) -> bool:
        """Whether a request for it need not wait."""
        return offer.model is not None and offer not in self._doomed

    async def acquire(self, offer: Offer, client: Client) -> Lease:
        """The right to use a model, when it is loaded. Every lease must be released.

        Raises ApiError 429 when too many wait for it, 503 when it takes too long or there is no memory for it, 500 when
        it cannot be loaded, ClientLeft.
        """
        if offer.model is not None and self.has(offer):
            return self._grant(offer, offer.model)
        self._check_failure(offer)
        if len(offer.waiters) >= self._rules.max_waiting:
            offer.metrics.refused("queue")
            said = f"{len(offer.waiters):,} requests wait for {offer.name} to be loaded"
            raise ApiError(429, f"{said}; try again later", code="queue_full", headers=self._retry())
        waiter: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        entry = (next(self._numbers), waiter)
        offer.waiters.append(entry)

        def leave() -> None:
            if not waiter.done():
                waiter.set_exception(ClientLeft())

        client.when_lost(leave)
        self._pump()
        try:
            await asyncio.wait((waiter,), timeout=self._rules.wait_s)
        except BaseException:
            if waiter.done() and waiter.exception() is None:
                waiter.result().release()
            raise
        finally:
            client.release()
            if entry in offer.waiters:
                offer.waiters.remove(entry)
                self._pump()
        if not waiter.done():
            said = f"{offer.name} was not loaded within {self._rules.wait_s:g} s"
            raise ApiError(503, f"{said}; try again", code="model_not_loaded", headers=self._retry())
        return waiter.result()

    def pin(self, offer: Offer) -> Lease:
        """A lease of a loaded model that does not count as its use."""
        if offer.model is None:
            raise RuntimeError(f"{offer.name} is not loaded")
        offer.num_leases += 1
        return Lease(offer, offer.model, partial(self._unpinned, offer))

    def keep(self, offer: Offer, keep_s: float | None) -> None:
        """How long the model stays loaded when nobody uses it any more; None: until its memory is wanted."""
        offer.keep_s = keep_s
        self._pump()

    # What happens next.

    def _grant(self, offer: Offer, model: ServedModel) -> Lease:
        offer.num_leases += 1
        offer.used_at = time.monotonic()
        return Lease(offer, model, partial(self._released, offer))

    def _released(self, offer: Offer) -> None:
        offer.used_at = time.monotonic()
        self._unpinned(offer)

    def _unpinned(self, offer: Offer) -> None:
        offer.num_leases -= 1
        if offer.num_leases == 0:
            self._pump()

    def _check_failure(self, offer: Offer) -> None:
        if offer.failure is not None and time.monotonic() < offer.failure[1]:
            raise replace(offer.failure[0])

    def _pump(self) -> None:
        """Look at who waits, and begin what is due. Called whenever something has changed."""
        if self._is_closed:
            return
        wanted = sorted((o for o in self.offers if o.state == "cold" and o.waiters), key=lambda o: o.waiters[0][0])
        victims = self._victims(wanted[0]) if wanted else []
        self._doomed = set(victims)
        if self._task is None:
            self._begin_next(wanted, victims)
        for offer in self.loaded:
            if offer not in self._doomed:
                self._grant_waiting(offer)

    def _grant_waiting(self, offer: Offer) -> None:
        while offer.model is not None and offer.waiters:
            _, waiter = offer.waiters.popleft()
            if not waiter.done():
                waiter.set_result(self._grant(offer, offer.model))

    def _begin_next(self, wanted: Sequence[Offer], victims: Sequence[Offer]) -> None:
        idle = [offer for offer in victims if offer.num_leases == 0]
        if idle:
            self._unload(idle[0], "room")
        elif wanted and not victims:
            wanted[0].state = "loading"
            self._begin(self._loading(wanted[0]))
        elif not wanted and (expired := self._expired()):
            self._unload(expired[0], "keep_alive")

    def _victims(self, wanted: Offer) -> list[Offer]:
        """What must go for a model: the least recently used, those first that nobody uses now."""
        budget = self._rules.budget_bytes
        if budget is None:
            return []
        # What is on its way out already need not be made room for again.
        held_bytes = sum(o.held_bytes for o in self.offers if o.state in ("loading", "loaded"))
        missing = wanted.facts.need_bytes + held_bytes - budget
        victims: list[Offer] = []
        for offer in sorted(self.loaded, key=lambda o: (o.num_leases > 0, o.used_at)):
            if missing <= 0:
                break
            victims.append(offer)
            missing -= offer.held_bytes
        return victims

    def _expired(self) -> list[Offer]:
        """Loaded models whose time is over; for others a timer is set."""
        now, found = time.monotonic(), list[Offer]()
        for offer in self.loaded:
            timer = self._timers.pop(offer, None)
            if timer is not None:
                timer.cancel()
            if offer.num_leases or offer.keep_s is None or offer.waiters:
                continue
            left_s = offer.used_at + offer.keep_s - now
            if left_s <= 0:
                found.append(offer)
            else:
                self._timers[offer] = asyncio.get_running_loop().call_later(left_s, self._pump)
        return found

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._task = task
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._task = None
        if not task.cancelled():
            if (error := task.exception()) is not None:
                _log.error("the catalog failed", exc_info=error)
            self._pump()

    # Loading and unloading.

    async def _loading(self, offer: Offer) -> None:
        offer.held_bytes, began = offer.facts.need_bytes, time.perf_counter()
        try:
            model = await asyncio.get_running_loop().run_in_executor(self._executor, self._make, offer)
        except Exception as error:
            self._failed(offer, error)
            return
        self._unclaimed = None
        self._load_s = time.perf_counter() - began
        offer.failure, offer.keep_s = None, None
        offer.model, offer.state, offer.used_at = model, "loaded", time.monotonic()
        offer.held_bytes = max(offer.facts.need_bytes, model.held_bytes())
        offer.num_loads += 1
        model.thread.start()
        # Before anybody looks whose turn is next: it could be unloaded again without having served those it came for.
        self._grant_waiting(offer)
        self._rules.say("model_loaded", model=offer.name, seconds=round(self._load_s, 3), bytes=offer.held_bytes)

    def _make(self, offer: Offer) -> ServedModel:
        model = self._load(offer)
        self._unclaimed = model
        return model

    def _failed(self, offer: Offer, error: Exception) -> None:
        offer.state = "cold"
        offer.num_failed_loads += 1
        status = 503 if isinstance(error, OutOfMemory) else 500
        why = str(error) if isinstance(error, WayraError) else "the server failed at it, and its log says why"
        if not isinstance(error, WayraError):
            _log.error("%s cannot be loaded", offer.name, exc_info=error)
        told = ApiError(
            status, f"{offer.name} cannot be loaded: {why}", code="model_load_failed", headers=self._retry(RETRY_LOAD_S)
        )
        offer.failure = (told, time.monotonic() + RETRY_LOAD_S)
        self._rules.say("model_load_failed", "error", model=offer.name, error=f"{type(error).__name__}: {error}"[:500])
        while offer.waiters:
            _, waiter = offer.waiters.popleft()
            if not waiter.done():
                waiter.set_exception(told)

    def _unload(self, offer: Offer, why: str) -> None:
        # At once, so that nobody is granted it any more.
        offer.state = "unloading"
        self._leaving = offer.forget_model()
        self._begin(self._unloading(offer, self._leaving, why))

    async def _unloading(self, offer: Offer, model: ServedModel, why: str) -> None:
        began = time.perf_counter()
        if not await asyncio.get_running_loop().run_in_executor(self._executor, self._end, model):
            self._on_stuck(BackendError(f"the engine of {offer.name} does not end its step"))
            return
        del model
        await asyncio.get_running_loop().run_in_executor(self._executor, give_back_memory)
        offer.state = "cold"
        self._rules.say("model_unloaded", model=offer.name, why=why, seconds=round(time.perf_counter() - began, 3))

    def _end(self, model: ServedModel) -> bool:
        self._leaving = None
        return model.close()

    def _retry(self, least_s: float = 0.0) -> dict[str, str]:
        return retry_after(int(min(MOST_RETRY_MS, max(LEAST_RETRY_MS, 1000 * self._load_s, 1000 * least_s))))
