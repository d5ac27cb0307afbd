"""The native load loop and asyncio make the same records of the same bytes, good and bad; neither waits for ever."""

import asyncio
import contextlib
import itertools
import random
import socket
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from stepped_server import HEAD, event, last, token
from transports import NO_NATIVE, both_transports

from wayra.client import HttpLimits
from wayra.lab.latency import RequestRecord
from wayra.lab.load import native
from wayra.lab.targets import Ask, OpenAITarget, OpenAITargetSettings
from wayra.lab.targets.api import Question, Reply, Unread
from wayra.lab.targets.native_exchanges import NativeExchanges, Server, native_clock
from wayra.lab.traffic import Arrivals, Stage, drive

LIMITS = HttpLimits(connect_s=5, stall_s=0.3, total_s=10)
PATIENT = HttpLimits(connect_s=5, stall_s=3600, total_s=3600)
LONGEST_S = 30.0
"""Of a test: far more than it takes, far less than the patient limits."""
GOOD = b"".join([event(token("one ")), event(token("two")), *map(event, last(2))])
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
WHOLE = CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(GOOD), GOOD)


@dataclass(frozen=True)
class Answers:
    """What is written to each question in turn, in which pieces; then the connection is closed, or kept silent."""

    pieces: Sequence[Sequence[bytes]]
    closes: bool = True


@contextlib.asynccontextmanager
async def raw_server(answers: Answers) -> AsyncIterator[int]:
    """Its port."""
    left = iter(answers.pieces)
    is_over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
            for piece in next(left):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if not answers.closes:
                await is_over.wait()
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        is_over.set()
        listener.close()
        await asyncio.sleep(0)


def records(
    transport: Any, answers: Answers, limits: HttpLimits = LIMITS, max_s: float | None = None
) -> list[RequestRecord]:
    """One after the other."""
    found: list[RequestRecord] = []

    async def main() -> None:
        async with raw_server(answers) as port:
            how = OpenAITargetSettings("fake", limits=limits, transport=transport)
            target = OpenAITarget(f"http://127.0.0.1:{port}", how)
            count = range(len(answers.pieces))
            stage = Stage("s", Arrivals("closed"), count, lambda _: (Ask("hello", 8), None), max_s=max_s)
            try:
                await asyncio.wait_for(drive(target, stage, found.append), LONGEST_S)
            finally:
                await target.aclose()

    asyncio.run(main())
    return sorted(found, key=lambda record: record.key)


def mutated(drawn: random.Random) -> bytes:
    """A good answer with a few bytes changed, dropped, doubled or cut off."""
    text = bytearray(WHOLE)
    for _ in range(drawn.randrange(4)):
        at = drawn.randrange(len(text))
        match drawn.randrange(4):
            case 0:
                text[at] = drawn.choice(b'\r\n:;0aZ \x00\xff{}"')
            case 1:
                del text[at : at + drawn.randrange(1, 9)]
            case 2:
                text[at:at] = text[at : at + drawn.randrange(1, 9)]
            case _:
                del text[max(20, at) :]
    return bytes(text)


def pieces(text: bytes, drawn: random.Random) -> list[bytes]:
    edges = sorted({0, len(text), *(drawn.randrange(len(text) + 1) for _ in range(drawn.randrange(6)))})
    return [text[begin:end] for begin, end in itertools.pairwise(edges)]


def told(record: RequestRecord) -> tuple[object, ...]:
    """All but times, and the words of a failure, which say as much of what was sent as had come."""
    kind = record.failure and (record.failure.kind, record.failure.http_status)
    return record.status, kind, record.text, record.event_chars, record.completion_tokens, record.finish_reason


@NO_NATIVE
def test_mutated_answers_make_the_same_records_on_both() -> None:
    drawn = random.Random(7)
    texts = [WHOLE, *(mutated(drawn) for _ in range(250))]
    answers = Answers([pieces(text, drawn) for text in texts])
    ours, theirs = records("auto", answers), records("asyncio", answers)
    kinds = {one.failure.kind for one in ours if one.failure is not None}
    assert {"cut", "protocol", "rubbish"} <= kinds
    assert [told(one) for one in ours] == [told(one) for one in theirs]


@both_transports
@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000, "too_large"),
        (HEAD + b"Content-Length: 12x\r\n\r\n", "protocol"),
        (HEAD + b"Content-Length: 99\r\n\r\ndata: ", "cut"),
        (CHUNKED + b"5" * 2000, "protocol"),
        (CHUNKED + b"-1\r\n", "protocol"),
        (CHUNKED + b"ffffffff\r\n", "protocol"),
        (CHUNKED + b"0\r\n" + b"t" * 2000, "protocol"),
        (HEAD + b"\r\n" + GOOD * 300, "too_large"),
        (b"HTTP/1.1 429 No\r\nRetry-After: 3\r\nContent-Length: 2\r\n\r\n{}", "rate_limited"),
        (b"HTTP/1.1 204 Nothing\r\n\r\n", "server"),
        (b"HTTP/2 200 OK\r\n\r\n", "protocol"),
    ],
    ids=["endless head", "bad length", "short body", "endless length", "negative", "huge chunk", "endless trailer",
         "large body", "429", "204", "HTTP/2"],
)  # fmt: skip
def test_bad_answers_have_their_names(transport: str, text: bytes, kind: str) -> None:
    (record,) = records(transport, Answers([[text]]), HttpLimits(5, 5, 5, max_body_bytes=50_000))
    assert record.failure is not None
    assert (record.status, record.failure.kind) == ("failed", kind)


