"""The ways a request can fail, as data: a measurement counts them and goes on, a facade turns them into its errors."""

from dataclasses import dataclass
from typing import Literal

FailureKind = Literal[
    "connect", "tls", "timeout", "stall", "cut", "protocol", "rubbish", "auth", "rate_limited", "refused", "server",
    "too_large", "empty", "engine",
]  # fmt: skip
MAX_MESSAGE_CHARS = 500


@dataclass(frozen=True, slots=True)
class Failure:
    """kind: connect (nobody answers there), tls, timeout (the whole request took too long), stall (no byte for too
    long), cut (closed in the middle), protocol (not HTTP), rubbish (not the API's JSON), auth (401, 403), rate_limited
    (429), refused (another 4xx), server (5xx, or an error in the stream), too_large, empty (no token), engine (ours).
    """

    kind: FailureKind
    message: str
    http_status: int | None = None


class RequestFailed(Exception):
    """Carries the Failure of one request; whoever sends requests turns it into what its callers know."""

    def __init__(self, kind: FailureKind, message: str, http_status: int | None = None) -> None:
        super().__init__(message)
        self.failure = Failure(kind, message[:MAX_MESSAGE_CHARS], http_status)


def failure_of_status(status: int, message: str) -> RequestFailed:
    """What an HTTP status other than 200 means."""
    kind: FailureKind = "server"
    if status in (401, 403):
        kind = "auth"
    elif status == 429:
        kind = "rate_limited"
    elif 300 <= status < 500:
        kind = "refused"
    return RequestFailed(kind, f"HTTP {status}: {message}", status)
