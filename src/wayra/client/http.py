"""HTTP/1.1 requests over asyncio transports: connections are kept, deadlines watched, bodies handed on as they come."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol
from urllib.parse import urlsplit

from wayra.base.errors import InvalidParameter
from wayra.client.failures import RequestFailed
from wayra.client.response import UNANSWERED, Response, ResponseParser

MAX_IDLE_CONNECTIONS = 1024

END = b"\r\n\r\n"
CHUNKED = b"\r\ntransfer-encoding: chunked\r\n"

OnBody = Callable[[float, bytes], None]
Clock = Callable[[], float]
"""Seconds that never go back."""

SWEEP_S = 0.25
"""How often deadlines are looked at and what a stream holds unread is read: one timer for all requests."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Seconds: to connect, without a byte, for the whole request. max_body_bytes: of one answer."""

    connect_s: float = 10.0
    stall_s: float = 120.0
    total_s: float = 3600.0
    max_body_bytes: int = 256 * 1024**2


def overdue(what: Literal["connect", "stall", "timeout"], limits: HttpLimits, where: str = "") -> RequestFailed:
    """A limit that was passed. where: whom it was to connect to."""
    match what:
        case "connect":
            return RequestFailed("connect", f"{where} did not answer within {limits.connect_s:g} s")
        case "stall":
            return RequestFailed("stall", f"the server sent nothing for {limits.stall_s:g} s")
        case "timeout":
            return RequestFailed("timeout", f"the request took more than {limits.total_s:g} s")


def unconnected(where: str, reason: str) -> RequestFailed:
    return RequestFailed("connect", f"{where}: {reason}; is the server running?")


