"""Sends one stage's requests at their times and hands each record on as it ends; keeps nothing of those that ended."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from wayra.lab.latency.record import RequestRecord
from wayra.lab.targets.api import Ask, Reply, Target
from wayra.lab.traffic.arrivals import Arrivals, due_times


@dataclass(frozen=True, slots=True)
class Stage:
    """name: of the stage; keys are "name/number". indices: the requests to send. max_s: then the rest is cancelled."""

    name: str
    arrivals: Arrivals
    indices: Sequence[int]
    make: Callable[[int], tuple[Ask, int | None]]
    max_s: float | None = None
    is_warmup: bool = False
    seed: int = 0
    session: int = 0
    origin_s: float = field(default_factory=time.perf_counter)


OnRecord = Callable[[RequestRecord], None]


async def drive(target: Target, stage: Stage, on_record: OnRecord) -> None:
    """Run the stage to its end or to max_s. What is under way then is cancelled and recorded so; an error of
    `on_record` (a full disk) or Ctrl-C ends it at once."""
    tasks: set[asyncio.Task[object]] = set()
    sender = asyncio.create_task(_send_all(target, stage, on_record, tasks))
    try:
        await asyncio.wait_for(asyncio.shield(sender), stage.max_s)
    except TimeoutError:
        pass
    finally:
        sender.cancel()
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(sender, *tasks, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception):
            raise error


async def _send_all(target: Target, stage: Stage, on_record: OnRecord, tasks: set[asyncio.Task[object]]) -> None:
    due = due_times(stage.arrivals, stage.indices, stage.seed)
    if due is None:
        pending = iter(stage.indices)
        width = min(stage.arrivals.concurrency, len(stage.indices))
        workers: list[asyncio.Task[object]] = [
            asyncio.create_task(_work(target, stage, on_record, pending)) for _ in range(width)
        ]
        tasks.update(workers)
        await _all_or_first_error(workers)
        return
    begun = time.perf_counter()
    errors: list[BaseException] = []

    def ended(task: asyncio.Task[object]) -> None:
        tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            errors.append(error)

    for index, at_s in zip(stage.indices, due, strict=True):
        delay = begun + at_s - time.perf_counter()
        # Sleeping zero lets answers be read even when the loop is behind its times.
        await asyncio.sleep(max(0.0, delay))
        if errors:
            raise errors[0]
        task: asyncio.Task[object] = asyncio.create_task(_one(target, stage, on_record, (index, begun + at_s)))
        tasks.add(task)
        task.add_done_callback(ended)
    while tasks:
        await asyncio.wait(tasks)
    if errors:
        raise errors[0]


async def _all_or_first_error(workers: Sequence[asyncio.Task[object]]) -> None:
    if workers:
        done, _ = await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()


async def _work(target: Target, stage: Stage, on_record: OnRecord, pending: Iterator[int]) -> None:
    """One of the users of a closed loop."""
    for index in pending:
        if await _one(target, stage, on_record, (index, None)) == "cancelled":
            return


async def _one(target: Target, stage: Stage, on_record: OnRecord, place: tuple[int, float | None]) -> str:
    index, due_s = place
    ask, wanted = stage.make(index)
    reply = await target.send(ask)
    on_record(record_of(reply, stage, (index, due_s), (ask, wanted)))
    return reply.status


def record_of(
    reply: Reply, stage: Stage, place: tuple[int, float | None], asked: tuple[Ask, int | None]
) -> RequestRecord:
    """The reply as a line of the run, its times counted from the session's origin, to 0.1 microseconds."""
    index, due_s = place
    ask, wanted = asked

    def since(at_s: float) -> float:
        return round(at_s - stage.origin_s, 7)

    return RequestRecord(
        key=f"{stage.name}/{'w' if stage.is_warmup else ''}{index:06d}",
        stage=stage.name,
        status=reply.status,
        sent_s=since(reply.sent_s),
        ended_s=since(reply.ended_s),
        session=stage.session,
        is_warmup=stage.is_warmup,
        due_s=None if due_s is None else since(due_s),
        head_s=None if reply.head_s is None else since(reply.head_s),
        event_s=[round(at - stage.origin_s, 7) for at in reply.event_s],
        event_chars=reply.event_chars,
        event_tokens=reply.event_tokens,
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        cached_tokens=reply.cached_tokens,
        wanted_prompt_tokens=wanted,
        wanted_completion_tokens=ask.max_tokens,
        finish_reason=reply.finish_reason,
        text=reply.text,
        failure=reply.failure,
    )
