"""What the server may do and hold: one frozen dataclass, validated when made."""

import ipaddress
import re
from dataclasses import dataclass

from wayra.base.errors import InvalidParameter
from wayra.server.keys import ApiKey
from wayra.server.tls import TlsFiles

DEFAULT_PORT = 8000
_ORIGIN = re.compile(r"https?://[^/\s]+")


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """host, port: where to listen; port 0 takes a free one.

    api_keys: any of them opens every route; without one only this machine may be listened on.
    allowed_hosts: names clients may use for this server beside its own (Host header).
    cors_origins: web origins whose pages may call the API; none by default.
    max_waiting: requests that may wait beside those computed; more get 429.
    max_body_bytes: of one request; all bodies under way may take 16 times as much.
    max_connections: more are closed at once.
    header_s, body_s, stall_s: how long a client may take for its headers, for its body, and to accept what is sent.
    keep_alive_s: how long an idle connection stays open. health_s: how long the step of a health check may take.
    drain_s: how long requests under way may go on after SIGTERM.
    tls: serve over TLS alone. With a client CA in it others than this machine may connect without an API key.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    api_keys: tuple[ApiKey, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    max_waiting: int = 256
    max_body_bytes: int = 4 << 20
    max_connections: int = 4096
    header_s: float = 10.0
    body_s: float = 60.0
    stall_s: float = 30.0
    keep_alive_s: int = 30
    health_s: float = 10.0
    drain_s: int = 60
    tls: TlsFiles | None = None

    def __post_init__(self) -> None:
        _in_range("port", self.port, 0, 65535)
        _in_range("max_waiting", self.max_waiting, 0, 1 << 20)
        _in_range("max_body_bytes", self.max_body_bytes, 1 << 10, 1 << 30)
        _in_range("max_connections", self.max_connections, 1, 1 << 20)
        for name in ("header_s", "body_s", "stall_s", "health_s"):
            _in_range(name, getattr(self, name), 0.1, 86_400)
        for name in ("keep_alive_s", "drain_s"):
            _in_range(name, getattr(self, name), 0, 86_400)
        for origin in self.cors_origins:
            if not _ORIGIN.fullmatch(origin):
                raise InvalidParameter(f"the origin {origin!r:.80} is none; write scheme://host[:port], no path, no *")
        checks_clients = bool(self.api_keys) or (self.tls is not None and self.tls.client_ca is not None)
        if not checks_clients and not self.is_loopback:
            raise InvalidParameter(
                f"host {self.host!r} can be reached from other machines, and there is no API key; "
                "pass --api-key-file (or --api-key, or --tls-client-ca), or listen on 127.0.0.1"
            )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def _in_range(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise InvalidParameter(f"{name} is {value!r}, expected {least:g} to {most:,.0f}")
