"""One client's connection: uvicorn's h11 protocol with deadlines, limits, and a short way for streamed bytes.

Routes find it with `connection_of`. Streamed bytes go straight to the transport, framed here: through ASGI each token
would cost a coroutine, a task switch and two state machines.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Any, Protocol, cast

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from wayra.server.errors import ApiError, openai_shape
from wayra.server.parser import LEAST_MEAN_CHUNK_BYTES, Parser
from wayra.server.tls import Tls

MAX_HEADER_BYTES = 64 << 10
GOODBYE_S = 1.0
"""How long a client may keep a closed connection of which it has got everything: over TLS it should say goodbye too."""
MAX_UNSENT_BYTES = 1 << 20
"""Beyond what the system buffers. A client that far behind its own answer is given up."""


class Connection(H11Protocol):
    """A connection and what the server grants it."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        grants: "Grants",
    ) -> None:
        self.grants = grants
        self.is_lost = False
        super().__init__(config, server_state, {"connection": self}, _loop)
        self.conn: Parser = Parser(config.h11_max_incomplete_event_size or MAX_HEADER_BYTES)
        self._header_timer: asyncio.TimerHandle | None = None
        self._on_lost: Callable[[], None] | None = None
        self._seen = (0, False)
        self._stalled_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin, unless there are too many already."""
        super().connection_made(transport)
        self.grants.connections.add(self)
        if self.grants.is_too_full:
            transport.abort()
            return
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request under way."""
        self.is_lost = True
        self.grants.connections.discard(self)
        self._forget_headers()
        # The base class lets an error in its own state machine pass; ours must not keep the request alive.
        on_lost, self._on_lost = self._on_lost, None
        if on_lost is not None:
            on_lost()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; the first bytes of a request start the clock for its headers."""
        if self._between_requests() and self._header_timer is None:
            self._await_headers()
        super().data_received(data)
        if not self._between_requests():
            self._forget_headers()

    def handle_events(self) -> None:
        """As the base class, but that no malformed input is a traceback."""
        try:
            super().handle_events()
        except (h11.LocalProtocolError, h11.RemoteProtocolError, UnicodeDecodeError):
            self.transport.abort()
        if self.cycle is not None and not self._between_requests():
            self._forget_headers()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, has headers without end or a body in crumbs."""
        self._forget_headers()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()  # an answer is under way: nothing can be said in between
            return
        if self.conn.has_refused_chunks:
            self._refuse(
                400, f"the body comes in too many chunks; send at least {LEAST_MEAN_CHUNK_BYTES} bytes in each"
            )
            return
        received = len(self.conn.trailing_data[0])
        self._refuse(
            431 if received > MAX_HEADER_BYTES else 400, "the request is malformed or its headers are too long"
        )

    @property
    def has_unread_body(self) -> bool:
        """Whether the request under way has not been received to its end."""
        return self.cycle is not None and self.cycle.more_body

    def when_lost(self, callback: Callable[[], None]) -> None:
        """Call back when the client goes away before `release`; at once when it already has."""
        if self.is_lost:
            callback()
        else:
            self._on_lost = callback

    def release(self) -> None:
        """Forget the callback of `when_lost`."""
        self._on_lost = None

    def write_part(self, part: bytes) -> bool:
        """Send a part of a streamed body whose head ASGI has sent. False when the client is gone or hopelessly slow."""
        if self.is_lost or self.transport.is_closing():
            return False
        if self.conn.their_http_version is not None and self.conn.their_http_version < b"1.1":
            self.transport.write(part)  # the end of the connection is the end of the body
        else:
            self.transport.write(b"%x\r\n%b\r\n" % (len(part), part))
        if self.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self._give_up()
            return False
        return True

    def check_stall(self, now: float, stall_s: float) -> None:
        """Give up a client that has taken nothing of what waits for it for so long, or keeps what we have closed."""
        unsent_bytes = self.transport.get_write_buffer_size()
        seen = (unsent_bytes, self.transport.is_closing())
        if seen == (0, False) or seen != self._seen:
            self._seen, self._stalled_since = seen, now
        elif unsent_bytes and now - self._stalled_since >= stall_s:
            self._give_up()
        elif not unsent_bytes and now - self._stalled_since >= GOODBYE_S:
            self.transport.abort()  # no reset: the client may still be reading what the system has of it

    def _give_up(self) -> None:
        # A plain close would leave megabytes in the system's buffers until the client takes them, which it does not.
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _await_headers(self) -> None:
        self._header_timer = self.loop.call_later(self.grants.header_s, self._headers_late)

    def _forget_headers(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _headers_late(self) -> None:
        self._header_timer = None
        if self.transport.is_closing() or not self._between_requests():
            return
        if self.conn.our_state is h11.IDLE and self.conn.trailing_data[0]:
            self._refuse(408, f"the headers took more than {self.grants.header_s:g} s")
        else:
            self.transport.close()

    def _refuse(self, status: int, message: str) -> None:
        body = openai_shape(ApiError(status, message))
        head = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        for event in (h11.Response(status_code=status, headers=head), h11.Data(data=body), h11.EndOfMessage()):
            output = self.conn.send(event)
            if output:
                self.transport.write(output)
        self.transport.close()


class Entering(Protocol):
    """A client that is not a connection yet."""

    def give_up(self) -> None: ...


class Grants:
    """What all connections share: who they are, and how much they may take.

    entering: in the middle of a handshake. tls: None where nothing is encrypted.
    """

    def __init__(self, max_connections: int, header_s: float, max_body_bytes: int, tls: Tls | None = None) -> None:
        self.connections: set[Connection] = set()
        self.tls = tls
        self.entering: set[Entering] = set()
        self.max_connections = max_connections
        self.header_s = header_s
        self.body_bytes = 0
        self.max_body_bytes = max_body_bytes
        self.max_all_body_bytes = 16 * max_body_bytes

    @property
    def is_full(self) -> bool:
        return len(self.connections) + len(self.entering) >= self.max_connections

    @property
    def is_too_full(self) -> bool:
        return len(self.connections) + len(self.entering) > self.max_connections

    def check_stalls(self, now: float, stall_s: float) -> None:
        """Give up clients that take nothing."""
        for connection in list(self.connections):
            connection.check_stall(now, stall_s)


def connection_of(scope: Any) -> Connection:
    """The connection a request came by."""
    return cast(Connection, scope["state"]["connection"])
