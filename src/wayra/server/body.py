"""Reads a request's body within limits and decodes it into a struct; what is wrong is said by the field's name."""

import asyncio
import re
from typing import TypeVar

import msgspec
from starlette.requests import Request

from wayra.server.connection import connection_of
from wayra.server.errors import ApiError, not_supported
from wayra.server.settings import ServerSettings

T = TypeVar("T")

DISCARD_FACTOR = 8
"""Of the largest body: so much of a larger one is read and dropped, so that its client sees why it was refused."""
RETRY_SOON = {"retry-after-ms": "1000", "retry-after": "1"}
_UNKNOWN = re.compile(r"^Object contains unknown field `(.*?)`(?: - at `\$(.*)`)?$", re.DOTALL)
_PLACED = re.compile(r"^(.*) - at `(?:key in )?\$(.*)`$", re.DOTALL)
_OTHER_VALUE = re.compile(r"^Invalid (?:enum )?value (.*)$", re.DOTALL)
_NOTHING_BUT_NONE = re.compile(r"^Expected (`null`, got `\w+`|`array` of length <= 0)$")


async def read_struct(request: Request, decoder: "msgspec.json.Decoder[T]", settings: ServerSettings) -> T:
    """The body as a struct. Raises ApiError 400, 408, 413, 415 or 429, ClientDisconnect."""
    _check_kind(request)
    return await _read_struct(request, decoder, settings)


async def read_struct_of_program(request: Request, decoder: "msgspec.json.Decoder[T]", settings: ServerSettings) -> T:
    """As `read_struct`, but a program may call its JSON what it likes, or not at all, as `curl -d` does.

    A browser may not: without asking anybody first, pages of other origins may send bodies of the types of forms. The
    door refuses those by their Origin; this does not rely on it, nor on browsers too old to send one with a form.
    """
    if "origin" in request.headers or any(name.startswith("sec-fetch-") for name in request.headers):
        _check_kind(request)
    return await _read_struct(request, decoder, settings)


async def _read_struct(request: Request, decoder: "msgspec.json.Decoder[T]", settings: ServerSettings) -> T:
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise ApiError(415, "compressed bodies are not read; send it as it is")
    try:
        async with asyncio.timeout(settings.body_s):
            body = await _read(request, settings.max_body_bytes)
    except TimeoutError:
        raise ApiError(408, f"the body took more than {settings.body_s:g} s") from None
    return decode(body, decoder)


async def _read(request: Request, max_bytes: int) -> bytes:
    declared = request.headers.get("content-length", "0")
    # Not asked for yet where the client waits for a "100 Continue", and too much to be read for nothing beyond this.
    if declared.isdigit() and int(declared) > max_bytes * (1 if "expect" in request.headers else DISCARD_FACTOR):
        raise _too_large(int(declared), max_bytes)
    grants = connection_of(request.scope).grants
    seen_bytes = held_bytes = 0
    parts: list[bytes] = []
    try:
        async for part in request.stream():
            seen_bytes += len(part)
            if seen_bytes > max_bytes * DISCARD_FACTOR:
                break
            if seen_bytes > max_bytes:
                continue  # a client still sending would not read our answer
            held_bytes += len(part)
            grants.body_bytes += len(part)
            if grants.body_bytes > grants.max_all_body_bytes:
                raise ApiError(429, "too many large requests at a time; try again", headers=RETRY_SOON)
            parts.append(part)
    finally:
        grants.body_bytes -= held_bytes
    if seen_bytes > max_bytes:
        raise _too_large(seen_bytes, max_bytes)
    return b"".join(parts)


def decode(body: bytes, decoder: "msgspec.json.Decoder[T]") -> T:
    """Raises ApiError 400 naming the field at fault."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _explained(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, f"the body is not JSON: {error}"[:300]) from None
    except RecursionError:
        raise ApiError(400, "the body is nested too deeply") from None


def _check_kind(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, f"the content type is {kind or 'missing'!r:.80}, expected application/json")


def _too_large(seen_bytes: int, max_bytes: int) -> ApiError:
    return ApiError(413, f"the body has at least {seen_bytes:,} bytes, limit is {max_bytes:,}; shorten it")


def _explained(text: str) -> ApiError:
    """msgspec's sentence with the field's path before it."""
    if unknown := _UNKNOWN.match(text):
        name = _field(f"{unknown[2] or ''}.{unknown[1]}")
        return not_supported(name)
    if placed := _PLACED.match(text):
        name = _field(placed[2])
        if _NOTHING_BUT_NONE.match(placed[1]):
            return not_supported(name)
        if other := _OTHER_VALUE.match(placed[1]):
            shown = other[1].lower() if other[1] in ("True", "False") else other[1]
            return ApiError(400, f"{name} is {shown:.80}, which is not supported by this server", name)
        return ApiError(400, f"{name or 'the body'}: {_plain(placed[1])}", name or None)
    missing = re.match(r"^Object missing required field `(\w+)`$", text)
    return ApiError(400, _plain(text), missing[1] if missing else None)


def _field(path: str) -> str:
    return path.removeprefix(".")[:200]


def _plain(text: str) -> str:
    return (text[:1].lower() + text[1:]).replace("`", "'")[:400]
