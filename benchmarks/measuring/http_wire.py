"""HTTP as bytes on a socket: clients that measure, leave in the middle, or never were polite.

No client library, which would cost processor time that belongs to the server, and refuse to misbehave.
"""

import asyncio
import json
import re
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CHAT = "/v1/chat/completions"
_TEXT = re.compile(rb'"content":"[^"]')
_END = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Reply:
    """began: before connecting. head_at: when status and headers had come. Seconds by the monotonic clock."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    began: float
    head_at: float

    @property
    def head_s(self) -> float:
        return self.head_at - self.began


def request_bytes(method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> bytes:
    """A whole request on a connection of its own. bytes are sent as they are, anything else as JSON."""
    encoded = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"Host": "localhost", "Connection": "close"}
    if body is not None:
        lines |= {"Content-Type": "application/json", "Content-Length": str(len(encoded))}
    lines |= headers or {}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + encoded


async def ask(address: Address, method: str, path: str, body: object = None, limit_s: float = 300) -> Reply:
    """Raises OSError or EOFError when the connection ends before the answer, TimeoutError after limit_s."""
    async with asyncio.timeout(limit_s):
        began = time.perf_counter()
        reader, writer = await asyncio.open_connection(address.host, address.port, limit=1 << 20)
        try:
            writer.write(request_bytes(method, path, body))
            head = await reader.readuntil(b"\r\n\r\n")
            head_at = time.perf_counter()
            status, headers = parse_head(head)
            rest = await reader.read()
        finally:
            writer.close()
    return Reply(status, headers, whole_body(headers, rest), began, head_at)


def parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return int(first.split()[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}


def whole_body(headers: Mapping[str, str], rest: bytes) -> bytes:
    """The body of an answer that was read to the end. Raises EOFError when a part of it is missing."""
    if headers.get("transfer-encoding") == "chunked":
        parts: list[bytes] = []
        while True:
            size, found, rest = rest.partition(b"\r\n")
            if not found:
                raise EOFError("the answer ended in the middle")
            length = int(size, 16)
            if length == 0:
                return b"".join(parts)
            if len(rest) < length + 2:
                raise EOFError("the answer ended in the middle")
            parts.append(rest[:length])
            rest = rest[length + 2 :]
    if len(rest) < int(headers.get("content-length", 0)):
        raise EOFError("the answer ended in the middle")
    return rest


class Stream(asyncio.Protocol):
    """A request on a connection of its own whose answer is noted part by part as it comes, and read afterwards.

    first_text: done when the first piece of a chat's text has come. ended: when the connection is closed; `lost` tells
    how.
    """

    def __init__(self, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.sent = 0.0
        self.closed_at = 0.0
        self.lost: Exception | None = None
        self.parts: list[tuple[float, bytes]] = []
        self.first_text: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._request = request
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, address: Address, request: bytes) -> "Stream":
        loop = asyncio.get_running_loop()
        _, stream = await loop.create_connection(lambda: cls(request), address.host, address.port)
        return stream

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.sent = time.perf_counter()
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.parts.append((time.perf_counter(), data))
        if not self.first_text.done() and _TEXT.search(data):
            self.first_text.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed_at = time.perf_counter()
        self.lost = exc
        for future in (self.first_text, self.ended):
            if not future.done():
                future.set_result(None)

    def leave(self, with_goodbye: bool) -> None:
        """Close the connection now, by FIN or, without a goodbye, by RST."""
        assert self._transport is not None
        if not with_goodbye:
            sock: socket.socket = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    @property
    def seen(self) -> bytes:
        return b"".join(part for _, part in self.parts)

    @property
    def status(self) -> int:
        """0 when there was none."""
        seen = self.seen
        return int(seen.split(b" ", 2)[1]) if seen.startswith(b"HTTP/1.") else 0

    @property
    def is_whole(self) -> bool:
        """Whether a stream of events came to its end."""
        return _END in self.seen

    def arrivals(self) -> list[float]:
        """When parts with text came."""
        return [arrived for arrived, part in self.parts if _TEXT.search(part)]


def chat_body(text: str, max_tokens: int, **fields: Any) -> dict[str, Any]:
    """A chat of one message that goes on to max_tokens."""
    message = {"role": "user", "content": text}
    return {"messages": [message], "max_tokens": max_tokens, "temperature": 0, "ignore_eos": True, **fields}


def stream_request(text: str, max_tokens: int, **fields: Any) -> bytes:
    usage = {"stream_options": {"include_usage": True}}
    return request_bytes("POST", CHAT, chat_body(text, max_tokens, stream=True, **usage, **fields))
