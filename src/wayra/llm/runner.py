"""One thread steps the engine for everybody: callers of any thread or event loop hand in jobs and get chunks back.

So concurrent callers share batches, and a Ctrl-C in the main thread can never interrupt a step half way.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from wayra.base.errors import BackendError, IntegrityError, WayraError
from wayra.engine.request import Output, Request
from wayra.llm.assemble import Assembler
from wayra.llm.results import Chunk

Event = Chunk | Exception

IDLE_S = 0.2
"""So long without work, and the next request is not about to come."""
SETTLE_BYTES = 8 << 20
"""Moved in a few milliseconds, which the next request may have to wait."""


class SteppedEngine(Protocol):
    """What the runner needs of an engine."""

    def add(self, request: Request) -> None: ...

    def cancel(self, request_id: str) -> None: ...

    def step(self) -> list[Output]: ...

    def has_work(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Job:
    """A request with its text and the one who waits for it.

    deliver: called on the engine's thread with each chunk, or with one exception; must be quick and thread-safe.
    streaming: False delivers the last chunk only, which carries the completion.
    """

    request: Request
    assembler: Assembler
    deliver: Callable[[Event], None]
    streaming: bool = True


class EngineRunner:
    """Owns the engine from the first submitted job on: nobody else may touch it until `close` has returned.

    release: called once, when no step can run any more; frees the model.
    settle: called with a number of bytes when nothing has been asked for a while, until it returns False.
    """

    def __init__(
        self, engine: SteppedEngine, release: Callable[[], None], settle: Callable[[int], bool] | None = None
    ) -> None:
        self._engine = engine
        self._release = release
        self._settle = settle
        self._wake = threading.Condition()
        self._submitted: deque[Job] = deque()
        self._cancelled: deque[str] = deque()
        self._closing = False
        self._released = False
        self._failure: Exception | None = None
        self._thread: threading.Thread | None = None
        self._live: dict[str, Job] = {}

    def submit(self, job: Job) -> None:
        """Queue a job. A request the engine refuses is answered through `deliver`.

        Raises BackendError when closed or broken.
        """
        with self._wake:
            if self._closing:
                raise BackendError("the model is closed; load it again")
            if self._failure is not None:
                raise BackendError(f"the engine stopped working ({_named(self._failure)}); load the model again")
            self._submitted.append(job)
            if self._thread is None:
                # A daemon, so that a program that forgets to close the model still ends.
                self._thread = threading.Thread(target=self._run, name="wayra-engine", daemon=True)
                self._thread.start()
            self._wake.notify()

    def cancel(self, request_id: str) -> None:
        """End a request before its next step. Unknown and finished ids are ignored. The job gets a last chunk."""
        with self._wake:
            self._cancelled.append(request_id)
            self._wake.notify()

    def close(self) -> None:
        """Stop after the step in progress; jobs under way get a BackendError. Safe to call twice, from any thread."""
        with self._wake:
            self._closing = True
            self._wake.notify()
            thread = self._thread
        if thread is threading.current_thread():
            return  # a finalizer met the engine's own thread: its loop ends and releases by itself
        if thread is not None:
            thread.join()
        self._release_once()

    def _release_once(self) -> None:
        with self._wake:
            if self._released:
                return
            self._released = True
        self._release()

    def _run(self) -> None:
        try:
            while self._take_commands():
                if self._engine.has_work():
                    for output in self._engine.step():
                        self._dispatch(output)
                elif self._live:
                    raise IntegrityError(f"the engine lost {len(self._live)} requests; this is a bug of wayra")
                else:
                    self._settle_meanwhile()
        except Exception as error:
            self._fail(error)
        else:
            self._fail_jobs(BackendError("the model was closed while it answered"))
        if self._closing:
            self._release_once()

    def _take_commands(self) -> bool:
        """Wait for something to do and apply what was asked. False when closing."""
        with self._wake:
            while not self._is_wanted():
                if not self._wake.wait(None if self._settle is None else IDLE_S):
                    return True
            if self._closing:
                return False
            jobs, cancelled = list(self._submitted), list(self._cancelled)
            self._submitted.clear()
            self._cancelled.clear()
        for job in jobs:
            self._add(job)
        for request_id in cancelled:
            self._cancel(request_id)
        return True

    def _is_wanted(self) -> bool:
        return bool(self._closing or self._submitted or self._cancelled or self._live or self._engine.has_work())

    def _settle_meanwhile(self) -> None:
        while self._settle is not None and not self._is_wanted():
            if not self._settle(SETTLE_BYTES):
                self._settle = None

    def _add(self, job: Job) -> None:
        try:
            self._engine.add(job.request)
        except WayraError as error:
            job.deliver(error)
            return
        self._live[job.request.id] = job

    def _cancel(self, request_id: str) -> None:
        job = self._live.pop(request_id, None)
        if job is not None:
            self._engine.cancel(request_id)
            job.deliver(job.assembler.cancelled())

    def _dispatch(self, output: Output) -> None:
        job = self._live.get(output.request_id)
        if job is None:
            return
        try:
            chunk = job.assembler.push(output)
        except Exception as error:  # one request's text must not take the others with it
            self._end(job, output)
            job.deliver(error)
            return
        if chunk.finish_reason is not None:
            self._end(job, output)
            job.deliver(chunk)
        elif job.streaming:
            job.deliver(chunk)

    def _end(self, job: Job, output: Output) -> None:
        del self._live[job.request.id]
        if output.finish_reason is None:
            self._engine.cancel(job.request.id)

    def _fail(self, error: Exception) -> None:
        with self._wake:
            self._failure = error
        if not isinstance(error, WayraError):
            shown = BackendError(f"the engine failed ({_named(error)}); load the model again")
            shown.__cause__ = error
            error = shown
        self._fail_jobs(error)

    def _fail_jobs(self, error: Exception) -> None:
        with self._wake:
            waiting = [*self._live.values(), *self._submitted]
            self._submitted.clear()
        self._live.clear()
        for job in waiting:
            job.deliver(error)


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
