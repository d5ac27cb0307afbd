"""What a client is told when something goes wrong: one exception, and the shape each API gives it.

Every API has its own shape for errors; `shape_for` finds it by path, so that a refusal at the door, before any route is
known, also speaks the language of its client.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec
from starlette.responses import Response

from wayra.base.errors import ContextOverflow, InvalidParameter, TemplateError, WayraError

_NAMED = re.compile(r"^(?:an? |the )?([a-z_]+)(?:\[\d+\])?(?:\.\w+)? (?:is|has|holds|must)\b")
_BEGINNINGS: Mapping[str, str] = {"a logit bias ": "logit_bias", "a logit_bias ": "logit_bias", "token id ": "prompt"}

KINDS: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    415: "invalid_request_error",
    421: "permission_error",
    429: "rate_limit_error",
    431: "request_too_large",
    500: "server_error",
    503: "overloaded_error",
    505: "invalid_request_error",
}


COME_AGAIN_MS = 1000
"""After a 503 that says nothing else: about what a supervisor takes to start the server again."""


def retry_after(wait_ms: int) -> dict[str, str]:
    """The headers that say when to come again: to the millisecond, and in whole seconds as HTTP has it."""
    return {"retry-after-ms": str(wait_ms), "retry-after": str(-(-wait_ms // 1000))}


@dataclass(eq=False)
class ApiError(Exception):
    """One sentence for the client. param: the field at fault. code: for programs. headers: sent beside it."""

    status: int
    message: str
    param: str | None = None
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def __str__(self) -> str:
        return self.message


class ClientLeft(Exception):
    """Nobody is there to be answered."""


class ErrorDetail(msgspec.Struct):
    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(msgspec.Struct):
    error: ErrorDetail


class AnthropicDetail(msgspec.Struct):
    type: str
    message: str


class AnthropicError(msgspec.Struct, tag_field="type", tag="error"):
    error: AnthropicDetail


class OllamaError(msgspec.Struct):
    error: str


Shape = Callable[[ApiError], bytes]


def openai_shape(error: ApiError) -> bytes:
    """The error as OpenAI's clients read it, JSON."""
    kind = KINDS.get(error.status, "server_error" if error.status >= 500 else "invalid_request_error")
    return msgspec.json.encode(OpenAIError(ErrorDetail(error.message, kind, error.param, error.code)))


ANTHROPIC_KINDS: Mapping[int, str] = {405: "invalid_request_error", 500: "api_error", 503: "overloaded_error"}
"""Where the API's names are others than those of KINDS."""


def anthropic_shape(error: ApiError) -> bytes:
    """The error as Anthropic's clients read it, JSON."""
    kind = ANTHROPIC_KINDS.get(error.status) or KINDS.get(error.status, "api_error")
    return msgspec.json.encode(AnthropicError(AnthropicDetail(kind, error.message)))


def ollama_shape(error: ApiError) -> bytes:
    """The error as Ollama's clients read it, JSON."""
    return msgspec.json.encode(OllamaError(error.message))


ANTHROPIC_PATH = "/v1/messages"
SHAPES: Mapping[str, Shape] = {ANTHROPIC_PATH: anthropic_shape, "/api/": ollama_shape}
"""Path prefixes of APIs that shape errors otherwise."""


def shape_for(path: str) -> Shape:
    """How the API at this path shapes its errors."""
    return next((shape for prefix, shape in SHAPES.items() if path.startswith(prefix)), openai_shape)


def error_response(error: ApiError, path: str) -> Response:
    """The error as a response. A 503 always says when to come again."""
    headers = {**(retry_after(COME_AGAIN_MS) if error.status == 503 else {}), **error.headers}
    return Response(shape_for(path)(error), error.status, headers, "application/json")


def as_api_error(error: Exception) -> ApiError | None:
    """What the client is told of an exception; None when it is a bug of ours, which only the log is told."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ContextOverflow):
        return ApiError(400, str(error), code="context_length_exceeded")
    if isinstance(error, InvalidParameter):
        return ApiError(400, str(error), param=_field_of(str(error)))
    if isinstance(error, TemplateError):
        return ApiError(400, str(error), param="messages")
    if isinstance(error, WayraError):
        return ApiError(500, str(error))
    return None


def _field_of(message: str) -> str | None:
    """The field that a sentence is about, where it says so."""
    if (named := _NAMED.match(message)) is not None:
        return named[1]
    return next((field for beginning, field in _BEGINNINGS.items() if message.startswith(beginning)), None)


def not_supported(name: str, instead: str = "leave it out") -> ApiError:
    """A field that exists in the API but not here."""
    return ApiError(400, f"{name} is not supported by this server; {instead}", param=name, code="unsupported_parameter")
