"""A server and a client in one event loop, on a real socket, by a clock that only moves between two packets.

The next packet is written when the client has read the one before it, so that what the client measures is exactly what
was scripted, on any machine: no tolerance, no sleeping.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from wayra.client.http import Connection
from wayra.lab import load
from wayra.lab.targets import native_exchanges

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
DONE = "[DONE]"

Packet = tuple[float, bytes]
"""Seconds after the request was sent, and what is written then."""


class SteppedClock:
    """Says `now`, which somebody else moves; `native` is the load loop's, which says the same."""

    def __init__(self, now: float = 100.0) -> None:
        self.native = None if load.native is None else load.native.Clock()
        self.set(now)

    def set(self, now: float) -> None:
        self.now = now
        if self.native is not None:
            self.native.set_ns(round(now * 1e9))

    def __call__(self) -> float:
        return self.now


class Received:
    """How many bytes the client's connections have been handed, and the load loop has read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._in_asyncio = 0
        self._loops: list[native_exchanges.NativeExchanges] = []
        hand_over = Connection.data_received
        begin = native_exchanges.NativeExchanges.__init__

        def counted(connection: Connection, data: bytes) -> None:
            hand_over(connection, data)
            self._in_asyncio += len(data)

        def begun(exchanges: native_exchanges.NativeExchanges, *settings: Any) -> None:
            begin(exchanges, *settings)
            self._loops.append(exchanges)

        monkeypatch.setattr(Connection, "data_received", counted)
        monkeypatch.setattr(native_exchanges.NativeExchanges, "__init__", begun)

    @property
    def num_bytes(self) -> int:
        return self._in_asyncio + sum(one.received_bytes for one in self._loops)


def token(text: str, *, total: int | None = None, **delta: object) -> dict[str, object]:
    """A chunk with content. total: tokens so far, as servers with running usage tell them. delta: of a chat instead."""
    choice: dict[str, object] = {"delta": delta} if delta else {"text": text}
    usage = {} if total is None else {"usage": {"prompt_tokens": 7, "completion_tokens": total}}
    return {"choices": [{**choice, "finish_reason": None}], **usage}


def last(total: int) -> list[object]:
    """The chunks that end an answer of so many tokens."""
    usage = {"prompt_tokens": 7, "completion_tokens": total}
    return [{"choices": [{"text": "", "finish_reason": "stop"}]}, {"choices": [], "usage": usage}, DONE]


def event(content: object, line_end: str = "\n") -> bytes:
    text = content if isinstance(content, str) else json.dumps(content)
    return f"data: {text}{2 * line_end}".encode()


def framed(packets: Sequence[Packet], *, is_chunked: bool = True) -> list[Packet]:
    """Behind a head that comes with the first packet; the end comes with the last."""
    mode = b"Transfer-Encoding: chunked\r\n\r\n" if is_chunked else b"Connection: close\r\n\r\n"
    bodies = [b"%x\r\n%b\r\n" % (len(body), body) if is_chunked else body for _, body in packets]
    bodies[0] = HEAD + mode + bodies[0]
    bodies[-1] += b"0\r\n\r\n" if is_chunked else b""
    return [(at_s, body) for (at_s, _), body in zip(packets, bodies, strict=True)]


@asynccontextmanager
async def stepped_server(
    packets: Sequence[Packet], clock: SteppedClock, received: Received, *, closes: bool = False
) -> AsyncIterator[str]:
    """The URL of a server that answers every request so. closes: the connection, after the last packet."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                await reader.readexactly(int(length.split(b":")[1]))
                begun_s, written = clock.now, received.num_bytes
                for at_s, packet in packets:
                    clock.set(begun_s + at_s)
                    writer.write(packet)
                    written += len(packet)
                    while received.num_bytes < written:
                        await asyncio.sleep(0)
                if closes:
                    return
        except asyncio.IncompleteReadError:
            pass  # the client is done
        finally:
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
    finally:
        listener.close()