@both_transports
@pytest.mark.parametrize("text", [b"HTTP/1.1 200", CHUNKED, CHUNKED + b"9"], ids=["head", "body", "chunk"])
def test_a_server_that_falls_silent_has_stalled(transport: str, text: bytes) -> None:
    (record,) = records(transport, Answers([[text]], closes=False))
    assert record.failure is not None
    assert (record.failure.kind, record.failure.message) == ("stall", "the server sent nothing for 0.3 s")


@both_transports
def test_a_request_that_takes_too_long_in_all_has_timed_out(transport: str) -> None:
    (record,) = records(transport, Answers([[CHUNKED]], closes=False), HttpLimits(5, 5, 0.3))
    assert record.failure is not None
    assert (record.failure.kind, record.failure.message) == ("timeout", "the request took more than 0.3 s")


@both_transports
def test_a_long_answer_is_read_on_the_way_and_is_whole(transport: str) -> None:
    """Larger than the native loop holds: it comes in parts."""
    words = [f"word{n:06d} " for n in range(12_000)]
    body = b"".join([*(event(token(word)) for word in words), *map(event, last(len(words)))])
    sizes = [body[at : at + 50_000] for at in range(0, len(body), 50_000)]
    answer = [CHUNKED, *(b"%x\r\n%b\r\n" % (len(one), one) for one in sizes), b"0\r\n\r\n"]
    (record,) = records(transport, Answers([answer]))
    assert (record.status, record.text, len(record.event_s)) == ("ok", "".join(words), len(words))
    assert record.event_s == sorted(record.event_s)


@both_transports
@pytest.mark.parametrize("size", [1, 9_000], ids=["short", "long"])
def test_an_answer_that_is_wrong_already_is_not_waited_for(transport: str, size: int) -> None:
    """The server says an error and then nothing more, and the limits are an hour."""
    body = event(token("good ")) * size + event({"error": {"message": "out of memory"}})
    (record,) = records(transport, Answers([[CHUNKED, b"%x\r\n%b\r\n" % (len(body), body)]], closes=False), PATIENT)
    assert record.failure is not None
    assert (record.status, record.failure.kind, len(record.event_s)) == ("failed", "server", size)


@both_transports
def test_what_came_of_a_cancelled_answer_is_kept(transport: str) -> None:
    body = event(token("good "))
    answers = Answers([[CHUNKED, b"%x\r\n%b\r\n" % (len(body), body)], [WHOLE]], closes=False)
    (record,) = records(transport, answers, PATIENT, max_s=0.3)
    assert (record.status, record.failure, record.text) == ("cancelled", None, "good ")


@both_transports
def test_a_request_due_in_an_age_is_waited_for_and_not_sent(transport: Any) -> None:
    """Its time in nanoseconds is beyond 64 bits."""
    found: list[RequestRecord] = []

    async def main() -> None:
        async with raw_server(Answers([[WHOLE]])) as port:
            how = OpenAITargetSettings("fake", limits=LIMITS, transport=transport)
            target = OpenAITarget(f"http://127.0.0.1:{port}", how)
            times = Arrivals("trace", times_s=(0.0, 1e13))
            stage = Stage("s", times, range(2), lambda _: (Ask("hello", 8), None), max_s=0.3)
            try:
                await asyncio.wait_for(drive(target, stage, found.append), LONGEST_S)
            finally:
                await target.aclose()

    asyncio.run(main())
    assert [(record.key, record.status) for record in found] == [("s/000000", "ok")]


@both_transports
def test_a_kept_connection_that_the_server_closed_is_no_failure(transport: str) -> None:
    (first, second) = records(transport, Answers([[WHOLE], [WHOLE]]))
    assert [first.status, second.status] == ["ok", "ok"]


def test_who_sends_is_told() -> None:
    def told(url: str, **settings: Any) -> object:
        return OpenAITarget(url, OpenAITargetSettings("fake", **settings)).describe()["transport"]

    here = "asyncio" if native is None else "native"
    assert told("http://127.0.0.1:1") == here
    assert told("http://127.0.0.1:1", transport="asyncio") == "asyncio"
    assert told("https://127.0.0.1:1") == "asyncio"


async def asked_at(addresses: Sequence[tuple[str, int, int]], why_none: str = "") -> Reply:
    clock = native_clock(time.perf_counter)
    assert clock is not None
    exchanges = NativeExchanges(Server("nowhere:80", addresses, why_none), LIMITS, 1, clock)
    exchanges.submit([Question(0, b"GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n")], is_all=True)
    ended: list[tuple[int, Unread]] = []
    while not ended:
        await asyncio.sleep(0.001)
        ended = exchanges.take()
    exchanges.stop()
    ((_, answer),) = ended
    return answer.read()


@NO_NATIVE
def test_a_name_without_an_address_is_told_as_the_system_tells_it() -> None:
    reply = asyncio.run(asked_at((), "Name or service not known"))
    assert reply.failure is not None
    assert reply.failure.kind == "connect"
    assert reply.failure.message == "nowhere:80: Name or service not known; is the server running?"


@NO_NATIVE
def test_the_second_address_is_tried_when_nobody_answers_at_the_first() -> None:
    async def main() -> Reply:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))  # and does not listen
            async with raw_server(Answers([[WHOLE]])) as port:
                return await asked_at([("127.0.0.1", nobody.getsockname()[1], 0), ("127.0.0.1", port, 0)])

    reply = asyncio.run(main())
    assert (reply.status, reply.text) == ("ok", "one two")
