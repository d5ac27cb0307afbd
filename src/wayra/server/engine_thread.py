"""The engine's own thread, and the two crossings of a token: commands go in, the outputs of a whole step come back.

One wake-up of the event loop a step, whatever the batch: with 32 streams a wake-up a token would cost more than the
tokens. Everything else (text, stop strings, bytes on sockets) happens in the event loop while the next step computes.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import Protocol

from wayra.base.errors import BackendError, WayraError
from wayra.engine.metrics import EngineMetrics
from wayra.engine.request import Output, Request

_log = logging.getLogger(__name__)

CLOSE_S = 10.0
"""Longer than any step; who waits longer waits for ever."""


class SteppedEngine(Protocol):
    """What the thread needs of an engine."""

    def add(self, request: Request) -> None: ...

    def cancel(self, request_id: str) -> None: ...

    def step(self) -> list[Output]: ...

    def has_work(self) -> bool: ...

    def metrics(self) -> EngineMetrics: ...


class Receiver(Protocol):
    """Who waits for the outputs of a request. Called in the event loop."""

    def take(self, output: Output) -> None:
        """One step's output for the request. The one with a finish_reason is the last."""
        ...

    def flush(self) -> None:
        """The step's outputs are all taken; once a step at most, and only after a `take`."""
        ...


class _Stop(Exception):
    pass


class EngineThread:
    """Owns an engine from `start` to the end of `close`. All methods are for the event loop's thread.

    on_death: called in the event loop when the engine failed beyond repair; requests under way were answered with an
    error before. failure: what it died of. metrics: as of the last step. steps_done: steps that gave no error.
    """

    def __init__(self, engine: SteppedEngine, on_death: Callable[[Exception], None]) -> None:
        self.failure: Exception | None = None
        self.steps_done = 0
        self.metrics = engine.metrics()
        self._engine = engine
        self._on_death = on_death
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._receivers: dict[str, Receiver] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="wayra-engine", daemon=True)
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def is_busy(self) -> bool:
        """Whether there are requests whose end has not been delivered."""
        return bool(self._receivers)

    def start(self) -> None:
        """Begin, delivering to the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def submit(self, request: Request, receiver: Receiver) -> None:
        """Queue a request; all that happens to it, a refusal too, comes as outputs. Raises BackendError when dead."""
        if self.failure is not None:
            raise BackendError(f"the engine stopped working ({_named(self.failure)})")
        self._receivers[request.id] = receiver
        self._commands.put(partial(self._add, request))

    def cancel(self, request_id: str) -> None:
        """End a request before the next step. Its receiver hears nothing more."""
        if self._receivers.pop(request_id, None) is not None:
            self._commands.put(partial(self._engine.cancel, request_id))

    def next_step(self) -> "asyncio.Future[None]":
        """Done when a step that goes on or begins now has been completed; BackendError when the engine dies."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.failure is not None:
            waiter.set_exception(BackendError(f"the engine stopped working ({_named(self.failure)})"))
        else:
            self._waiters = [w for w in self._waiters if not w.done()] + [waiter]
        return waiter

    def stop(self) -> None:
        """Stop after the step in progress; requests under way hear nothing more."""
        self._receivers.clear()
        self._commands.put(self._stop)

    def close(self) -> bool:
        """Stop and wait for it; may block, and be called from any thread once nothing else is.

        False when the step in progress does not end: the engine may then not be touched, nor its model freed.
        """
        self.stop()
        if self._thread.is_alive():
            self._thread.join(CLOSE_S)
        return not self._thread.is_alive()

    # On the engine's thread.

    def _run(self) -> None:
        engine = self._engine
        try:
            while True:
                self._obey(wait=not engine.has_work())
                if engine.has_work():
                    outputs = engine.step()
                    # Before anybody hears of the step, so that who then looks finds it counted.
                    self.metrics = engine.metrics()
                    self._post(partial(self._deliver, outputs))
        except _Stop:
            return
        except Exception as error:
            self._post(partial(self._die, error))

    def _obey(self, wait: bool) -> None:
        try:
            self._commands.get(wait)()
            while True:
                self._commands.get_nowait()()
        except queue.Empty:
            self.metrics = self._engine.metrics()

    def _add(self, request: Request) -> None:
        try:
            self._engine.add(request)
        except WayraError as error:
            self._post(partial(self._deliver, [Output(request.id, (), finish_reason="error", error=str(error))]))

    def _stop(self) -> None:
        raise _Stop

    def _post(self, callback: Callable[[], None]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback)

    # Back in the event loop.

    def _deliver(self, outputs: list[Output]) -> None:
        if not outputs or any(output.finish_reason != "error" for output in outputs):
            self._step_succeeded()
        touched: dict[Receiver, None] = {}
        for output in outputs:
            receiver = self._receivers.get(output.request_id)
            if receiver is None:
                continue
            if output.finish_reason is not None:
                del self._receivers[output.request_id]
            try:
                receiver.take(output)
            except Exception:  # one request's text must not take the others with it
                _log.exception("a request failed outside the engine")
                self.cancel(output.request_id)
                continue
            touched[receiver] = None
        for receiver in touched:
            try:
                receiver.flush()
            except Exception:
                _log.exception("an answer could not be written")

    def _step_succeeded(self) -> None:
        self.steps_done += 1
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _die(self, error: Exception) -> None:
        self.failure = error
        what = f"the engine failed ({_named(error)}); the server is going down"
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(BackendError(what))
        receivers, self._receivers = self._receivers, {}
        for request_id, receiver in receivers.items():
            try:
                receiver.take(Output(request_id, (), finish_reason="error", error=what))
                receiver.flush()
            except Exception:
                _log.exception("a request could not be told that the engine failed")
        self._on_death(error)


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
