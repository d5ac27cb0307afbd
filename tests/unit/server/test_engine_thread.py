"""The engine's thread: what goes in comes out, a step at a time, and its death is told to everybody."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from wayra.base.errors import BackendError, InvalidParameter
from wayra.engine.request import Output, Request, SamplingParams
from wayra.server.engine_thread import EngineThread


class CountingEngine:
    """Gives each live request the number of the step, three times."""

    def __init__(self) -> None:
        self.live: dict[str, int] = {}
        self.steps = 0
        self.cancelled: list[str] = []
        self.threads: set[int] = set()
        self.breaks_at = 1 << 30

    def add(self, request: Request) -> None:
        if request.id == "bad":
            raise InvalidParameter("the test refuses it")
        self.live[request.id] = 0

    def cancel(self, request_id: str) -> None:
        self.live.pop(request_id, None)
        self.cancelled.append(request_id)

    def has_work(self) -> bool:
        return bool(self.live)

    def metrics(self) -> Any:
        return (len(self.live), self.steps)

    def step(self) -> list[Output]:
        self.threads.add(threading.get_ident())
        self.steps += 1
        if self.steps >= self.breaks_at:
            raise MemoryError("the test broke it")
        outputs = []
        for request_id in list(self.live):
            self.live[request_id] += 1
            ends = self.live[request_id] == 3
            outputs.append(Output(request_id, (self.steps,), finish_reason="length" if ends else None))
            if ends:
                del self.live[request_id]
        return outputs


class Listener:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.outputs: list[Output] = []
        self.flushes = 0
        self.ended = asyncio.get_running_loop().create_future()

    def take(self, output: Output) -> None:
        self.outputs.append(output)
        if output.finish_reason is not None:
            self.ended.set_result(None)

    def flush(self) -> None:
        self.flushes += 1


def request(request_id: str) -> Request:
    return Request(request_id, (1,), SamplingParams())


def run(test: Callable[[CountingEngine, EngineThread, list[Exception]], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        engine, deaths = CountingEngine(), list[Exception]()
        thread = EngineThread(engine, deaths.append)
        thread.start()
        try:
            async with asyncio.timeout(20):
                await test(engine, thread, deaths)
        finally:
            assert thread.close()

    asyncio.run(main())


def test_outputs_come_in_order_in_the_event_loop_and_steps_run_on_one_other_thread() -> None:
    async def test(engine: CountingEngine, thread: EngineThread, deaths: list[Exception]) -> None:
        listeners = {name: Listener() for name in "abc"}
        for name, listener in listeners.items():
            thread.submit(request(name), listener)
        await asyncio.gather(*(listener.ended for listener in listeners.values()))
        for listener in listeners.values():
            numbers = [output.token_ids[0] for output in listener.outputs]
            assert numbers == list(range(numbers[0], numbers[0] + 3))
            assert listener.flushes == 3
        assert len(engine.threads) == 1
        assert threading.get_ident() not in engine.threads
        assert not thread.is_busy

    run(test)


def test_the_event_loop_is_woken_once_a_step_whatever_the_batch() -> None:
    async def test(engine: CountingEngine, thread: EngineThread, deaths: list[Exception]) -> None:
        loop = asyncio.get_running_loop()
        whole, calls = loop.call_soon_threadsafe, list[object]()
        loop.call_soon_threadsafe = lambda *args, **kw: (calls.append(args), whole(*args, **kw))[1]  # type: ignore
        listeners = [Listener() for _ in range(32)]
        for number, listener in enumerate(listeners):
            thread.submit(request(str(number)), listener)
        await asyncio.gather(*(listener.ended for listener in listeners))
        assert len(calls) == engine.steps

    run(test)


def test_a_refused_request_is_answered_and_the_others_go_on() -> None:
    async def test(engine: CountingEngine, thread: EngineThread, deaths: list[Exception]) -> None:
        bad, good = Listener(), Listener()
        thread.submit(request("bad"), bad)
        thread.submit(request("good"), good)
        await asyncio.gather(bad.ended, good.ended)
        assert [(o.finish_reason, o.error) for o in bad.outputs] == [("error", "the test refuses it")]
        assert good.outputs[-1].finish_reason == "length"

    run(test)


def test_a_cancelled_request_hears_nothing_more() -> None:
    async def test(engine: CountingEngine, thread: EngineThread, deaths: list[Exception]) -> None:
        gone, stays = Listener(), Listener()
        thread.submit(request("gone"), gone)
        thread.cancel("gone")
        thread.cancel("gone")
        thread.cancel("unknown")
        thread.submit(request("stays"), stays)
        await stays.ended
        assert gone.outputs == []
        assert engine.cancelled == ["gone"]

    run(test)


def test_a_listener_that_breaks_ends_its_own_request_only() -> None:
    async def test(engine: CountingEngine, thread: EngineThread, deaths: list[Exception]) -> None:
        class Broken(Listener):
            def take(self, output: Output) -> None:
                raise ValueError("the test broke it")

        good = Listener()
        thread.submit(request("broken"), Broken())
        thread.submit(request("good"), good)
        await good.ended
        assert engine.cancelled in (["broken"], [])
        assert deaths == []

    run(test)


def test_death_is_told_to_those_under_way_those_who_wait_and_those_who_come_later() -> None:
    async def test(engine: CountingEngine, thread: EngineThread, deaths: list[Exception]) -> None:
        engine.breaks_at = 2
        listener = Listener()
        thread.submit(request("a"), listener)
        await thread.next_step()
        step = thread.next_step()
        await listener.ended
        assert "the test broke it" in (listener.outputs[-1].error or "")
        with pytest.raises(BackendError, match="the test broke it"):
            await step
        with pytest.raises(BackendError, match="stopped working"):
            thread.submit(request("b"), Listener())
        with pytest.raises(BackendError, match="stopped working"):
            await thread.next_step()
        assert [type(death) for death in deaths] == [MemoryError]

    run(test)
