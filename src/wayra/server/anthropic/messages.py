"""/v1/messages, whole and streamed, and /v1/messages/count_tokens."""

import json
import secrets
from collections.abc import Sequence

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from wayra.llm.results import Completion
from wayra.server.anthropic.reading import chat_call, plain_messages, tool_use
from wayra.server.anthropic.wire import CountRequest, MessagesRequest
from wayra.server.body import read_struct
from wayra.server.door import caller_of, note
from wayra.server.errors import ApiError, anthropic_shape
from wayra.server.generation import Answer, Generation, Piece, Totals
from wayra.server.service import Service
from wayra.server.stream import EventStream, collected, unless_lost
from wayra.text.tools import ArgumentsDelta, CallStart, TextDelta, ToolEvent

_decoder = msgspec.json.Decoder(MessagesRequest)
_count_decoder = msgspec.json.Decoder(CountRequest)
_encode = msgspec.json.Encoder().encode


class Usage(Struct):
    """input_tokens: those computed; cache_read_input_tokens: the rest of the prompt."""

    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0


class TextAnswer(Struct, tag_field="type", tag="text"):
    text: str


class ToolUseAnswer(Struct, tag_field="type", tag="tool_use"):
    id: str
    name: str
    input: dict[str, object]


class MessageAnswer(Struct, tag_field="type", tag="message"):
    id: str
    model: str
    content: list[TextAnswer | ToolUseAnswer]
    stop_reason: str | None
    stop_sequence: str | None
    usage: Usage
    role: str = "assistant"


class Tokens(Struct):
    input_tokens: int


class MessagesRoutes:
    """The endpoints, over one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def answer(self, request: Request) -> Response:
        service = self._service
        wire = await read_struct(request, _decoder, service.settings)
        call = chat_call(wire)
        model = await service.model(call.model, request.scope)
        note(request.scope, model=model.name, stream=call.streams)
        generation = await unless_lost(request, service.chat(model, call, caller_of(request.scope)))
        message_id = f"msg_{secrets.token_hex(12)}"
        if call.streams:
            return EventStream(generation, MessageEncoder(message_id, model.name, generation))
        (completion,) = await collected(generation, request)
        content = _content(generation.answers[0], completion)
        reason, stop = _ending(completion, any(isinstance(block, ToolUseAnswer) for block in content))
        whole = MessageAnswer(message_id, model.name, content, reason, stop, _usage(generation.totals()))
        return Response(_encode(whole), media_type="application/json")

    async def count(self, request: Request) -> Response:
        """How many tokens a conversation has, tools and system prompt included."""
        wire = await read_struct(request, _count_decoder, self._service.settings)
        model = await self._service.model(wire.model, request.scope)
        ids = await self._service.chat_ids(model, plain_messages(wire), caller_of(request.scope), tool_use(wire))
        return Response(_encode(Tokens(len(ids))), media_type="application/json")


def _usage(totals: Totals) -> Usage:
    return Usage(totals.prompt_tokens - totals.cached_tokens, totals.completion_tokens, totals.cached_tokens)


def _ending(completion: Completion, has_calls: bool) -> tuple[str, str | None]:
    """Why the answer ended, and with which stop sequence."""
    if completion.finish_reason == "length":
        return "max_tokens", None
    if completion.stop_string is not None:
        return "stop_sequence", completion.stop_string
    return "tool_use" if has_calls else "end_turn", None


def _content(answer: Answer, completion: Completion) -> list[TextAnswer | ToolUseAnswer]:
    """Blocks in the order the model wrote them."""
    events: Sequence[ToolEvent] = answer.events if answer.parses_calls else (TextDelta(completion.text),)
    content: list[TextAnswer | ToolUseAnswer] = []
    arguments = blank = ""
    for event in events:
        last = content[-1] if content else None
        if isinstance(event, TextDelta):
            if isinstance(last, TextAnswer):
                last.text += event.text
                continue
            blank += event.text
            if blank.strip():
                content.append(TextAnswer(blank))
        elif isinstance(event, CallStart):
            arguments = blank = ""
            content.append(ToolUseAnswer(_call_id(), event.name, {}))
        elif isinstance(event, ArgumentsDelta):
            arguments += event.text
        elif isinstance(last, ToolUseAnswer) and event.is_whole:
            last.input = json.loads(arguments or "{}")
    return content


def _call_id() -> str:
    return f"toolu_{secrets.token_hex(12)}"


class MessageEncoder:
    """The events of a streamed message. Blocks follow each other; one is open at a time."""

    media_type = "text/event-stream"

    def __init__(self, message_id: str, model: str, generation: Generation) -> None:
        usage = Usage(len(generation.answers[0].request.prompt_ids), 0)
        self._message = MessageAnswer(message_id, model, [], None, None, usage)
        self._index = -1
        self._open = ""
        self._blank = ""
        self._has_called = False
        self._completion: Completion | None = None

    def begin(self) -> bytes:
        """The message without its content."""
        return _event("message_start", {"message": self._message})

    def piece(self, piece: Piece) -> bytes:
        """Blocks begun, continued and ended."""
        self._completion = piece.completion or self._completion
        events = piece.events or ((TextDelta(piece.text),) if piece.text else ())
        return b"".join([self._written(event) for event in events])

    def end(self, totals: Totals) -> bytes:
        """Why it ended, the counts, and that nothing follows."""
        reason, stop = "end_turn", None
        if self._completion is not None:
            reason, stop = _ending(self._completion, self._has_called)
        delta = {"delta": {"stop_reason": reason, "stop_sequence": stop}, "usage": _usage(totals)}
        return self._closed() + _event("message_delta", delta) + _event("message_stop", {})

    def failed(self, error: ApiError) -> bytes:
        """An error event, on which clients raise."""
        return b"event: error\ndata: " + anthropic_shape(error) + b"\n\n"

    def _written(self, event: ToolEvent) -> bytes:
        if isinstance(event, TextDelta):
            return self._text(event.text)
        if isinstance(event, CallStart):
            self._has_called = True
            return self._opened("tool_use", ToolUseAnswer(_call_id(), event.name, {}))
        if isinstance(event, ArgumentsDelta):
            return self._delta({"type": "input_json_delta", "partial_json": event.text})
        return self._closed()

    def _text(self, text: str) -> bytes:
        if self._open == "text":
            return self._delta({"type": "text_delta", "text": text})
        # A block of white space alone is left out, as in a whole answer.
        text, self._blank = self._blank + text, ""
        if not text.strip():
            self._blank = text
            return b""
        return self._opened("text", TextAnswer("")) + self._delta({"type": "text_delta", "text": text})

    def _opened(self, kind: str, block: TextAnswer | ToolUseAnswer) -> bytes:
        closed = self._closed()
        self._index += 1
        self._open, self._blank = kind, ""
        return closed + _event("content_block_start", {"index": self._index, "content_block": block})

    def _delta(self, delta: dict[str, str]) -> bytes:
        return _event("content_block_delta", {"index": self._index, "delta": delta})

    def _closed(self) -> bytes:
        if not self._open:
            return b""
        self._open = ""
        return _event("content_block_stop", {"index": self._index})


def _event(kind: str, fields: dict[str, object]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode({"type": kind, **fields}))
