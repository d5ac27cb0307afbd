"""One HTTP/1.1 response out of bytes that may be cut anywhere: head, then a body by length, by chunks or to the end."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from wayra.client.failures import RequestFailed

MAX_HEAD_BYTES = 64 * 1024
MAX_CHUNK_LINE_BYTES = 1024
MAX_CHUNK_BYTES = 1 << 31
UNANSWERED = "the server closed the connection without an answer"

Misread = Literal[
    "head_too_large", "not_http", "not_http_1", "bad_length", "no_chunk_length", "bad_chunk_length", "no_end",
    "body_too_large",
]  # fmt: skip
Cut = Literal["unanswered", "cut_head", "cut_body"]


def misread(how: Misread, seen: bytes = b"", max_body_bytes: int = 0) -> RequestFailed:
    """Why bytes are no answer. seen: what they were, where that is told."""
    match how:
        case "head_too_large":
            return RequestFailed("too_large", f"the head of the answer has more than {MAX_HEAD_BYTES:,} bytes")
        case "not_http":
            return RequestFailed("protocol", f"the answer is not HTTP: it begins with {seen[:40]!r}")
        case "not_http_1":
            return RequestFailed("protocol", f"the answer is not HTTP/1.1: it begins with {seen[:40]!r}")
        case "bad_length":
            return RequestFailed("protocol", f"the answer's length is {seen[:40].decode('latin-1')!r}")
        case "no_chunk_length":
            return RequestFailed("protocol", "a chunk of the answer does not say its length")
        case "bad_chunk_length":
            return RequestFailed("protocol", f"a chunk of the answer has the length {seen[:40]!r}")
        case "no_end":
            return RequestFailed("protocol", "the answer does not end")
        case "body_too_large":
            return RequestFailed("too_large", f"the answer has more than {max_body_bytes:,} bytes")


def cut(where: Cut) -> RequestFailed:
    """The connection was closed before the end of an answer."""
    match where:
        case "unanswered":
            return RequestFailed("cut", UNANSWERED)
        case "cut_head":
            return RequestFailed("cut", "the server closed the connection in the head of its answer")
        case "cut_body":
            return RequestFailed("cut", "the server closed the connection in the middle of its answer")


@dataclass(frozen=True, slots=True)
class Response:
    """headers: names in lower case, the last of several. head_s: when the head was whole."""

    status: int
    headers: dict[str, str]
    head_s: float
    keep_alive: bool


class ResponseParser:
    """Push bytes; body pieces go to `on_body(at_s, piece)`; `push` returns the response when it is whole."""

    def __init__(self, on_body: Callable[[float, bytes], None], max_body_bytes: int) -> None:
        self._on_body = on_body
        self._left_of_limit = max_body_bytes
        self._max_body_bytes = max_body_bytes
        self._rest = b""
        self._response: Response | None = None
        self._mode = "head"
        self._wanted = 0  # bytes left of the body or of the chunk

    def push(self, at_s: float, data: bytes) -> Response | None:
        """Raises RequestFailed when it is not HTTP or too large."""
        data = self._rest + data if self._rest else data
        self._rest = b""
        if self._mode == "head":
            head, found, data = data.partition(b"\r\n\r\n")
            if len(head) > MAX_HEAD_BYTES:
                raise misread("head_too_large")
            if not found:
                if head and not b"HTTP/1.".startswith(head[:7]):
                    raise misread("not_http", head)
                self._rest = head
                return None
            self._response = self._read_head(at_s, head)
            if self._response.status in (204, 304):
                return self._response
        if self._mode == "chunks":
            return self._push_chunks(at_s, data)
        if self._mode == "trailers":
            return self._push_trailers(data)
        if self._mode == "length":
            piece, self._wanted = data[: self._wanted], max(0, self._wanted - len(data))
            self._give(at_s, piece)
            return self._response if self._wanted == 0 else None
        self._give(at_s, data)
        return None

    def closed(self) -> Response | None:
        """The response, when the end of the connection is its end."""
        return self._response if self._mode in ("until_close", "trailers") else None

    def cut(self) -> RequestFailed:
        """What it means otherwise."""
        if self._response is not None:
            return cut("cut_body")
        return cut("cut_head" if self._rest else "unanswered")

    def _read_head(self, at_s: float, head: bytes) -> Response:
        first, *lines = head.split(b"\r\n")
        parts = first.split(b" ", 2)
        if (
            len(parts) < 2
            or parts[0] not in (b"HTTP/1.1", b"HTTP/1.0")
            or not (parts[1].isdigit() and len(parts[1]) == 3)
        ):
            raise misread("not_http_1", first)
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(b":")
            headers[name.strip().lower().decode("latin-1")] = value.strip().decode("latin-1")
        connection = headers.get("connection", "").lower()
        keep_alive = connection != "close" if parts[0] == b"HTTP/1.1" else connection == "keep-alive"
        if "chunked" in headers.get("transfer-encoding", "").lower():
            self._mode = "chunks"
        elif "content-length" in headers:
            length = headers["content-length"]
            if not (length.isascii() and length.isdigit() and len(length) < 16):
                raise misread("bad_length", length.encode("latin-1"))
            self._mode, self._wanted = "length", int(length)
        else:
            self._mode, keep_alive = "until_close", False
        return Response(int(parts[1]), headers, at_s, keep_alive)

    def _push_chunks(self, at_s: float, data: bytes) -> Response | None:
        place, total = 0, len(data)
        while place < total:
            if self._wanted:
                piece = data[place : place + self._wanted]
                place += len(piece)
                self._wanted -= len(piece)
                self._give(at_s, piece)
                continue
            end = data.find(b"\r\n", place)
            if end < 0:
                break
            if end == place:  # the end of the chunk before
                place += 2
                continue
            size = _chunk_size(data[place:end])
            place = end + 2
            if size == 0:
                self._mode = "trailers"
                return self._push_trailers(data[place:])
            if place + size <= total:
                self._give(at_s, data[place : place + size])
                place += size
            else:
                self._wanted = size
        self._rest = data[place:]
        if len(self._rest) > MAX_CHUNK_LINE_BYTES:
            raise misread("no_chunk_length")
        return None

    def _push_trailers(self, data: bytes) -> Response | None:
        """Lines after the last chunk, which nobody uses, up to an empty one."""
        while (end := data.find(b"\r\n")) > 0:
            data = data[end + 2 :]
        if end == 0:
            return self._response
        self._rest = data
        if len(data) > MAX_CHUNK_LINE_BYTES:
            raise misread("no_end")
        return None

    def _give(self, at_s: float, piece: bytes) -> None:
        if not piece:
            return
        self._left_of_limit -= len(piece)
        if self._left_of_limit < 0:
            raise misread("body_too_large", max_body_bytes=self._max_body_bytes)
        self._on_body(at_s, piece)


def _chunk_size(line: bytes) -> int:
    digits = line.partition(b";")[0].strip()
    try:
        size = int(digits, 16) if digits.isalnum() and len(digits) < 12 else -1
    except ValueError:
        size = -1
    if not 0 <= size < MAX_CHUNK_BYTES:
        raise misread("bad_chunk_length", line)
    return size
