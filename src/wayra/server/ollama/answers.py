"""How Ollama's clients receive an answer: one object, or one a line with the counts in the last."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec

from wayra.engine.request import TokenLogprob
from wayra.llm.results import Completion
from wayra.server.errors import ApiError, ollama_shape
from wayra.server.generation import Answer, Piece, Totals
from wayra.server.openai.answers import chat_logprobs
from wayra.server.service import ServedModel
from wayra.text.tools import ArgumentsDelta, CallStart, TextDelta, ToolEvent

_encode = msgspec.json.Encoder().encode

Kind = Literal["chat", "generate"]
NS = 1_000_000_000


def timestamp(seconds: float | None = None) -> str:
    """A moment as the API writes it; now when None."""
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat().replace("+00:00", "Z")


class CallCollector:
    """Whole tool calls from the parser's events. This API sends each at once."""

    def __init__(self) -> None:
        self._name = ""
        self._arguments = ""

    def take(self, events: Iterable[ToolEvent]) -> tuple[str, list[dict[str, object]]]:
        """The text among the events and the calls that they complete; a call that broke off is left out."""
        texts: list[str] = []
        calls: list[dict[str, object]] = []
        for event in events:
            if isinstance(event, TextDelta):
                texts.append(event.text)
            elif isinstance(event, CallStart):
                self._name, self._arguments = event.name, ""
            elif isinstance(event, ArgumentsDelta):
                self._arguments += event.text
            elif event.is_whole:
                function = {"index": event.index, "name": self._name, "arguments": json.loads(self._arguments or "{}")}
                calls.append({"function": function})
        return "".join(texts), calls


class AnswerWriter:
    """One answer, in pieces or whole. Also the Encoder of a stream."""

    media_type = "application/x-ndjson"

    def __init__(self, kind: Kind, model: ServedModel) -> None:
        self._kind = kind
        self._model = model
        self._calls = CallCollector()
        self._completion: Completion | None = None

    def whole(self, answer: Answer, completion: Completion) -> bytes:
        """The answer as one object."""
        text, calls = completion.text, list[dict[str, object]]()
        if answer.parses_calls:
            text, calls = self._calls.take(answer.events)
        fields = self._fields(text, calls, completion.logprobs or ())
        return _encode({**fields, **_ending(completion)})

    def begin(self) -> bytes:
        """Nothing: the first piece comes first."""
        return b""

    def piece(self, piece: Piece) -> bytes:
        """A line, unless there is nothing to say."""
        self._completion = piece.completion or self._completion
        text, calls = piece.text, list[dict[str, object]]()
        if piece.events:
            text, calls = self._calls.take(piece.events)
        if not (text or calls or piece.logprobs):
            return b""
        return _encode({**self._fields(text, calls, piece.logprobs), "done": False}) + b"\n"

    def end(self, totals: Totals) -> bytes:
        """A line without text and with the counts."""
        ending: dict[str, object] = {"done": True} if self._completion is None else _ending(self._completion)
        return _encode({**self._fields("", [], ()), **ending}) + b"\n"

    def loaded(self) -> bytes:
        """The answer to who only asks for the model to be there."""
        return _encode({**self._fields("", [], ()), "done": True, "done_reason": "load"}) + b"\n"

    def failed(self, error: ApiError) -> bytes:
        """A line on which clients raise."""
        return ollama_shape(error) + b"\n"

    def _fields(
        self, text: str, calls: Sequence[dict[str, object]], logprobs: Sequence[TokenLogprob]
    ) -> dict[str, object]:
        fields: dict[str, object] = {"model": self._model.name, "created_at": timestamp()}
        if self._kind == "generate":
            fields["response"] = text
        else:
            message: dict[str, object] = {"role": "assistant", "content": text}
            fields["message"] = {**message, "tool_calls": calls} if calls else message
        if logprobs:
            fields["logprobs"] = chat_logprobs(logprobs, self._model.tokenizer).content
        return fields


def _ending(completion: Completion) -> dict[str, object]:
    """Durations in nanoseconds; the prompt's lasts until the first token, waiting included."""
    usage, timings = completion.usage, completion.timings
    prompt_s = timings.total_s if timings.ttft_s is None else timings.ttft_s
    return {
        "done": True,
        "done_reason": completion.finish_reason,
        "total_duration": int(timings.total_s * NS),
        "load_duration": 0,
        "prompt_eval_count": usage.prompt_tokens,
        "prompt_eval_duration": int(prompt_s * NS),
        "eval_count": usage.completion_tokens,
        "eval_duration": int((timings.total_s - prompt_s) * NS),
    }
