"""Waiting for the whole answers to several requests of one host: all of them, or the first failure."""

from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import TypeVar

from wayra.llm.host import Host, Work
from wayra.llm.results import Completion
from wayra.llm.runner import Event
from wayra.llm.streams import AsyncEvents

W = TypeVar("W", bound=Work)


def gather(host: Host[W], works: Sequence[W]) -> list[Completion]:
    """The answers in order. When one fails, or the caller is interrupted, the others are cancelled."""
    events: SimpleQueue[tuple[int, Event]] = SimpleQueue()
    found: dict[int, Completion] = {}
    try:
        _submit(host, works, events.put)
        while len(found) < len(works):
            index, event = events.get()
            found[index] = _completion(event)
    except BaseException:
        _cancel(host, works)
        raise
    return [found[index] for index in range(len(works))]


async def agather(host: Host[W], works: Sequence[W]) -> list[Completion]:
    """As gather, in an event loop. Cancelling the task cancels the requests."""
    events: AsyncEvents[tuple[int, Event]] = AsyncEvents()
    found: dict[int, Completion] = {}
    try:
        _submit(host, works, events.put)
        while len(found) < len(works):
            index, event = await events.get()
            found[index] = _completion(event)
    except BaseException:
        _cancel(host, works)
        raise
    return [found[index] for index in range(len(works))]


def _submit(host: Host[W], works: Sequence[W], put: Callable[[tuple[int, Event]], None]) -> None:
    for index, work in enumerate(works):
        host.submit(work, lambda event, index=index: put((index, event)), streaming=False)


def _cancel(host: Host[W], works: Sequence[W]) -> None:
    for work in works:
        host.cancel(work.id)


def _completion(event: Event) -> Completion:
    if isinstance(event, Exception):
        raise event
    if event.completion is None:
        raise RuntimeError("a chunk reached a caller who waits for the whole answer")
    return event.completion
