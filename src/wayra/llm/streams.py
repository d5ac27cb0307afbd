"""How callers wait for a job: blocking or in an event loop, for the whole answer or chunk by chunk.

Leaving early, by `close`, by an exception or by dropping the stream, cancels the request.
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from queue import SimpleQueue
from typing import Generic, Protocol, Self, TypeVar

from wayra.llm.results import Chunk, Completion
from wayra.llm.runner import Event

T = TypeVar("T")


class Runner(Protocol):
    """Who can end a request before its end."""

    def cancel(self, request_id: str) -> None: ...


class TokenStream(Iterator[Chunk]):
    """An answer as it comes. Iterate to the end, or close it early to cancel the request.

    completion: the whole answer once the last chunk was read, None before.
    `next` raises the request's WayraError, ContextOverflow for instance, where there is one.
    """

    def __init__(self, runner: Runner, request_id: str, events: "SimpleQueue[Event]", owner: object) -> None:
        self.completion: Completion | None = None
        self._runner = runner
        self._request_id = request_id
        self._events = events
        self._owner: object | None = owner  # the model must not be collected, and so closed, under its stream
        self._ended = False

    def __next__(self) -> Chunk:
        if self._ended:
            raise StopIteration
        event = self._events.get()
        if isinstance(event, Exception):
            self._end()
            raise event
        if event.completion is not None:
            self.completion = event.completion
            self._end()
        return event

    def cancel(self) -> None:
        """Ask for the end; the remaining chunks, the last with finish_reason "cancelled", can still be read."""
        if not self._ended:
            self._runner.cancel(self._request_id)

    def close(self) -> None:
        """Cancel the request if it still runs. Safe to call twice."""
        self.cancel()
        self._end()

    def _end(self) -> None:
        self._ended = True
        self._owner = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_ended", True):
            self.close()


class AsyncEvents(Generic[T]):
    """The bridge from the engine's thread into the running event loop."""

    def __init__(self) -> None:
        import asyncio  # 10 ms that only those who use it should pay

        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[T] = asyncio.Queue()

    def put(self, event: T) -> None:
        """Called on the engine's thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._queue.put_nowait, event)

    async def get(self) -> T:
        return await self._queue.get()


class AsyncTokenStream(AsyncIterator[Chunk]):
    """As TokenStream, for `async for`. Starts when the first chunk is asked for; a cancelled task cancels the request.

    start: submits the request to `runner` and gives its id.
    """

    def __init__(self, runner: Runner, start: Callable[[AsyncEvents[Event]], Awaitable[str]], owner: object) -> None:
        self.completion: Completion | None = None
        self._runner = runner
        self._start = start
        self._events: AsyncEvents[Event] | None = None
        self._request_id: str | None = None
        self._owner: object | None = owner
        self._ended = False

    async def __anext__(self) -> Chunk:
        if self._ended:
            raise StopAsyncIteration
        try:
            if self._events is None:
                self._events = AsyncEvents()
                self._request_id = await self._start(self._events)
            event = await self._events.get()
            if isinstance(event, Exception):
                raise event
        except BaseException:
            self.close()
            raise
        if event.completion is not None:
            self.completion = event.completion
            self._end()
        return event

    def close(self) -> None:
        """Cancel the request if it still runs; does not wait."""
        if not self._ended and self._request_id is not None:
            self._runner.cancel(self._request_id)
        self._end()

    async def aclose(self) -> None:
        """As close; lets `contextlib.aclosing` be used."""
        self.close()

    def _end(self) -> None:
        self._ended = True
        self._owner = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_ended", True):
            self.close()
