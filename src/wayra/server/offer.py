"""A model that the server offers, loaded or not: what is known of it in any case, and who uses it now."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Literal, Protocol

from wayra.engine.metrics import EngineMetrics
from wayra.model.spec import ModelSpec
from wayra.server.errors import ApiError
from wayra.server.metrics import RequestMetrics
from wayra.server.served_model import ServedModel

State = Literal["cold", "loading", "loaded", "unloading"]

NOW_FIGURES = frozenset({"running", "waiting", "paused", "kv_blocks", "kv_blocks_used", "kv_blocks_cached"})
"""Of EngineMetrics: what is now; the other figures only grow."""


@dataclass(frozen=True, slots=True)
class OfferFacts:
    """What clients may know of a model that is not loaded. need_bytes: what it takes, as far as planned.

    names: what clients may call it, the first in answers. template_source: None when it is no chat model.
    """

    names: Sequence[str]
    source: str
    digest: str
    spec: ModelSpec
    template_source: str | None
    weights_bytes: int
    context_len: int
    need_bytes: int


class Client(Protocol):
    """Who may go away while it waits for a model."""

    def when_lost(self, callback: Callable[[], None]) -> None: ...

    def release(self) -> None: ...


class Offer:
    """Changed in the event loop only, by the catalog.

    model: while it is loaded. held_bytes: what it takes while it is loaded or loading. num_leases: who uses it now.
    used_at: when somebody last did, monotonic. keep_s: how long it stays after that (None: until its memory is wanted).
    waiters: who waits for it to be loaded, with the number of their coming.
    """

    def __init__(self, facts: OfferFacts, model: ServedModel | None = None) -> None:
        self.facts = facts
        self.created = int(time.time())
        self.metrics = RequestMetrics() if model is None else model.metrics
        self.model = model
        self.state: State = "cold" if model is None else "loaded"
        self.held_bytes = facts.need_bytes
        self.num_leases = 0
        self.used_at = time.monotonic()
        self.keep_s: float | None = None
        self.waiters: deque[tuple[int, asyncio.Future[Lease]]] = deque()
        self.failure: tuple[ApiError, float] | None = None
        self.num_loads = 0 if model is None else 1
        self.num_failed_loads = 0
        self._past = EngineMetrics(*(0 for _ in range(13)))

    @property
    def name(self) -> str:
        return self.facts.names[0]

    @property
    def engine_metrics(self) -> EngineMetrics:
        """Of the engine there is now, with what engines before it have done."""
        return self._past if self.model is None else _sum(self._past, self.model.thread.metrics)

    def forget_model(self) -> ServedModel:
        """The model, which is no longer offered; what its engine did is remembered."""
        if self.model is None:
            raise RuntimeError(f"{self.name} is not loaded")
        model, self.model = self.model, None
        self._past = _sum(self._past, model.thread.metrics, is_over=True)
        return model


class Lease:
    """The right to use a loaded model until `release`. Safe to release twice."""

    def __init__(self, offer: Offer, model: ServedModel, on_end: Callable[[], None]) -> None:
        self.offer = offer
        self.model = model
        self._on_end: Callable[[], None] | None = on_end

    def release(self) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end()


def _sum(past: EngineMetrics, now: EngineMetrics, is_over: bool = False) -> EngineMetrics:
    found: dict[str, int] = {}
    for field in fields(EngineMetrics):
        name = field.name
        if name in NOW_FIGURES:
            found[name] = 0 if is_over else getattr(now, name)
        else:
            found[name] = getattr(past, name) + getattr(now, name)
    return EngineMetrics(**found)
