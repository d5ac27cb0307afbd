"""HTTP/1.1 requests over asyncio transports: connections are kept, deadlines watched, bodies handed on as they come."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from wayra.base.errors import InvalidParameter
from wayra.client.failures import RequestFailed
from wayra.client.response import UNANSWERED, Response, ResponseParser

MAX_IDLE_CONNECTIONS = 1024

OnBody = Callable[[float, bytes], None]


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Seconds: to connect, without a byte, for the whole request. max_body_bytes: of one answer."""

    connect_s: float = 10.0
    stall_s: float = 120.0
    total_s: float = 3600.0
    max_body_bytes: int = 256 * 1024**2


class Connection(asyncio.Protocol):
    """One connection and the one exchange on it. Times are of the moment the event loop hands the bytes over."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser: ResponseParser | None = None
        self._done: asyncio.Future[Response] | None = None
        self.last_byte_s = 0.0
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # pyright: ignore[reportAttributeAccessIssue]
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        self.last_byte_s = now
        if self._parser is None:  # bytes nobody asked for
            self.close()
            return
        try:
            response = self._parser.push(now, data)
        except RequestFailed as error:
            self._fail(error)
        except Exception as error:
            self._fail(RequestFailed("rubbish", f"{type(error).__name__}: {error}"))
        else:
            if response is not None:
                self._succeed(response)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._parser is None:
            return
        response = self._parser.closed()
        if response is not None:
            self._succeed(response)
        elif isinstance(exc, ssl.SSLError):
            self._fail(RequestFailed("tls", f"the encrypted connection broke: {exc}"))
        else:
            self._fail(RequestFailed("cut", self._parser.where_cut()))

    async def exchange(self, request: bytes, on_body: OnBody, limits: HttpLimits) -> Response:
        """Send a request and await the whole answer. Raises RequestFailed; then, and when cancelled, it is closed."""
        self._parser = ResponseParser(on_body, limits.max_body_bytes)
        self._done = self._loop.create_future()
        started = self.last_byte_s = time.perf_counter()
        watchdog = self._loop.call_later(limits.stall_s, self._watch, started, limits)
        self._watchdog = watchdog
        try:
            if self._transport is None or not self.is_open:
                raise RequestFailed("cut", "the server closed the connection before the request")
            self._transport.write(request)
            return await self._done
        except BaseException:
            self.close()
            raise
        finally:
            self._watchdog.cancel()
            self._parser = self._done = None

    def close(self) -> None:
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    def _watch(self, started: float, limits: HttpLimits) -> None:
        now = time.perf_counter()
        if now - self.last_byte_s >= limits.stall_s - 1e-3:
            self._fail(RequestFailed("stall", f"the server sent nothing for {limits.stall_s:g} s"))
        elif now - started >= limits.total_s - 1e-3:
            self._fail(RequestFailed("timeout", f"the request took more than {limits.total_s:g} s"))
        else:
            due = min(self.last_byte_s + limits.stall_s, started + limits.total_s)
            self._watchdog = self._loop.call_later(max(0.001, due - now), self._watch, started, limits)

    def _fail(self, error: RequestFailed) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)

    def _succeed(self, response: Response) -> None:
        if not response.keep_alive:
            self.close()
        if self._done is not None and not self._done.done():
            self._done.set_result(response)


class HttpClient:
    """Requests to one server. Not for more than one event loop."""

    def __init__(self, url: str, limits: HttpLimits | None = None, *, verify_tls: bool = True) -> None:
        """url: http(s)://host[:port][/path]; the path comes before that of each request. Raises InvalidParameter."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise InvalidParameter(f"{url[:200]!r} is no URL: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname or not url.isascii() or not url.isprintable():
            raise InvalidParameter(f"{url[:200]!r} is no URL; expected http://host:port or https://host")
        self._host = parts.hostname
        self._port = port or (443 if parts.scheme == "https" else 80)
        self._path = parts.path.rstrip("/")
        host = f"[{self._host}]" if ":" in self._host else self._host
        self._host_header = host if port is None else f"{host}:{port}"
        self._tls = _tls(verify_tls) if parts.scheme == "https" else None
        self._limits = limits or HttpLimits()
        self._idle: list[Connection] = []

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes, on_body: OnBody) -> Response:
        """One request; on_body gets each piece of the answer with its time. Raises RequestFailed."""
        lines = [f"{method} {self._path}{path} HTTP/1.1", f"Host: {self._host_header}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body or method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        request = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace") + body
        connection, is_fresh = await self._connection()
        try:
            response = await connection.exchange(request, on_body, self._limits)
        except RequestFailed as error:
            # A kept connection may have been closed by the server just then: nothing was answered, so ask again.
            if is_fresh or error.failure.kind != "cut" or error.failure.message != UNANSWERED:
                raise
            connection = await self._connect()
            response = await connection.exchange(request, on_body, self._limits)
        if connection.is_open and len(self._idle) < MAX_IDLE_CONNECTIONS:
            self._idle.append(connection)
        elif connection.is_open:
            connection.close()
        return response

    async def aclose(self) -> None:
        """Close the idle connections; in the event loop they belong to."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()
        await asyncio.sleep(0)  # the loop's turn to let go of the sockets

    async def _connection(self) -> tuple[Connection, bool]:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection, False
        return await self._connect(), True

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        where = f"{self._host}:{self._port}"
        try:
            async with asyncio.timeout(self._limits.connect_s):
                _, connection = await loop.create_connection(
                    lambda: Connection(loop), self._host, self._port, ssl=self._tls
                )
        except TimeoutError as error:
            raise RequestFailed("connect", f"{where} did not answer within {self._limits.connect_s:g} s") from error
        except ssl.SSLError as error:
            raise RequestFailed("tls", f"{where}: {error.reason or error}; is its certificate valid?") from error
        except OSError as error:
            raise RequestFailed("connect", f"{where}: {error.strerror or error}; is the server running?") from error
        except UnicodeError as error:
            raise RequestFailed("connect", f"{where} is no host name") from error
        return connection


def _tls(verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    with contextlib.suppress(NotImplementedError):
        context.set_alpn_protocols(["http/1.1"])
    return context
