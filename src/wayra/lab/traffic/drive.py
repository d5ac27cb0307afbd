"""Sends one stage's requests at their times and hands each record on as it ends; keeps nothing of those that ended."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from wayra.lab.targets.api import Ask, BatchTarget, SplitTarget, Target, Unread, started
from wayra.lab.traffic.arrivals import due_times
from wayra.lab.traffic.drive_in_batches import drive_in_batches
from wayra.lab.traffic.stage import BATCH, BATCH_BYTES, OnRecord, Stage, record_of

UNREAD_S = 0.1
"""An answer is read and recorded so long after its end at the latest."""


@dataclass(frozen=True, slots=True)
class _Made:
    """A request. start: sends it without a task, where the target is split. send: sends it and waits."""

    index: int
    ask: Ask
    wanted: int | None
    send: Callable[[], Awaitable[Unread]]
    start: Callable[[Callable[[Unread], None]], Callable[[], None]] | None = None


class _Ended:
    """Answers that are over and not recorded yet."""

    def __init__(self, stage: Stage, on_record: OnRecord) -> None:
        self._stage, self._on_record = stage, on_record
        self._unread: list[tuple[Unread, _Made, float | None]] = []

    def add(self, answer: Unread, made: _Made, due_s: float | None) -> None:
        """Raises what `on_record` does."""
        self._unread.append((answer, made, due_s))
        if len(self._unread) >= BATCH:
            self.record()

    def record(self) -> None:
        unread, self._unread = self._unread, []
        for answer, made, due_s in unread:
            self._on_record(record_of(answer.read(), self._stage, (made.index, due_s), (made.ask, made.wanted)))

    async def record_now_and_then(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(UNREAD_S)
            self.record()


async def drive(target: Target, stage: Stage, on_record: OnRecord) -> None:
    """Run the stage to its end or to max_s. What is under way then is cancelled and recorded so; an error of
    `on_record` (a full disk) or Ctrl-C ends it at once."""
    if isinstance(target, BatchTarget):
        closed = stage.arrivals.kind == "closed"
        width = min(stage.arrivals.concurrency, len(stage.indices)) if closed else 0
        exchanges = await target.exchanges(width)
        if exchanges is not None:
            await drive_in_batches(target, exchanges, stage, on_record)
            return
    await _drive(target, stage, on_record)


async def _drive(target: Target, stage: Stage, on_record: OnRecord) -> None:
    """One question at a time."""
    tasks: set[asyncio.Task[object]] = set()
    ended = _Ended(stage, on_record)
    sender = asyncio.create_task(_send_all(target, stage, ended, tasks))
    recorder = asyncio.create_task(ended.record_now_and_then())
    try:
        await asyncio.wait((sender, recorder), timeout=stage.max_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sender, recorder, *tasks):
            task.cancel()
        results = await asyncio.gather(sender, recorder, *tasks, return_exceptions=True)
        errors = [error for error in results if isinstance(error, Exception)]
        if not errors:  # what cannot be recorded is not tried again
            ended.record()
    for error in errors:
        raise error


def _made(target: Target, stage: Stage) -> Iterator[_Made]:
    """The stage's requests, some ahead of their time, as long as they are small."""
    split = target if isinstance(target, SplitTarget) else None
    ready: deque[_Made] = deque()
    num_bytes = 0
    for index in stage.indices:
        ask, wanted = stage.make(index)
        if split is None:
            ready.append(_Made(index, ask, wanted, partial(target.send, ask)))
        else:
            question = split.prepare(ask)
            start = partial(split.start, question)
            ready.append(_Made(index, ask, wanted, partial(started, split, question), start))
        num_bytes += len(ask.prompt)
        if len(ready) >= BATCH or num_bytes > BATCH_BYTES:
            while ready:
                yield ready.popleft()
            num_bytes = 0
    yield from ready


async def _send_all(target: Target, stage: Stage, ended: _Ended, tasks: set[asyncio.Task[object]]) -> None:
    due = due_times(stage.arrivals, stage.indices, stage.seed)
    pending = _made(target, stage)
    if due is None:
        width = min(stage.arrivals.concurrency, len(stage.indices))
        workers: list[asyncio.Task[object]] = [asyncio.create_task(_work(pending, ended)) for _ in range(width)]
        tasks.update(workers)
        await _all_or_first_error(workers)
        return
    open_loop = _OpenLoop(ended, tasks)
    try:
        await open_loop.send_all(pending, due)
    except BaseException:
        open_loop.cancel()
        open_loop.raise_error()
        raise


class _OpenLoop:
    """Requests under way that nothing waits for."""

    def __init__(self, ended: _Ended, tasks: set[asyncio.Task[object]]) -> None:
        self._ended, self._tasks = ended, tasks
        self._cancels: dict[int, Callable[[], None]] = {}
        self._all_over = asyncio.Event()
        self._errors: list[BaseException] = []

    async def send_all(self, pending: Iterator[_Made], due: Sequence[float]) -> None:
        """Raises the first error of recording."""
        begun = time.perf_counter()
        for made, at_s in zip(pending, due, strict=True):
            delay = begun + at_s - time.perf_counter()
            # Sleeping zero lets answers be read even when the loop is behind its times.
            await asyncio.sleep(max(0.0, delay))
            self.raise_error()
            self._send(made, begun + at_s)
        while self._tasks or self._cancels:
            self._all_over.clear()
            await self._all_over.wait()
            self.raise_error()
        self.raise_error()

    def cancel(self) -> None:
        for cancel in tuple(self._cancels.values()):
            cancel()

    def _send(self, made: _Made, due_s: float) -> None:
        if made.start is not None:
            self._cancels[made.index] = made.start(partial(self._over, made, due_s))
            return
        task: asyncio.Task[object] = asyncio.create_task(_one(made, self._ended, due_s))
        self._tasks.add(task)
        task.add_done_callback(self._task_over)

    def _over(self, made: _Made, due_s: float, answer: Unread) -> None:
        del self._cancels[made.index]
        try:
            self._ended.add(answer, made, due_s)
        except Exception as error:
            self._errors.append(error)
        self._all_over.set()

    def _task_over(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._errors.append(error)
        self._all_over.set()

    def raise_error(self) -> None:
        """The first of recording, if there was one."""
        if self._errors:
            raise self._errors[0]


async def _all_or_first_error(workers: Sequence[asyncio.Task[object]]) -> None:
    if workers:
        done, _ = await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()


async def _work(pending: Iterator[_Made], ended: _Ended) -> None:
    """One of the users of a closed loop."""
    for made in pending:
        if await _one(made, ended, None):
            return


async def _one(made: _Made, ended: _Ended, due_s: float | None) -> bool:
    """Whether it was cancelled."""
    answer = await made.send()
    ended.add(answer, made, due_s)
    return answer.is_cancelled
