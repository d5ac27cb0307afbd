"""Work on texts in turns: order, cancelling, failures."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from wayra.engine.request import Share
from wayra.server.text_workers import TextWorkers, chars_of

HEAVY, LIGHT = Share("heavy"), Share("light")


def with_workers(test: Callable[[TextWorkers], Coroutine[Any, Any, None]]) -> None:
    workers = TextWorkers(1)
    try:
        asyncio.run(asyncio.wait_for(test(workers), 60))
    finally:
        workers.close()


async def begun(workers: TextWorkers, gate: threading.Event) -> asyncio.Task[None]:
    """Work that keeps the only thread until the gate opens."""
    running = threading.Event()

    def work() -> None:
        running.set()
        gate.wait(60)

    task = asyncio.create_task(workers.run(work, HEAVY, 1))
    await asyncio.to_thread(running.wait, 60)
    return task


def test_a_short_text_of_one_share_comes_before_the_backlog_of_another() -> None:
    async def test(workers: TextWorkers) -> None:
        gate, done = threading.Event(), list[str]()
        tasks = [await begun(workers, gate)]
        for number in range(20):
            tasks.append(asyncio.create_task(workers.run(lambda n=number: done.append(f"h{n}"), HEAVY, 1_000_000)))
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(workers.run(lambda: done.append("light"), LIGHT, 10)))
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*tasks)
        assert done.index("light") <= 1
        assert [name for name in done if name != "light"] == [f"h{n}" for n in range(20)]

    with_workers(test)


def test_who_gives_up_waiting_is_left_out_and_the_others_go_on() -> None:
    async def test(workers: TextWorkers) -> None:
        gate, done = threading.Event(), list[int]()
        first = await begun(workers, gate)
        tasks = [asyncio.create_task(workers.run(lambda n=n: done.append(n), HEAVY, 1)) for n in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
        gate.set()
        await first
        await asyncio.gather(*tasks, return_exceptions=True)
        assert done == [0, 2]
        assert await workers.run(lambda: 7, LIGHT, 1) == 7

    with_workers(test)


def test_who_gives_up_in_the_moment_its_turn_comes_passes_it_on() -> None:
    async def test(workers: TextWorkers) -> None:
        gate, done, tasks = threading.Event(), list[int](), list[asyncio.Task[None]]()

        async def hold() -> None:
            await workers.run(lambda: gate.wait(60), HEAVY, 1)
            # The turn has been given and not been noticed yet.
            tasks[0].cancel()

        holder = asyncio.create_task(hold())
        await asyncio.sleep(0)
        tasks += [asyncio.create_task(workers.run(lambda n=n: done.append(n), HEAVY, 1)) for n in range(2)]
        await asyncio.sleep(0)
        gate.set()
        await holder
        await asyncio.gather(*tasks, return_exceptions=True)
        assert done == [1]
        assert await workers.run(lambda: 7, LIGHT, 1) == 7

    with_workers(test)


def test_what_fails_raises_for_its_own_caller_and_frees_the_thread() -> None:
    async def test(workers: TextWorkers) -> None:
        with pytest.raises(ZeroDivisionError):
            await workers.run(lambda: 1 / 0, HEAVY, 1)
        assert await workers.run(lambda: 7, HEAVY, 1) == 7

    with_workers(test)


def test_the_texts_of_messages_of_any_shape_are_counted() -> None:
    parts = [{"type": "text", "text": "abcd"}, {"type": "text", "text": "ef"}]
    assert chars_of([{"content": "abc"}, {"content": parts}, {"content": None}]) == 3 + 2 * 4 + 6
    assert chars_of(7) == 0
