"""Starts the server, keeps it going, and ends it: nobody new, everybody under way to the end, exit code 0.

A dead engine ends the process with another code, after its requests were told, so that whoever started it starts it
again.
"""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import FrameType
from typing import Any, Protocol, TypeVar, cast

from starlette.types import ASGIApp
from uvicorn import Config, Server

from wayra.base.errors import InvalidParameter
from wayra.server.app import make_app
from wayra.server.connection import MAX_HEADER_BYTES, Connection, Grants
from wayra.server.journal import Journal, Level
from wayra.server.service import Service
from wayra.server.settings import ServerSettings
from wayra.server.short_turns import ask_for_short_turns
from wayra.server.tls import Tls
from wayra.server.tls_entry import TlsEntry
from wayra.server.tracing import Tracing

EXIT_ENGINE_FAILED = 1
SWEEP_S = 1.0
SPARE_FILES = 64
"""Open files kept free for everything that is no connection."""
_LIBRARIES: Mapping[Level, int] = {
    "debug": logging.INFO, "info": logging.WARNING, "warning": logging.WARNING, "error": logging.ERROR,
}  # fmt: skip
"""What of the libraries' own lines is taken into the log."""
SWITCH_INTERVAL_S = 0.001
"""How long the event loop may keep the engine's thread from planning its next step, when both want the interpreter."""


