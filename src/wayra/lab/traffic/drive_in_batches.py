"""A stage whose exchanges run by themselves: made some requests ahead of their times, recorded some at a time."""

import asyncio
import itertools
import time

from wayra.lab.targets.api import Ask, Exchanges, Question, SplitTarget
from wayra.lab.traffic.arrivals import due_times
from wayra.lab.traffic.stage import BATCH, BATCH_BYTES, OnRecord, Stage, record_of


async def drive_in_batches(target: SplitTarget, exchanges: Exchanges, stage: Stage, on_record: OnRecord) -> None:
    """As `drive`."""
    batches = _Batches(target, exchanges, stage, on_record)
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()

    def look() -> None:
        try:
            batches.record()
            batches.feed()
        except Exception as error:
            loop.remove_reader(exchanges.answers_fd)
            if not over.done():
                over.set_exception(error)
            return
        if batches.is_over and not over.done():
            over.set_result(None)

    is_broken = False
    try:
        loop.add_reader(exchanges.answers_fd, look)
        look()
        await asyncio.wait((over,), timeout=stage.max_s)
        is_broken = over.done() and over.exception() is not None
    finally:
        loop.remove_reader(exchanges.answers_fd)
        exchanges.stop()
        if not is_broken:  # what cannot be recorded is not tried again
            batches.record()
    if over.done():
        over.result()


class _Batches:
    """The requests of a stage that are made and not recorded."""

    def __init__(self, target: SplitTarget, exchanges: Exchanges, stage: Stage, on_record: OnRecord) -> None:
        self._target, self._exchanges, self._stage, self._on_record = target, exchanges, stage, on_record
        due = due_times(stage.arrivals, stage.indices, stage.seed)
        self._left = iter(zip(stage.indices, itertools.repeat(None) if due is None else due, strict=False))
        self._num_left = self._num_unrecorded = len(stage.indices)
        self._made: dict[int, tuple[Ask, int | None, float | None]] = {}
        self._begun_s: float | None = None

    @property
    def is_over(self) -> bool:
        return self._num_unrecorded == 0

    def record(self) -> None:
        """Raises what `on_record` does."""
        for number, answer in self._exchanges.take():
            ask, wanted, due_s = self._made.pop(number)
            self._num_unrecorded -= 1
            self._on_record(record_of(answer.read(), self._stage, (number, due_s), (ask, wanted)))

    def feed(self) -> None:
        """Make some requests, when there is room for a batch of them."""
        room = self._exchanges.room
        if not self._num_left or room < min(BATCH, self._num_left):
            return
        made: list[tuple[Ask, int | None, float | None]] = []
        contents: list[bytes] = []
        numbers: list[int] = []
        num_bytes = 0
        for index, due_s in itertools.islice(self._left, room):
            ask, wanted = self._stage.make(index)
            content = self._target.prepare(ask)
            numbers.append(index)
            contents.append(content)
            made.append((ask, wanted, due_s))
            num_bytes += len(content)
            if num_bytes > BATCH_BYTES:
                break
        self._submit(numbers, contents, made)

    def _submit(
        self, numbers: list[int], contents: list[bytes], made: list[tuple[Ask, int | None, float | None]]
    ) -> None:
        if self._begun_s is None:
            self._begun_s = time.perf_counter()
        questions: list[Question] = []
        for number, content, (ask, wanted, after_s) in zip(numbers, contents, made, strict=True):
            due_s = None if after_s is None else self._begun_s + after_s
            self._made[number] = ask, wanted, due_s
            questions.append(Question(number, content, due_s))
        self._num_left -= len(questions)
        self._exchanges.submit(questions, is_all=self._num_left == 0)
