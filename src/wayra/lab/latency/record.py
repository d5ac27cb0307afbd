"""One line of requests.jsonl of a bench: what was asked, when bytes came, what came of it. Nothing computed."""

from typing import Literal

import msgspec

from wayra.base.errors import RunError
from wayra.client.failures import Failure

RequestStatus = Literal["ok", "failed", "cancelled"]


class RequestRecord(msgspec.Struct, kw_only=True):
    """Times are seconds of one monotonic clock, from the beginning of the session (the run, or its resumption).

    key: stage and number. session: 0, or how often the run had been resumed. is_warmup: not to be measured.
    due_s: when an open loop meant to send it. sent_s: when it was handed to the client, before any connecting.
    event_s, event_chars, event_tokens: of each event that carries content; tokens None where the server does not say.
    has_all_events: False where an import knows only the first and the last.
    ended_s: when the answer was over, failed or was cancelled. prompt_tokens, completion_tokens, cached_tokens: the
    server's usage, or the engine's; None when it gave none. wanted_*: what the traffic asked for.
    """

    key: str
    stage: str
    status: RequestStatus
    sent_s: float
    ended_s: float
    session: int = 0
    is_warmup: bool = False
    due_s: float | None = None
    head_s: float | None = None
    event_s: list[float] = []
    has_all_events: bool = True
    event_chars: list[int] = []
    event_tokens: list[int | None] = []
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    wanted_prompt_tokens: int | None = None
    wanted_completion_tokens: int | None = None
    finish_reason: str | None = None
    text: str = ""
    failure: Failure | None = None


def record_from(line: dict[str, object], number: int) -> RequestRecord:
    """A record read back. Raises RunError naming the line that is none."""
    try:
        return msgspec.convert(line, RequestRecord)
    except msgspec.ValidationError as error:
        raise RunError(f"record {number} of the run is no request: {error}") from error


def line_of(record: RequestRecord) -> dict[str, object]:
    """The record as RunWriter takes it."""
    line: dict[str, object] = msgspec.to_builtins(record)
    return line
