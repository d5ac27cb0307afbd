"""One class per cause. Each message says what was seen, what was expected and what to do.

A `WayraError` is for the user: the command line prints it as one sentence and exits with `exit_code`.
Anything else that escapes is a bug of ours.
"""


class WayraError(Exception):
    """Base of every error a user can cause or meet."""

    exit_code = 1


class InvalidParameter(WayraError, ValueError):
    """An argument is outside its range or of the wrong kind."""

    exit_code = 2


class ModelNotFound(WayraError):
    """No model answers to that name or path."""


class SourceError(WayraError):
    """A model could not be fetched: no network, no such repository, no permission."""


class FileFormatError(WayraError):
    """A model, index or tokenizer file is malformed, truncated or lies about itself."""


class UnsupportedModel(WayraError):
    """The file is sound, but its architecture, format or tokenizer is not supported."""


class IntegrityError(WayraError):
    """Bytes on disk differ from their recorded hash, or an internal invariant does not hold."""


class CacheError(WayraError):
    """The cache folder cannot be read or written (permissions, full disk)."""


class TemplateError(WayraError):
    """A chat template is invalid, refused the messages, or used up its fuel."""


class ShapeError(WayraError):
    """Shapes of weights, spec and batch disagree."""


class ContextOverflow(WayraError):
    """A prompt does not fit the context."""


class OutOfMemory(WayraError):
    """The weights or the KV cache do not fit in memory."""


class BackendError(WayraError):
    """A backend is not available here, or lacks an operation, named in the message."""


class RunError(WayraError):
    """A recorded run cannot be found, read or written."""


class DataError(WayraError):
    """Questions of a suite cannot be found or read."""


class ServerUnreachable(WayraError):
    """Nobody answers at a server's address, or the connection to it broke."""


class AccessDenied(WayraError):
    """A server wants an API key, or does not know the one it was sent."""


class ServerError(WayraError):
    """A server failed, has no time, or does not offer what was asked of it."""
