"""An event loop in a thread of its own: callers of any thread begin and end tasks in it by name."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from wayra.base.errors import BackendError

T = TypeVar("T")


class TaskLoop:
    """Runs from its making to `close`. The thread is a daemon, so that a program that forgets it still ends."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closed = threading.Event()
        self._last: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="wayra-client", daemon=True)
        self._thread.start()

    @property
    def is_closed(self) -> bool:
        return self._closed.is_set()

    def begin(self, name: str, make: Callable[[], Coroutine[Any, Any, None]], on_cancelled: Callable[[], None]) -> None:
        """Run a task. on_cancelled: called in the loop when it ended by `cancel`. Raises BackendError when closed."""

        def start() -> None:
            task = self._loop.create_task(make())
            self._tasks[name] = task
            task.add_done_callback(ended)

        def ended(task: "asyncio.Task[None]") -> None:
            self._tasks.pop(name, None)
            if task.cancelled():
                on_cancelled()

        self._call(start)

    def cancel(self, name: str) -> None:
        """End a task; unknown and ended ones are ignored."""

        def end() -> None:
            task = self._tasks.get(name)
            if task is not None:
                task.cancel()

        with contextlib.suppress(BackendError):
            self._call(end)

    def result(self, work: Coroutine[Any, Any, T]) -> T:
        """What the coroutine gives; waits for it. Raises what it raises, BackendError when closed."""
        if self.is_closed:
            work.close()
            raise BackendError("the connection is closed; make another LLM")
        found: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return found.result()
        except BaseException:
            found.cancel()
            raise

    def close(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Cancel all tasks, run a last one, and end. Safe to call twice, from any thread."""
        if self.is_closed:
            return
        self._closed.set()

        async def finish() -> None:
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await last()
            self._loop.stop()

        def begin() -> None:
            self._last = self._loop.create_task(finish())

        self._loop.call_soon_threadsafe(begin)
        # A finalizer may meet the loop's own thread, which cannot wait for itself.
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _call(self, work: Callable[[], None]) -> None:
        if self.is_closed:
            raise BackendError("the connection is closed; make another LLM")
        self._loop.call_soon_threadsafe(work)

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.close()
