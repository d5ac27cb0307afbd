"""What went wrong with a server, as the facade's typed errors in the server's own words."""

from dataclasses import dataclass

from wayra.base.errors import (
    AccessDenied,
    ContextOverflow,
    InvalidParameter,
    ModelNotFound,
    ServerError,
    ServerUnreachable,
    WayraError,
)
from wayra.client.api import error_code, error_message
from wayra.client.failures import Failure


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is none. content: its body, or the beginning of it. path: what was asked of `source`."""

    status: int
    content: bytes
    path: str
    source: str

    def as_error(self) -> WayraError:
        words, code = error_message(self.content), error_code(self.content)
        if self.status in (401, 403):
            return AccessDenied(f"the server at {self.source} refuses access ({words}); give it an API key it knows")
        is_about_model = code == "model_not_found" or ("model" in words.lower() and self.path not in words)
        if self.status == 404 and is_about_model:
            return ModelNotFound(words)
        if self.status in (404, 405):
            return ServerError(f"the server at {self.source} does not offer {self.path} ({words})")
        if code == "context_length_exceeded":
            return ContextOverflow(words)
        if self.status in (400, 413, 415, 422):
            return InvalidParameter(words)
        if self.status == 429:
            return ServerError(f"the server at {self.source} has no time: {words}")
        return ServerError(f"the server at {self.source} failed with status {self.status}: {words}")


def as_wayra_error(failure: Failure, source: str) -> WayraError:
    """A failure below HTTP's status codes."""
    if failure.kind == "connect":
        return ServerUnreachable(f"no server answers at {source}: {failure.message}")
    if failure.kind in ("tls", "timeout", "stall", "cut"):
        return ServerUnreachable(f"the connection to {source} failed: {failure.message}")
    return ServerError(f"what answers at {source} is no OpenAI-compatible server: {failure.message}")
