"""API keys and what each may use: a file of one key a line, and the counting of requests and tokens.

Keys are kept as digests. A rate is a bucket that fills steadily and holds one minute's worth; tokens of an answer are
not known before it ends, so they are charged when it does, and a bucket in debt lets nobody in until it is paid.
"""

import hashlib
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wayra.base.errors import InvalidParameter
from wayra.engine.request import MAX_WEIGHT
from wayra.server.errors import ApiError, retry_after

LEAST_KEY_LEN = 8
MOST_KEY_LEN = 1024
MOST_LIMIT = 10**12
_KEY = re.compile(r"[\x21-\x7e]+")
_DIGEST = re.compile(r"sha256:([0-9a-fA-F]{64})")
_LIMIT_NAMES = {"requests": "requests_a_minute", "tokens": "tokens_a_minute", "concurrent": "concurrent"}


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """None: no limit. concurrent: answers under way at a time."""

    requests_a_minute: int | None = None
    tokens_a_minute: int | None = None
    concurrent: int | None = None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """digest: SHA-256 of the key. weight: what it gets, beside the other keys, where requests must wait."""

    digest: bytes
    limits: KeyLimits = field(default_factory=KeyLimits)
    weight: int = 1

    @property
    def name(self) -> str:
        """The same every time and safe to log."""
        return self.digest.hex()[:16]


def api_key(text: str, limits: KeyLimits | None = None, weight: int = 1) -> ApiKey:
    """A key as clients send it, or "sha256:" and its digest. Raises InvalidParameter, which never shows the key."""
    if text.startswith("sha256:"):
        found = _DIGEST.fullmatch(text)
        if found is None:
            raise InvalidParameter("an API key begins with 'sha256:' but is no digest; write 64 hexadecimal digits")
        return ApiKey(bytes.fromhex(found[1]), limits or KeyLimits(), weight)
    if not LEAST_KEY_LEN <= len(text) <= MOST_KEY_LEN or not _KEY.fullmatch(text):
        raise InvalidParameter(
            f"an API key of {len(text)} characters cannot be used; take {LEAST_KEY_LEN} to {MOST_KEY_LEN:,} "
            "printable ASCII characters without spaces"
        )
    return ApiKey(hashlib.sha256(text.encode()).digest(), limits or KeyLimits(), weight)


