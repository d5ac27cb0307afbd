"""What every request meets first: its id, the host it asks for, the web page it comes from, its key; and the log line.

Pure ASGI around the router. Everything is refused here that is not known to be allowed, by the path as it was sent.
"""

import hashlib
import hmac
import ipaddress
import re
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wayra.engine.request import SamplingParams, Share
from wayra.server.calls import Caller
from wayra.server.connection import connection_of
from wayra.server.errors import ANTHROPIC_PATH, ApiError, ClientLeft, as_api_error, error_response
from wayra.server.journal import Journal
from wayra.server.keys import ApiKey
from wayra.server.settings import ServerSettings
from wayra.server.tracing import Tracing

OPEN_PATHS = frozenset({b"/", b"/plan", b"/health", b"/ready"})
"""Answered without a key: whether the server lives, and the pages, which ask for it themselves and hold nothing."""
HTTP_VERSIONS = frozenset({"1.0", "1.1"})
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
USUAL_HEADERS = b"authorization, content-type, x-api-key, x-request-id"
READABLE_HEADERS = b"x-request-id, request-id, retry-after, retry-after-ms"
"""Of an answer, by pages of other origins."""
_HEADER_NAMES = re.compile(rb"[A-Za-z0-9_-]{1,64}( *, *[A-Za-z0-9_-]{1,64}){0,63}")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class Keys:
    """Digests of the API keys, so that comparing takes the same time whatever is sent."""

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self._keys = tuple(keys)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def find(self, given: bytes) -> ApiKey | None:
        """None when it is none of ours."""
        digest = hashlib.sha256(given).digest()
        # All are compared, so that time does not tell which one it was.
        matches = [known for known in self._keys if hmac.compare_digest(known.digest, digest)]
        return matches[0] if matches else None


class Door:
    """An ASGI application around another."""

    def __init__(
        self, app: ASGIApp, settings: ServerSettings, journal: Journal, tracing: Tracing | None = None
    ) -> None:
        self._app = app
        self._keys = Keys(settings.api_keys)
        self._journal = journal
        self._tracing = tracing
        self._origins = {origin.lower().encode() for origin in settings.cors_origins}
        self._hosts = {name.lower() for name in settings.allowed_hosts} | LOOPBACK_NAMES | {settings.host.lower()}
        # With a key, a page that points its own name at this server can still not use it.
        self._any_host = bool(settings.api_keys) and not settings.allowed_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        visit = Visit(scope)
        origin: bytes | None = None

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                message["headers"] = [*message.get("headers", []), *visit.headers(origin)]
            await send(message)

        try:
            _check_version(scope)
            self._check_host(visit)
            origin = self._allowed_origin(visit)
            if origin is not None and scope["method"] == "OPTIONS":
                await _preflight(visit, answer)
                return
            visit.caller = self._caller(visit)
            if visit.caller.share.name:
                visit.facts["key"] = visit.caller.share.name
            scope["state"]["visit"] = visit
            await self._app(scope, receive, answer)
        except Exception as error:
            await self._answer_error(visit, error, receive, answer)
        finally:
            visit.end()
            if self._tracing is not None and (trace_id := self._tracing.visited(visit)) is not None:
                visit.facts["trace_id"] = trace_id
            self._journal.visited(visit)

    async def _answer_error(self, visit: "Visit", error: Exception, receive: Receive, send: Send) -> None:
        if isinstance(error, ClientDisconnect | ClientLeft):
            return
        if isinstance(error, HTTPException):
            known: ApiError | None = _named(error, visit)
        else:
            known = as_api_error(error)
        if known is None:
            self._journal.failed(visit, error)
            known = ApiError(500, f"the server failed on request {visit.request_id}; its log says why")
        if visit.status == 0:
            visit.error = known.message
            await error_response(known, visit.path)(visit.scope, receive, send)

    def _check_host(self, visit: "Visit") -> None:
        hosts = visit.header(b"host")
        if len(hosts) != 1:
            raise ApiError(400, "a request needs exactly one Host header")
        name = _host_name(hosts[0].decode("latin-1"))
        if not self._any_host and name not in self._hosts:
            raise ApiError(
                421, f"the Host {name!r:.120} is not one of this server's; start it with --allowed-host {name:.120}"
            )

    def _allowed_origin(self, visit: "Visit") -> bytes | None:
        """The origin whose pages may read the answer; None for programs and this server's own pages."""
        origins = visit.header(b"origin")
        if not origins:
            return None
        origin = origins[0].lower()
        own = f"{visit.scope['scheme']}://".encode() + visit.header(b"host")[0].lower()
        if origin == own:
            return None
        if origin not in self._origins:
            raise ApiError(
                403, "web pages of that origin may not use this server; start it with --cors-origin to allow"
            )
        return origin

    def _caller(self, visit: "Visit") -> Caller:
        if not self._keys:
            return Caller(visit.request_id)
        key = self._keys.find(_given_key(visit))
        if key is None and visit.scope["raw_path"] not in OPEN_PATHS:
            raise ApiError(
                401, "the API key is missing or wrong; send it as 'Authorization: Bearer KEY' or 'X-Api-Key: KEY'",
                code="invalid_api_key", headers={"www-authenticate": "Bearer"},
            )  # fmt: skip
        return Caller(visit.request_id, Share() if key is None else Share(key.name, key.weight))


