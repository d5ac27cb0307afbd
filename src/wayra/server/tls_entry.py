"""The way in for TLS: a connection is counted and its handshake has a deadline before HTTP hears of it.

uvicorn's own TLS would hand over connections only when their handshakes are done, of which anybody could begin as many
as the system has files, and would hide how much of an answer the client has not taken.
"""

import asyncio
from typing import Any

from wayra.server.connection import Connection
from wayra.server.tls import Tls

NEVER_S = 86_400.0
"""For a client's own goodbye: a client that keeps a closed connection is given up by `Connection.check_stall`."""


class TlsEntry(asyncio.Protocol):
    """Takes a client through the handshake, then makes way for the connection given."""

    def __init__(self, connection: Connection, tls: Tls) -> None:
        self._connection = connection
        self._tls = tls
        self._grants = connection.grants
        self._task: asyncio.Task[None] | None = None
        self._raw: asyncio.Transport | None = None
        self._early = bytearray()
        self._is_lost = False
        self._has_made_way = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake, unless there are too many connections already."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError(f"TLS needs a stream, not {type(transport).__name__}")
        if self._grants.is_full:
            transport.abort()
            return
        self._raw = transport
        # Nothing may be read before the handshake's own protocol is there to read it.
        transport.pause_reading()
        self._grants.entering.add(self)
        self._task = asyncio.get_running_loop().create_task(self._enter(transport))

    def data_received(self, data: bytes) -> None:
        """Keep what came right behind the handshake: no more than one read, for this hands over in the next moment."""
        self._early += data

    def connection_lost(self, exc: Exception | None) -> None:
        """Before or while the connection was handed over."""
        self._is_lost = True
        if self._has_made_way:
            self._connection.connection_lost(exc)

    def give_up(self) -> None:
        """Close without a word."""
        if self._task is not None:
            self._task.cancel()
        if self._raw is not None:
            self._raw.abort()

    async def _enter(self, raw: asyncio.Transport) -> None:
        tls: asyncio.Transport | None = None
        try:
            if not raw.is_closing():
                tls = await asyncio.get_running_loop().start_tls(
                    raw, self, self._tls.context, server_side=True,
                    ssl_handshake_timeout=self._grants.header_s, ssl_shutdown_timeout=NEVER_S,
                )  # fmt: skip
        except OSError:  # TLS errors and deadlines too: what anybody can cause needs no words
            raw.abort()
        finally:
            self._grants.entering.discard(self)
        # None: the client left in the middle of it.
        if tls is None or self._is_lost or raw.is_closing():
            return
        self._has_made_way = True
        tls.set_protocol(self._connection)
        self._connection.connection_made(TlsTransport(tls, raw))
        if self._early:
            self._connection.data_received(bytes(self._early))
            self._early.clear()


class TlsTransport(asyncio.Transport):
    """An encrypted transport that counts what the one below it still holds, and may be closed twice."""

    def __init__(self, tls: asyncio.Transport, raw: asyncio.Transport) -> None:
        super().__init__()
        self._tls = tls
        self._raw = raw
        self._is_closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._tls.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._tls.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._tls.get_protocol()

    def is_closing(self) -> bool:
        return self._is_closed or self._tls.is_closing()

    def close(self) -> None:
        """Send what waits and say goodbye."""
        if not self._is_closed:
            self._is_closed = True
            self._tls.close()

    def abort(self) -> None:
        """Drop everything now."""
        self._is_closed = True
        self._raw.abort()

    def write(self, data: Any) -> None:
        self._tls.write(data)

    def is_reading(self) -> bool:
        return self._tls.is_reading()

    def pause_reading(self) -> None:
        self._tls.pause_reading()

    def resume_reading(self) -> None:
        self._tls.resume_reading()

    def get_write_buffer_size(self) -> int:
        """Bytes not sent yet, encrypted or not."""
        return self._raw.get_write_buffer_size() + self._tls.get_write_buffer_size()