def keys_from_file(path: Path) -> tuple[ApiKey, ...]:
    """One key a line, and its limits and weight after it: `KEY requests=60 tokens=100000 concurrent=4 weight=2`.

    Empty lines and lines that begin with # are left out. Raises InvalidParameter, naming the line and never the key.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise InvalidParameter(f"the key file {path} cannot be read: {os.strerror(error.errno or 0)}") from error
    except UnicodeDecodeError as error:
        raise InvalidParameter(f"the key file {path} is not UTF-8 text; write one key a line") from error
    keys: dict[bytes, ApiKey] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            key = api_key(words[0], *_limits_and_weight(words[1:]))
        except InvalidParameter as error:
            raise InvalidParameter(f"line {number} of the key file {path}: {error}") from None
        if key.digest in keys:
            raise InvalidParameter(f"line {number} of the key file {path} repeats a key; keep one of them")
        keys[key.digest] = key
    if not keys:
        raise InvalidParameter(f"the key file {path} holds no key; write one key a line")
    return tuple(keys.values())


def _limits_and_weight(words: Sequence[str]) -> tuple[KeyLimits, int]:
    values: dict[str, int] = {}
    for position, word in enumerate(words, 2):
        name, _, number = word.partition("=")
        most = MAX_WEIGHT if name == "weight" else MOST_LIMIT
        # The word is not shown: it may be the rest of a key with a space in it.
        is_number = number.isascii() and number.isdigit() and len(number) <= 13
        if (name not in _LIMIT_NAMES and name != "weight") or name in values or not is_number:
            raise InvalidParameter(
                f"its word {position} is no limit; write requests=N, tokens=N (a minute), concurrent=N or weight=N, "
                "each once"
            )
        if not 1 <= int(number) <= most:
            raise InvalidParameter(f"{name} is {int(number):,}, expected 1 to {most:,}")
        values[name] = int(number)
    weight = values.pop("weight", 1)
    return KeyLimits(**{_LIMIT_NAMES[name]: value for name, value in values.items()}), weight


class _Bucket:
    def __init__(self, a_minute: int, now_s: float) -> None:
        self.capacity = float(a_minute)
        self._level = self.capacity
        self._filled_s = now_s

    def level(self, now_s: float) -> float:
        self._level = min(self.capacity, self._level + (now_s - self._filled_s) * self.capacity / 60)
        self._filled_s = now_s
        return self._level

    def take(self, amount: float) -> None:
        self._level -= amount

    def wait_s(self, wanted: float) -> float:
        """Until it holds so much."""
        return max(0.0, (wanted - self._level) * 60 / self.capacity)


class _Usage:
    def __init__(self, limits: KeyLimits, now_s: float) -> None:
        self.limits = limits
        self.in_flight = 0
        self.requests = None if limits.requests_a_minute is None else _Bucket(limits.requests_a_minute, now_s)
        self.tokens = None if limits.tokens_a_minute is None else _Bucket(limits.tokens_a_minute, now_s)


class Quotas:
    """What every key has used. Changed in the event loop only. clock: seconds, never going back."""

    def __init__(self, keys: Sequence[ApiKey], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._usage = {key.name: _Usage(key.limits, clock()) for key in keys if key.limits != KeyLimits()}

    def admit(self, key: str, count: int) -> None:
        """Count answers that begin; every one needs a `release`. Raises ApiError 429 saying when to come again, or 400.

        key: its name; one without limits may do everything.
        """
        usage = self._usage.get(key)
        if usage is None:
            return
        limits, now_s = usage.limits, self._clock()
        most = limits.concurrent
        if most is not None and count > most:
            raise ApiError(
                400, f"the request asks for {count:,} answers, limit of this API key is {most:,} at a time", "n"
            )
        if most is not None and usage.in_flight + count > most:
            raise _refusal(f"{usage.in_flight:,} answers are under way for this API key, limit is {most:,}", 1.0)
        if usage.tokens is not None and usage.tokens.level(now_s) < 1:
            raise _refusal(f"this API key may use {limits.tokens_a_minute:,} tokens a minute", usage.tokens.wait_s(1))
        self.charge_request(key)
        usage.in_flight += count

    def charge_request(self, key: str) -> None:
        """Count a request that computes nothing: no tokens, and no answer under way. Raises ApiError 429."""
        usage = self._usage.get(key)
        if usage is None or usage.requests is None:
            return
        if usage.requests.level(self._clock()) < 1:
            said = f"this API key may send {usage.limits.requests_a_minute:,} requests a minute"
            raise _refusal(said, usage.requests.wait_s(1))
        usage.requests.take(1)

    def take_back(self, key: str, count: int) -> None:
        """As if a request that `admit` let in had never come: it only waited."""
        self.release(key, count, 0)
        usage = self._usage.get(key)
        if usage is not None and usage.requests is not None:
            usage.requests.take(-1)

    def release(self, key: str, count: int, tokens: int) -> None:
        """Answers have ended. tokens: of their prompts and of themselves."""
        usage = self._usage.get(key)
        if usage is None:
            return
        usage.in_flight -= count
        if usage.tokens is not None:
            usage.tokens.level(self._clock())
            usage.tokens.take(tokens)


def _refusal(said: str, wait_s: float) -> ApiError:
    wait_ms = max(1, -(-int(wait_s * 1e6) // 1000))
    said = f"{said}; try again in {wait_ms / 1000:g} s"
    return ApiError(429, said, code="rate_limit_exceeded", headers=retry_after(wait_ms))
