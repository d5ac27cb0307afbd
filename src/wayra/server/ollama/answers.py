"""How Ollama's clients receive an answer: one object, or one a line with the counts in the last."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from wayra.engine.request import TokenLogprob
from wayra.llm.results import Completion
from wayra.server.errors import ApiError, ollama_shape
from wayra.server.generation import Answer, Piece, Totals
from wayra.server.openai.answers import ChatLogprob, chat_logprobs
from wayra.server.served_model import ServedModel
from wayra.text.tools import ArgumentsDelta, CallStart, TextDelta, ToolEvent

_encode = msgspec.json.Encoder().encode

Kind = Literal["chat", "generate"]
NS = 1_000_000_000


def timestamp(seconds: float | None = None) -> str:
    """A moment as the API writes it; now when None."""
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat().replace("+00:00", "Z")


class CalledFunction(Struct):
    index: int
    name: str
    arguments: dict[str, object]


class CallAnswer(Struct):
    function: CalledFunction


class AnswerMessage(Struct):
    content: str
    role: Literal["assistant"] = "assistant"
    tool_calls: list[CallAnswer] | UnsetType = UNSET


class TextAnswer(Struct, kw_only=True):
    """What an answer or a line of one says in any case. From `done_reason` on: at its end only.

    Durations are in nanoseconds; the prompt's lasts until the first token, waiting included.
    """

    model: str
    created_at: str
    logprobs: list[ChatLogprob] | UnsetType = UNSET
    done: bool = False
    done_reason: Literal["stop", "length", "load", "unload"] | UnsetType = UNSET
    total_duration: int | UnsetType = UNSET
    load_duration: int | UnsetType = UNSET
    prompt_eval_count: int | UnsetType = UNSET
    prompt_eval_duration: int | UnsetType = UNSET
    eval_count: int | UnsetType = UNSET
    eval_duration: int | UnsetType = UNSET


class GenerateAnswer(TextAnswer, kw_only=True):
    response: str


class ChatAnswer(TextAnswer, kw_only=True):
    message: AnswerMessage


def without_text(kind: Kind, name: str, reason: Literal["load", "unload"]) -> bytes:
    """The answer to who only asks for a model to be there, or gone."""
    answer: TextAnswer
    if kind == "generate":
        answer = GenerateAnswer(model=name, created_at=timestamp(), response="")
    else:
        answer = ChatAnswer(model=name, created_at=timestamp(), message=AnswerMessage(""))
    answer.done, answer.done_reason = True, reason
    return _encode(answer) + b"\n"


class CallCollector:
    """Whole tool calls from the parser's events. This API sends each at once."""

    def __init__(self) -> None:
        self._name = ""
        self._arguments = ""

    def take(self, events: Iterable[ToolEvent]) -> tuple[str, list[CallAnswer]]:
        """The text among the events and the calls that they complete; a call that broke off is left out."""
        texts: list[str] = []
        calls: list[CallAnswer] = []
        for event in events:
            if isinstance(event, TextDelta):
                texts.append(event.text)
            elif isinstance(event, CallStart):
                self._name, self._arguments = event.name, ""
            elif isinstance(event, ArgumentsDelta):
                self._arguments += event.text
            elif event.is_whole:
                arguments = json.loads(self._arguments or "{}")
                calls.append(CallAnswer(CalledFunction(event.index, self._name, arguments)))
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
        text, calls = completion.text, list[CallAnswer]()
        if answer.parses_calls:
            text, calls = self._calls.take(answer.events)
        written = self._answer(text, calls, completion.logprobs or ())
        _end(written, completion)
        return _encode(written)

    def begin(self) -> bytes:
        """Nothing: the first piece comes first."""
        return b""

    def piece(self, piece: Piece) -> bytes:
        """A line, unless there is nothing to say."""
        self._completion = piece.completion or self._completion
        text, calls = piece.text, list[CallAnswer]()
        if piece.events:
            text, calls = self._calls.take(piece.events)
        if not (text or calls or piece.logprobs):
            return b""
        return _encode(self._answer(text, calls, piece.logprobs)) + b"\n"

    def end(self, totals: Totals) -> bytes:
        """A line without text and with the counts."""
        written = self._answer("")
        written.done = True
        if self._completion is not None:
            _end(written, self._completion)
        return _encode(written) + b"\n"

    def failed(self, error: ApiError) -> bytes:
        """A line on which clients raise."""
        return ollama_shape(error) + b"\n"

    def _answer(
        self, text: str, calls: Sequence[CallAnswer] = (), logprobs: Sequence[TokenLogprob] = ()
    ) -> GenerateAnswer | ChatAnswer:
        name, now = self._model.name, timestamp()
        found = chat_logprobs(logprobs, self._model.tokenizer).content if logprobs else UNSET
        if self._kind == "generate":
            return GenerateAnswer(model=name, created_at=now, logprobs=found, response=text)
        message = AnswerMessage(text, tool_calls=list(calls) if calls else UNSET)
        return ChatAnswer(model=name, created_at=now, logprobs=found, message=message)


def _end(answer: TextAnswer, completion: Completion) -> None:
    usage, timings = completion.usage, completion.timings
    prompt_s = timings.total_s if timings.ttft_s is None else timings.ttft_s
    answer.done = True
    answer.done_reason = "length" if completion.finish_reason == "length" else "stop"
    answer.total_duration = int(timings.total_s * NS)
    answer.load_duration = 0
    answer.prompt_eval_count = usage.prompt_tokens
    answer.prompt_eval_duration = int(prompt_s * NS)
    answer.eval_count = usage.completion_tokens
    answer.eval_duration = int((timings.total_s - prompt_s) * NS)