def listen(settings: ServerSettings) -> socket.socket:
    """A listening socket. Raises InvalidParameter when the address cannot be had."""
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(address)
        except OSError:
            sock.close()
            raise
    except (OSError, UnicodeError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InvalidParameter(
            f"cannot listen on {settings.host}:{settings.port} ({why}); choose another --port or --host"
        ) from error
    return sock


def url_of(sock: socket.socket, scheme: str) -> str:
    """Where clients of this machine find it. scheme: "http" or "https"."""
    host, port = sock.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


class Served(Protocol):
    """What the server's process starts and ends. is_draining: set when nobody new is to be let in."""

    is_draining: bool

    @property
    def settings(self) -> ServerSettings: ...

    def start(self) -> None: ...

    def close(self) -> None: ...


S = TypeVar("S", bound=Served)


class WayraServer(Server):
    """uvicorn's server; a signal drains it. exit_code: of the process."""

    def __init__(
        self, config: Config, service: Served, grants: Grants, journal: Journal, on_ready: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self.exit_code = 0
        self._service = service
        self._grants = grants
        self._journal = journal
        self._sweeper: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, a second one ends at once. The base class would die of the signal in the end."""
        if self._service.is_draining:
            self.force_exit = True
        self.drain(signal.Signals(sig).name)

    def drain(self, why: str) -> None:
        """Accept nothing more; end when nothing is under way."""
        self._service.is_draining = True
        self.should_exit = True
        self._journal.say("draining", why=why, connections=len(self._grants.connections))

    def engine_died(self, error: Exception) -> None:
        """Requests under way have been told; nothing else can be done here."""
        self.exit_code = EXIT_ENGINE_FAILED
        self._journal.say("engine_failed", "error", error=f"{type(error).__name__}: {error}"[:500])
        self.drain("the engine failed")

    async def startup(self, sockets: "list[socket.socket] | None" = None) -> None:
        """Begin to compute and to listen."""
        self._service.start()
        self._sweeper = asyncio.create_task(self._sweep())
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: "list[socket.socket] | None" = None) -> None:
        """Wait for what is under way, as long as settings allow; then tell the rest that it is over."""
        for entering in list(self._grants.entering):
            entering.give_up()
        await super().shutdown(sockets)
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self._grants.connections):
            connection.transport.abort()
        await asyncio.sleep(0)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self._grants.check_stalls(time.monotonic(), self._service.settings.stall_s)
            if self._grants.tls is not None:
                self._refresh(self._grants.tls)

    def _refresh(self, tls: Tls) -> None:
        try:
            if tls.refresh():
                self._journal.say("certificate_changed")
        except InvalidParameter as error:
            self._journal.say("certificate_unusable", "error", error=str(error))


def serve(
    load: Callable[[Callable[[Exception], None]], Service],
    settings: ServerSettings,
    journal: Journal,
    on_ready: Callable[[Service, str], None],
    tracing: Tracing | None = None,
) -> int:
    """Serve models until a signal or the end of an engine; the exit code. As `serve_app`."""
    return serve_app(load, make_app, settings, journal, on_ready, tracing)


def serve_app(
    load: Callable[[Callable[[Exception], None]], S],
    app_of: Callable[[S, Journal, Tracing | None], ASGIApp],
    settings: ServerSettings,
    journal: Journal,
    on_ready: Callable[[S, str], None],
    tracing: Tracing | None = None,
) -> int:
    """Serve until a signal or the end of an engine; the exit code.

    load: makes the service, given whom to tell of an engine's death; called when the address is secured.
    on_ready: told the URL when requests are accepted. tracing: closed in the end.
    Raises InvalidParameter and whatever `load` raises.
    """
    tls = None if settings.tls is None else Tls(settings.tls)
    sock = listen(settings)
    server: list[WayraServer] = []

    def died(error: Exception) -> None:
        server[0].engine_died(error)

    try:
        service = load(died)
    except BaseException:
        sock.close()
        raise
    grants = Grants(_max_connections(settings), settings.header_s, settings.max_body_bytes, tls)
    config = _config(app_of(service, journal, tracing), settings, grants)
    url = url_of(sock, "http" if tls is None else "https")
    server.append(WayraServer(config, service, grants, journal, lambda: on_ready(service, url)))
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    ask_for_short_turns()
    # What is loaded now stays: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    try:
        with _logged(journal):
            asyncio.run(server[0].serve([sock]))
    finally:
        service.close()
        if tracing is not None:
            tracing.close()
        journal.say("stopped", exit_code=server[0].exit_code)
        journal.close()
    return server[0].exit_code


def _config(app: ASGIApp, settings: ServerSettings, grants: Grants) -> Config:
    return Config(
        app,
        loop="asyncio",
        http=cast(type[asyncio.Protocol], partial(_new_connection, grants=grants)),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        interface="asgi3",
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=settings.drain_s,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
    )


def _new_connection(*, grants: Grants, **of_uvicorn: Any) -> asyncio.Protocol:
    connection = Connection(**of_uvicorn, grants=grants)
    return connection if grants.tls is None else TlsEntry(connection, grants.tls)


def _max_connections(settings: ServerSettings) -> int:
    """As many as the settings and the system's limit on open files allow, after raising that as far as possible."""
    try:
        import resource
    except ImportError:  # not a POSIX system
        return settings.max_connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.max_connections + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
        return max(1, min(settings.max_connections, soft - SPARE_FILES))
    return settings.max_connections


class _JournalHandler(logging.Handler):
    """Hands what libraries log to the journal."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(_LIBRARIES[journal.level])
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        facts: dict[str, object] = {"logger": record.name, "message": record.getMessage()[:2000]}
        if record.exc_info is not None and record.exc_info[1] is not None:
            facts["traceback"] = "".join(traceback.format_exception(record.exc_info[1]))[-8000:]
        self._journal.say("library", _level_of(record), **facts)


def _level_of(record: logging.LogRecord) -> Level:
    if record.levelno >= logging.ERROR:
        return "error"
    if record.levelno >= logging.WARNING:
        return "warning"
    return "info" if record.levelno >= logging.INFO else "debug"


@contextlib.contextmanager
def _logged(journal: Journal) -> Iterator[None]:
    handler = _JournalHandler(journal)
    uvicorn_log = logging.getLogger("uvicorn.error")
    level = uvicorn_log.level
    # Its warnings are about malformed requests, which anybody can send as many of as they like.
    uvicorn_log.setLevel(logging.ERROR)
    root = logging.getLogger()
    root_level = root.level
    root.setLevel(min(root_level, handler.level))
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(root_level)
        uvicorn_log.setLevel(level)
