"""The engine's thread: what it tells whom when a request, or the engine itself, goes wrong."""

import threading
from queue import SimpleQueue

import pytest
from text_samples import byte_level_metadata

from wayra.base.errors import BackendError, ContextOverflow, IntegrityError
from wayra.engine.request import Output, Request, SamplingParams
from wayra.llm.assemble import Assembler
from wayra.llm.results import Chunk
from wayra.llm.runner import IDLE_S, EngineRunner, Event, Job
from wayra.text.from_gguf import tokenizer_from_gguf

TOKENIZER = tokenizer_from_gguf(byte_level_metadata())
WAIT_S = 20


class ScriptedEngine:
    """Gives each request one token a step, for ever; misbehaves as told by the name of the request."""

    def __init__(self) -> None:
        self.live: dict[str, Request] = {}
        self.cancelled: list[str] = []
        self.stepping_threads: set[str] = set()

    def add(self, request: Request) -> None:
        if request.id == "too long":
            raise ContextOverflow("prompt has 9 tokens, limit is 8")
        self.live[request.id] = request

    def cancel(self, request_id: str) -> None:
        self.cancelled.append(request_id)
        self.live.pop(request_id, None)

    def has_work(self) -> bool:
        return bool(self.live)

    def step(self) -> list[Output]:
        self.stepping_threads.add(threading.current_thread().name)
        if "explode" in self.live:
            raise ZeroDivisionError("no reason")
        if "lose" in self.live:
            del self.live["lose"]
            return []
        return [self._output(request_id) for request_id in self.live]

    def _output(self, request_id: str) -> Output:
        if request_id == "fail alone":
            return Output(request_id, (), finish_reason="error", error="a row went wrong")
        return Output(request_id, (1,))


class Caller:
    def __init__(self, runner: EngineRunner, request_id: str, streaming: bool = True) -> None:
        self.events: SimpleQueue[Event] = SimpleQueue()
        request = Request(request_id, (1, 2), SamplingParams())
        runner.submit(Job(request, Assembler(TOKENIZER, request), self.events.put, streaming))

    def next(self) -> Event:
        return self.events.get(timeout=WAIT_S)

    def last(self) -> Event:
        while isinstance(event := self.next(), Chunk) and event.finish_reason is None:
            pass
        return event


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def released() -> list[str]:
    return []


@pytest.fixture
def runner(engine: ScriptedEngine, released: list[str]) -> EngineRunner:
    return EngineRunner(engine, lambda: released.append("once"))


def test_every_step_runs_on_one_thread_that_is_not_the_callers(engine: ScriptedEngine, runner: EngineRunner) -> None:
    callers = [Caller(runner, f"r{i}") for i in range(3)]
    for caller in callers:
        assert isinstance(caller.next(), Chunk)
    runner.close()
    assert engine.stepping_threads == {"wayra-engine"}


def test_a_refused_request_fails_alone(runner: EngineRunner) -> None:
    good, bad = Caller(runner, "good"), Caller(runner, "too long")
    assert isinstance(bad.next(), ContextOverflow)
    assert isinstance(good.next(), Chunk)
    runner.close()


def test_a_request_that_fails_in_a_step_fails_alone(runner: EngineRunner) -> None:
    good, bad = Caller(runner, "good"), Caller(runner, "fail alone")
    error = bad.next()
    assert isinstance(error, BackendError)
    assert str(error) == "a row went wrong"
    assert all(isinstance(good.next(), Chunk) for _ in range(3))
    runner.close()


def test_a_cancelled_request_ends_with_what_it_had(engine: ScriptedEngine, runner: EngineRunner) -> None:
    caller = Caller(runner, "r")
    caller.next()
    runner.cancel("r")
    last = caller.last()
    assert isinstance(last, Chunk)
    assert last.completion is not None
    assert last.completion.finish_reason == "cancelled"
    assert last.completion.usage.completion_tokens == len(last.completion.token_ids) >= 1
    assert engine.cancelled == ["r"]
    runner.close()


def test_cancelling_what_is_unknown_or_over_changes_nothing(engine: ScriptedEngine, runner: EngineRunner) -> None:
    runner.cancel("never there")
    assert isinstance(Caller(runner, "r").next(), Chunk)
    assert engine.cancelled == []
    runner.close()


def test_who_waits_for_the_whole_answer_hears_only_the_end(runner: EngineRunner) -> None:
    streaming, whole = Caller(runner, "streaming"), Caller(runner, "whole", streaming=False)
    for _ in range(5):
        streaming.next()
    runner.cancel("whole")
    last = whole.next()
    assert isinstance(last, Chunk)
    assert last.finish_reason == "cancelled"
    runner.close()


def test_an_engine_that_fails_tells_every_caller_and_refuses_new_ones(
    runner: EngineRunner, released: list[str]
) -> None:
    one, two = Caller(runner, "one"), Caller(runner, "explode")
    for caller in (one, two):
        error = caller.last()
        assert isinstance(error, BackendError)
        assert "ZeroDivisionError: no reason" in str(error)
    with pytest.raises(BackendError, match="load the model again"):
        Caller(runner, "three")
    runner.close()
    assert released == ["once"]


def test_an_engine_that_loses_a_request_does_not_leave_its_caller_waiting(runner: EngineRunner) -> None:
    assert isinstance(Caller(runner, "lose").last(), IntegrityError)
    runner.close()


def test_closing_ends_requests_under_way_and_releases_once(runner: EngineRunner, released: list[str]) -> None:
    caller = Caller(runner, "r")
    caller.next()
    runner.close()
    runner.close()
    error = caller.last()
    assert isinstance(error, BackendError)
    assert "closed" in str(error)
    assert released == ["once"]
    with pytest.raises(BackendError, match="the model is closed"):
        Caller(runner, "late")


def test_closing_what_never_ran_releases_without_a_thread(runner: EngineRunner, released: list[str]) -> None:
    runner.close()
    assert released == ["once"]


def test_closing_from_the_engines_own_thread_does_not_wait_for_itself(
    runner: EngineRunner, released: list[str]
) -> None:
    done = threading.Event()
    request = Request("r", (1,), SamplingParams())

    def close_there(event: Event) -> None:
        runner.close()
        done.set()

    runner.submit(Job(request, Assembler(TOKENIZER, request), close_there))
    assert done.wait(WAIT_S)
    runner.close()
    assert released == ["once"]


def test_what_can_wait_is_done_only_when_nothing_is_asked(engine: ScriptedEngine) -> None:
    left = [3]
    seen_live: list[int] = []
    done = threading.Event()

    def settle(max_bytes: int) -> bool:
        assert max_bytes > 0
        seen_live.append(len(engine.live))
        left[0] -= 1
        if left[0] == 0:
            done.set()
        return left[0] > 0

    runner = EngineRunner(engine, lambda: None, settle)
    caller = Caller(runner, "r")
    assert isinstance(caller.next(), Chunk)
    assert not done.wait(3 * IDLE_S)
    runner.cancel("r")
    caller.last()
    assert done.wait(WAIT_S)
    again = Caller(runner, "again")
    assert isinstance(again.next(), Chunk)
    runner.close()
    assert seen_live == [0, 0, 0]


def test_closing_does_not_wait_for_what_can_wait(engine: ScriptedEngine) -> None:
    begun = threading.Event()

    def settle(_max_bytes: int) -> bool:
        begun.set()
        return True

    released: list[str] = []
    runner = EngineRunner(engine, lambda: released.append("once"), settle)
    caller = Caller(runner, "r")
    caller.next()
    runner.cancel("r")
    assert begun.wait(WAIT_S)
    runner.close()
    assert released == ["once"]
