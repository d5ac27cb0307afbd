"""What `HttpClient.start` promises: told once, or never when cancelled; asked again only where nothing was answered."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from wayra.client import HttpClient, HttpLimits, RequestFailed, Response
from wayra.client.response import UNANSWERED

BEGINNING = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n"
ANSWER = BEGINNING + b"0\r\n\r\n"
LIMITS = HttpLimits(connect_s=5, stall_s=5, total_s=5)


@dataclass
class Taken:
    """A reader of an answer, and what its exchange told at its end."""

    body: bytes = b""
    told: list[Response | RequestFailed] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    pieces: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, _at_s: float, piece: bytes) -> None:
        self.body += piece
        self.pieces.set()

    def advance(self) -> None:
        pass

    def end(self, outcome: Response | RequestFailed, _at_s: float) -> None:
        self.told.append(outcome)
        self.over.set()


@dataclass
class Connections:
    """A server that gives each connection to the next of its handlers, the last one again and again."""

    handlers: list[Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]]
    opened: int = 0
    closed: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = self.handlers[min(self.opened, len(self.handlers) - 1)]
        self.opened += 1
        try:
            await handler(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone
        finally:
            self.closed += 1
            writer.close()


async def asked(reader: asyncio.StreamReader) -> None:
    await reader.readuntil(b"\r\n\r\n")


async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await asked(reader)
        writer.write(ANSWER)


async def answers_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Keeps the connection as far as it says, and closes it at the next question."""
    await asked(reader)
    writer.write(ANSWER)
    await asked(reader)


async def closes_at_once(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await asked(reader)


async def begins_and_waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asked(reader)
    writer.write(BEGINNING)
    await reader.read()


async def answers_once_then_cuts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asked(reader)
    writer.write(ANSWER)
    await asked(reader)
    writer.write(BEGINNING)


def run(connections: Connections, program: Callable[[HttpClient], Awaitable[None]]) -> None:
    async def main() -> None:
        listener = await asyncio.start_server(connections.serve, "127.0.0.1", 0)
        client = HttpClient(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", LIMITS)
        try:
            await program(client)
        finally:
            await client.aclose()
            await until(lambda: connections.closed == connections.opened)
            listener.close()

    asyncio.run(main())


def started(client: HttpClient) -> tuple[Taken, Callable[[], None]]:
    taken = Taken()
    exchange = client.start(client.request("GET", "/", {}, b""), taken, taken.end)
    return taken, exchange.cancel


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_an_answer_is_told_once_and_its_connection_is_used_again() -> None:
    connections = Connections([answers])

    async def program(client: HttpClient) -> None:
        for _ in range(3):
            taken, _ = started(client)
            await taken.over.wait()
            assert [type(one) for one in taken.told] == [Response]
            assert taken.body == b"body"

    run(connections, program)
    assert connections.opened == 1


def test_a_kept_connection_that_the_server_closed_unanswered_is_asked_again_on_a_new_one() -> None:
    connections = Connections([answers_once, answers])

    async def program(client: HttpClient) -> None:
        first, _ = started(client)
        await first.over.wait()
        second, _ = started(client)
        await second.over.wait()
        assert [type(one) for one in second.told] == [Response]
        assert second.body == b"body"

    run(connections, program)
    assert connections.opened == 2


def test_a_new_connection_that_is_closed_unanswered_has_failed() -> None:
    connections = Connections([closes_at_once])

    async def program(client: HttpClient) -> None:
        taken, _ = started(client)
        await taken.over.wait()
        (outcome,) = taken.told
        assert isinstance(outcome, RequestFailed)
        assert (outcome.failure.kind, outcome.failure.message) == ("cut", UNANSWERED)

    run(connections, program)
    assert connections.opened == 1


def test_asking_again_is_done_once() -> None:
    connections = Connections([answers_once, closes_at_once])

    async def program(client: HttpClient) -> None:
        first, _ = started(client)
        await first.over.wait()
        second, _ = started(client)
        await second.over.wait()
        assert [type(one) for one in second.told] == [RequestFailed]

    run(connections, program)
    assert connections.opened == 2


def test_an_answer_that_began_is_not_asked_again() -> None:
    """The server may have done the work: what was answered in part failed."""
    connections = Connections([answers_once_then_cuts, answers])

    async def program(client: HttpClient) -> None:
        first, _ = started(client)
        await first.over.wait()
        second, _ = started(client)
        await second.over.wait()
        (outcome,) = second.told
        assert isinstance(outcome, RequestFailed)
        assert outcome.failure.kind == "cut"
        assert second.body == b"body"

    run(connections, program)
    assert connections.opened == 1


def test_who_cancels_before_the_connection_stands_is_told_nothing() -> None:
    connections = Connections([answers])

    async def program(client: HttpClient) -> None:
        taken, cancel = started(client)
        cancel()
        other, _ = started(client)
        await other.over.wait()
        assert taken.told == []
        assert len(other.told) == 1

    run(connections, program)


def test_who_cancels_in_the_middle_of_an_answer_keeps_what_came_and_closes_the_connection() -> None:
    connections = Connections([begins_and_waits, answers])

    async def program(client: HttpClient) -> None:
        taken, cancel = started(client)
        while not taken.body:
            await asyncio.wait_for(taken.pieces.wait(), 5)
        cancel()
        await until(lambda: connections.closed == 1)
        assert taken.body == b"body"
        other, _ = started(client)
        await other.over.wait()
        assert taken.told == []
        assert other.body == b"body"

    run(connections, program)
    assert connections.opened == 2


def test_who_cancels_while_it_is_asked_again_is_told_nothing() -> None:
    connections = Connections([answers_once, begins_and_waits, answers])

    async def program(client: HttpClient) -> None:
        first, _ = started(client)
        await first.over.wait()
        second, cancel = started(client)
        await until(lambda: connections.opened == 2)
        cancel()
        third, _ = started(client)
        await third.over.wait()
        assert (second.told, len(third.told)) == ([], 1)
        await until(lambda: connections.closed == 2)

    run(connections, program)


def test_cancelling_what_is_over_changes_nothing() -> None:
    connections = Connections([answers])

    async def program(client: HttpClient) -> None:
        taken, cancel = started(client)
        await taken.over.wait()
        cancel()
        other, _ = started(client)
        await other.over.wait()
        assert (len(taken.told), len(other.told), other.body) == (1, 1, b"body")

    run(connections, program)
    assert connections.opened == 1


def test_a_send_that_is_cancelled_raises_and_frees_its_connection() -> None:
    connections = Connections([begins_and_waits])

    async def program(client: HttpClient) -> None:
        task = asyncio.create_task(client.send("GET", "/", {}, b"", lambda *_: None))
        await until(lambda: connections.opened == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: connections.closed == 1)

    run(connections, program)