class Visit:
    """One request, for the log and the headers of its answer. Filled in as it goes."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        given = self.header(b"x-request-id")
        valid = len(given) == 1 and _REQUEST_ID.fullmatch(given[0])
        self.request_id = given[0].decode() if valid else f"req-{secrets.token_hex(12)}"
        self.began = time.perf_counter()
        self.caller: Caller | None = None
        self.status = 0
        self.error: str | None = None
        self.facts: dict[str, object] = {}
        self.params: SamplingParams | None = None
        self.endings: list[Callable[[], None]] = []

    def end(self) -> None:
        """The request has been answered, or given up."""
        for ending in self.endings:
            ending()
        self.endings.clear()

    def header(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.scope["headers"] if key == name]

    def headers(self, origin: bytes | None) -> list[tuple[bytes, bytes]]:
        """What every answer carries."""
        request_id = self.request_id.encode()
        headers = [(b"x-request-id", request_id), (b"x-content-type-options", b"nosniff")]
        if self.path.startswith(ANTHROPIC_PATH):
            headers.append((b"request-id", request_id))  # where that API's clients look for it
        if origin is not None:
            headers += [(b"access-control-allow-origin", origin), (b"vary", b"Origin")]
            headers.append((b"access-control-expose-headers", READABLE_HEADERS))
        if connection_of(self.scope).has_unread_body:
            # What still comes is not wanted, and reading it to the end could take forever.
            headers.append((b"connection", b"close"))
        return headers


def caller_of(scope: Any) -> Caller:
    """Who sent a request that came through the door."""
    caller: Caller | None = scope["state"]["visit"].caller
    if caller is None:
        raise RuntimeError("a request got past the door without a caller")
    return caller


def when_done(scope: Any, callback: Callable[[], None]) -> None:
    """Call back when the request has been answered, or given up."""
    scope["state"]["visit"].endings.append(callback)


def note(scope: Any, **facts: object) -> None:
    """Add to the request's line in the log."""
    scope["state"]["visit"].facts.update(facts)


def note_params(scope: Any, params: SamplingParams) -> None:
    """What was asked for, to be told of in the request's trace."""
    scope["state"]["visit"].params = params


def _check_version(scope: Scope) -> None:
    # The parser takes any digits for a version; what such a client would make of an answer is unknown.
    version = scope["http_version"]
    if version not in HTTP_VERSIONS:
        raise ApiError(505, f"HTTP/{version} is not spoken here; expected HTTP/1.1 or HTTP/1.0")


async def _preflight(visit: "Visit", send: Send) -> None:
    # The page is trusted, and clients send headers of their own making (x-stainless-os, anthropic-version).
    asked = visit.header(b"access-control-request-headers")
    fits = len(asked) == 1 and _HEADER_NAMES.fullmatch(asked[0])
    headers = [
        (b"access-control-allow-methods", b"GET, POST"),
        (b"access-control-allow-headers", asked[0] if fits else USUAL_HEADERS),
        (b"access-control-max-age", b"600"),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _given_key(visit: Visit) -> bytes:
    """The key of a request; nothing when it carries several."""
    bearers = [value for value in visit.header(b"authorization") if value[:7].lower() == b"bearer "]
    given = [value[7:].strip() for value in bearers] + visit.header(b"x-api-key")
    return given[0] if len(set(given)) == 1 else b""


def _host_name(host: str) -> str:
    """The name in a Host header, without port and brackets, lower case."""
    name = re.sub(r":\d*$", "", host.strip()).lower()
    if name.startswith("[") and name.endswith("]"):
        try:
            return str(ipaddress.IPv6Address(name[1:-1]))
        except ValueError:
            return name
    return name.removesuffix(".")


def _named(error: HTTPException, visit: Visit) -> ApiError:
    method = visit.scope["method"]
    if error.status_code == 404:
        return ApiError(404, f"there is no {visit.path!r:.200} here", code="unknown_url")
    if error.status_code == 405:
        return ApiError(405, f"{visit.path:.200} does not take {method:.20}", headers=error.headers or {})
    return ApiError(error.status_code, str(error.detail))