class Reader(Protocol):
    """Who reads an answer, some time after its bytes came."""

    def take(self, at_s: float, piece: bytes) -> None:
        """A piece of the body and when it came; cheap, errors are for `advance`."""
        ...

    def advance(self) -> None:
        """Read what was taken. Raises RequestFailed when it shows that the answer is worth nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Receiver:
    """on_body: told each piece of a body. reader: may read it later; without one, it is told at once."""

    on_body: OnBody
    reader: Reader | None = None


OnOutcome = Callable[[Response | RequestFailed], None]
OnEnd = Callable[[Response | RequestFailed, float], None]


class Connection(asyncio.Protocol):
    """One connection and the one exchange on it. Times are of the moment the event loop hands the bytes over.

    With a reader, the pieces of a chunked answer are held with their times until the one that may be its last, or the
    next sweep: what runs between two sleeps finds cold caches, so that it is kept to a few lines.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._reader: Reader | None = None
        self._held: list[tuple[float, bytes]] = []
        self._begun_s = 0.0
        self._transport: asyncio.Transport | None = None
        self._parser: ResponseParser | None = None
        self._on_end: OnOutcome | None = None
        self.last_byte_s = 0.0
        self.is_open = False
        self._is_chunked: bool | None = None  # None before an answer's first bytes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # pyright: ignore[reportAttributeAccessIssue]
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        now = self._clock()
        self.last_byte_s = now
        if self._parser is None:  # bytes nobody asked for
            self.close()
            return
        self._held.append((now, data))
        if self._reader is None or not self._can_wait(data):
            self._push_held()

    def _can_wait(self, data: bytes) -> bool:
        """Whether this piece cannot be the last: a chunked answer ends with two ends of line, whatever its trailers."""
        if self._is_chunked is None:
            head, found, data = data.partition(END)
            self._is_chunked = bool(found) and head.startswith(b"HTTP/1.1 200 ") and CHUNKED in head.lower() + b"\r\n"
            if not data:
                return self._is_chunked
        return self._is_chunked and len(data) >= 4 and not data.endswith(END)

    def _push_held(self) -> None:
        held, self._held = self._held, []
        parser = self._parser
        if parser is None:
            return
        try:
            for at_s, data in held:
                if (response := parser.push(at_s, data)) is not None:
                    self.last_byte_s = at_s
                    self._succeed(response)
                    return
        except RequestFailed as error:
            self._fail(error)
        except Exception as error:
            self._fail(RequestFailed("rubbish", f"{type(error).__name__}: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._parser is None:
            return
        self._push_held()
        if self._parser is None:  # what was held ended the answer
            return
        response = self._parser.closed()
        if response is not None:
            self._succeed(response)
        elif isinstance(exc, ssl.SSLError):
            self._fail(RequestFailed("tls", f"the encrypted connection broke: {exc}"))
        else:
            self._fail(self._parser.cut())

    def start(self, request: bytes, receiver: Receiver, max_body_bytes: int, on_end: OnOutcome) -> None:
        """Send a request. on_end is told once, later; not when it is cancelled. Both failed and cancelled, it is
        closed."""
        self._parser = ResponseParser(receiver.on_body, max_body_bytes)
        self._reader, self._is_chunked, self._on_end = receiver.reader, None, on_end
        self._begun_s = self.last_byte_s = self._clock()
        if self._transport is not None:
            self._transport.write(request)

    def cancel(self) -> None:
        self._on_end = None
        self._push_held()  # a cancelled answer is recorded as far as it came
        self._forget()
        self.close()

    def close(self) -> None:
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    def sweep(self, limits: HttpLimits) -> float:
        """Read what is held and fail what is overdue; how many seconds from now the next deadline is."""
        if self._reader is not None and self._held:
            self._push_held()
            try:
                self._reader.advance()
            except RequestFailed as error:
                self._fail(error)
        now = self._clock()
        stall_left, left = self.last_byte_s + limits.stall_s - now, self._begun_s + limits.total_s - now
        if stall_left <= 1e-3:
            self._fail(overdue("stall", limits))
        elif left <= 1e-3:
            self._fail(overdue("timeout", limits))
        return min(stall_left, left)

    def _fail(self, error: RequestFailed) -> None:
        self.close()
        self._end(error)

    def _succeed(self, response: Response) -> None:
        if not response.keep_alive:
            self.close()
        self._end(response)

    def _end(self, outcome: Response | RequestFailed) -> None:
        on_end = self._on_end
        self._forget()
        if on_end is not None:
            on_end(outcome)

    def _forget(self) -> None:
        self._parser = self._reader = self._on_end = None
        self._held.clear()


class Exchange:
    """One request under way, on a kept connection at once or on a new one when there is one."""

    def __init__(self, client: "HttpClient", request: bytes, receiver: Receiver, on_end: OnEnd) -> None:
        self._client, self._request, self._receiver, self._on_end = client, request, receiver, on_end
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._is_fresh = False
        connection = client.kept()
        if connection is None:
            self._connect()
        else:
            self._begin(connection)

    def cancel(self) -> None:
        """on_end is not told any more."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.cancel()
            self._client.free(self._connection)

    def _begin(self, connection: Connection) -> None:
        self._connection = connection
        self._client.use(connection)
        connection.start(self._request, self._receiver, self._client.limits.max_body_bytes, self._over)

    def _connect(self) -> None:
        self._is_fresh = True
        self._connecting = asyncio.get_running_loop().create_task(self._connect_and_begin())

    async def _connect_and_begin(self) -> None:
        try:
            connection = await self._client.connect()
        except RequestFailed as error:
            self._on_end(error, self._client.clock())
        else:
            self._connecting = None
            self._begin(connection)

    def _over(self, outcome: Response | RequestFailed) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        self._client.free(connection)
        is_failed = isinstance(outcome, RequestFailed)
        # A kept connection may have been closed by the server just then: nothing was answered, so ask again.
        if is_failed and not self._is_fresh and outcome.failure.message == UNANSWERED:
            self._connect()
        else:
            self._on_end(outcome, self._client.clock() if is_failed else connection.last_byte_s)


class HttpClient:
    """Requests to one server. Not for more than one event loop."""

    def __init__(
        self,
        url: str,
        limits: HttpLimits | None = None,
        *,
        verify_tls: bool = True,
        clock: Clock = time.perf_counter,
    ) -> None:
        """url: http(s)://host[:port][/path]; the path comes before that of each request. clock: of all times told.

        Raises InvalidParameter.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise InvalidParameter(f"{url[:200]!r} is no URL: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname or not url.isascii() or not url.isprintable():
            raise InvalidParameter(f"{url[:200]!r} is no URL; expected http://host:port or https://host")
        self.host = parts.hostname
        self.port = port or (443 if parts.scheme == "https" else 80)
        self.is_tls = parts.scheme == "https"
        self._path = parts.path.rstrip("/")
        host = f"[{self.host}]" if ":" in self.host else self.host
        self._host_header = host if port is None else f"{host}:{port}"
        self._tls = _tls(verify_tls) if self.is_tls else None
        self.limits = limits or HttpLimits()
        self.clock = clock
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def where(self) -> str:
        """For people."""
        return f"{self.host}:{self.port}"

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes, on_body: OnBody) -> Response:
        """One request; on_body gets each piece of the answer with its time. Raises RequestFailed."""
        done: asyncio.Future[Response | RequestFailed] = asyncio.get_running_loop().create_future()

        def over(outcome: Response | RequestFailed, _at_s: float) -> None:
            if not done.done():
                done.set_result(outcome)

        exchange = Exchange(self, self.request(method, path, headers, body), Receiver(on_body), over)
        try:
            outcome = await done
        except BaseException:
            exchange.cancel()
            raise
        if isinstance(outcome, RequestFailed):
            raise outcome
        return outcome

    def request(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
        """The bytes of a request, for `start`."""
        lines = [f"{method} {self._path}{path} HTTP/1.1", f"Host: {self._host_header}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body or method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace") + body

    def start(self, request: bytes, reader: Reader, on_end: OnEnd) -> Exchange:
        """One request whose answer `reader` takes now and reads when it likes. No task is made where a kept connection
        is free. A long answer is read on the way, a sweep at a time. on_end is told once, later: the answer and the
        time of its last byte, or why it failed and when. It must not raise."""
        return Exchange(self, request, Receiver(reader.take, reader), on_end)

    def kept(self) -> Connection | None:
        """An open connection that is free, taken from those kept."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return None

    def use(self, connection: Connection) -> None:
        """Watch its deadlines."""
        self._busy.add(connection)
        if self._sweeper is None:
            self._sweep_in(min(SWEEP_S, self.limits.stall_s, self.limits.total_s))

    def free(self, connection: Connection) -> None:
        """Keep it for the next request, when it is open."""
        self._busy.discard(connection)
        if connection.is_open and len(self._idle) < MAX_IDLE_CONNECTIONS:
            self._idle.append(connection)
        elif connection.is_open:
            connection.close()

    def _sweep_in(self, delay_s: float) -> None:
        self._sweeper = asyncio.get_running_loop().call_later(delay_s, self._sweep)

    def _sweep(self) -> None:
        if not self._busy:
            self._sweeper = None
            return
        left = [connection.sweep(self.limits) for connection in tuple(self._busy)]
        self._sweep_in(min(SWEEP_S, max(0.001, min(left))))

    async def aclose(self) -> None:
        """Close the idle connections; in the event loop they belong to."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        await asyncio.sleep(0)  # the loop's turn to let go of the sockets

    async def connect(self) -> Connection:
        """A new connection. Raises RequestFailed."""
        loop = asyncio.get_running_loop()
        where = self.where
        try:
            async with asyncio.timeout(self.limits.connect_s):
                _, connection = await loop.create_connection(
                    lambda: Connection(self.clock), self.host, self.port, ssl=self._tls
                )
        except TimeoutError as error:
            raise overdue("connect", self.limits, where) from error
        except ssl.SSLError as error:
            raise RequestFailed("tls", f"{where}: {error.reason or error}; is its certificate valid?") from error
        except OSError as error:
            raise unconnected(where, error.strerror or str(error)) from error
        except UnicodeError as error:
            raise RequestFailed("connect", f"{where} is no host name") from error
        return connection


def _tls(verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    # What Python raises where its OpenSSL has no ALPN; HTTP/1.1 is then what both sides speak anyway.
    with contextlib.suppress(NotImplementedError):
        context.set_alpn_protocols(["http/1.1"])
    return context
