"""One line of requests.jsonl of an eval: what was asked, what came back, what running it showed. Nothing averaged."""

from typing import Literal

import msgspec

from wayra.base.errors import RunError


class Execution(msgspec.Struct, kw_only=True):
    """What a run of an answer showed (a program's tests, a query's rows); kept because it cannot be computed from text.

    value: 0 to 1. why: for people. reading: which reading of the answer was run, "strict" or "flexible"; of a
    task, "score", and "checks" for the share of its constraints obeyed. extracted: what was taken for the answer.
    """

    reading: str
    value: float
    why: str = ""
    extracted: str | None = None


class EvalRecord(msgspec.Struct, kw_only=True):
    """One answer to one question, or to one question's choices.

    key: suite, item and sample; a question that failed and was asked again has it twice, and the last counts.
    how: which scorer judges. prompt: as it was sent: text, messages, or a text for each choice; None for private
    suites, whose hash remains. target: the right answer, by the item. data: what the scorer needs of the item.
    loglikelihoods (natural), is_greedy, num_chars, num_tokens: one a choice. is_truncated: the prompt lost its
    beginning. text: a generated answer. started_s, ended_s: seconds of one clock from the beginning of the session.
    """

    key: str
    suite: str
    item: str
    how: str
    status: Literal["ok", "failed"] = "ok"
    sample: int = 0
    group: str = ""
    prompt: str | list[object] | None = None
    prompt_sha256: str = ""
    target: int | float | str | list[object] | dict[str, object] | None = None
    data: dict[str, object] = {}
    loglikelihoods: list[float] = []
    is_greedy: list[bool] = []
    num_chars: list[int] = []
    num_tokens: list[int] = []
    is_truncated: bool = False
    text: str = ""
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    executions: list[Execution] = []
    started_s: float = 0.0
    ended_s: float = 0.0
    failure: str | None = None


def record_from(line: dict[str, object], number: int) -> EvalRecord:
    """A record read back. Raises RunError naming the line that is none."""
    try:
        return msgspec.convert(line, EvalRecord)
    except msgspec.ValidationError as error:
        raise RunError(f"record {number} of the run is no answer: {error}") from error


def line_of(record: EvalRecord) -> dict[str, object]:
    """The record as RunWriter takes it, without fields that say nothing."""
    line: dict[str, object] = msgspec.to_builtins(record)
    return {name: value for name, value in line.items() if value not in (None, [], {}, "") or name == "text"}


def key_of(suite: str, item: str, sample: int = 0) -> str:
    return f"{suite}/{item}#{sample}"
