"""/v1/chat/completions."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from msgspec import UNSET, Struct, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from wayra.llm.results import Completion
from wayra.server.body import read_struct
from wayra.server.door import caller_of, note
from wayra.server.errors import ApiError, openai_shape
from wayra.server.generation import Answer, Piece, Totals
from wayra.server.openai.answers import ChatLogprobs, ChunkTail, Usage, chat_logprobs, usage_of
from wayra.server.openai.calls import CallDeltas, ToolCallAnswer, reason_with_calls, whole_calls
from wayra.server.openai.reading import chat_call
from wayra.server.openai.wire import ChatRequest
from wayra.server.served_model import ServedModel
from wayra.server.service import Service
from wayra.server.stream import EventStream, collected, unless_lost

_decoder = msgspec.json.Decoder(ChatRequest)
_encode = msgspec.json.Encoder().encode


class AnswerMessage(Struct):
    """tool_calls: left out where there is none, as clients expect."""

    role: str
    content: str | None
    refusal: None = None
    tool_calls: list[ToolCallAnswer] | UnsetType = UNSET


class ChatChoice(Struct):
    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: str
    token_ids: Sequence[int] | UnsetType = UNSET


class ChatAnswer(Struct):
    id: str
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    object: str = "chat.completion"
    system_fingerprint: None = None
    prompt_token_ids: Sequence[int] | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class Extras:
    """What was asked for beside the text: token ids, and ids for names in log-probabilities."""

    token_ids: bool
    by_id: bool


class ChatRoute:
    """The endpoint, over one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def answer(self, request: Request) -> Response:
        service = self._service
        wire = await read_struct(request, _decoder, service.settings)
        call = chat_call(wire)
        model = await service.model(call.model, request.scope)
        note(request.scope, model=model.name, stream=call.streams)
        generation = await unless_lost(request, service.chat(model, call, caller_of(request.scope)))
        answer_id = f"chatcmpl-{secrets.token_hex(12)}"
        extras = Extras(
            token_ids=bool(wire.return_token_ids),
            by_id=bool(wire.return_tokens_as_token_ids),
        )
        if not call.streams:
            completions = await collected(generation, request)
            choices = [
                _choice(i, model, extras, *pair)
                for i, pair in enumerate(zip(generation.answers, completions, strict=True))
            ]
            usage = usage_of(generation.totals())
            whole = ChatAnswer(answer_id, generation.created, model.name, choices, usage)
            if extras.token_ids:
                whole.prompt_token_ids = generation.answers[0].request.prompt_ids
            return Response(_encode(whole), media_type="application/json")
        tail = ChunkTail(wire.stream_options, generation.totals().prompt_tokens)
        head = ChunkHead(answer_id, generation.created, model.name)
        return EventStream(generation, ChatEncoder(head, model, call.n, extras, tail))


def _choice(index: int, model: ServedModel, extras: Extras, answer: Answer, completion: Completion) -> ChatChoice:
    logprobs = (
        None if completion.logprobs is None else chat_logprobs(completion.logprobs, model.tokenizer, extras.by_id)
    )
    reason: str = completion.finish_reason
    token_ids = completion.token_ids if extras.token_ids else UNSET
    if not answer.parses_calls:
        return ChatChoice(index, AnswerMessage("assistant", completion.text), logprobs, reason, token_ids)
    text, calls = whole_calls(answer.events, model.calling.format.new_id)
    message = AnswerMessage("assistant", text or None if calls else text)
    if calls:
        message.tool_calls = calls
        reason = reason_with_calls(reason)
    return ChatChoice(index, message, logprobs, reason, token_ids)


class ChunkHead(Struct):
    """What is the same in every chunk."""

    id: str
    created: int
    model: str
    object: str = "chat.completion.chunk"
    system_fingerprint: None = None


class ChatEncoder:
    """Chunks of a chat. What is the same in every chunk is encoded once."""

    media_type = "text/event-stream"

    def __init__(self, head: ChunkHead, model: ServedModel, n: int, extras: Extras, tail: ChunkTail) -> None:
        self._head = b"data: " + _encode(head)[:-1] + b',"choices":['
        self._tail = tail
        self._texts = [self._head + b'{"index":%d,"delta":{"content":' % index for index in range(n)]
        self._ends = [self._head + b'{"index":%d,"delta":{},"logprobs":null,"finish_reason":' % i for i in range(n)]
        self._extras = extras
        self._tokenizer = model.tokenizer
        self._n = n
        self._call_deltas = [CallDeltas(model.calling.format.new_id) for _ in range(n)]

    def begin(self) -> bytes:
        """The role comes first, with an empty text, once an answer."""
        delta = b'{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}'
        tail = self._tail.after()
        return b"".join(b'%b{"index":%d,"delta":%b%b' % (self._head, i, delta, tail) for i in range(self._n))

    def piece(self, piece: Piece) -> bytes:
        """A chunk for each part of text or call, and one with the reason at the end."""
        index, tail = piece.index, self._tail.after(len(piece.token_ids))
        logprobs = (
            _encode(chat_logprobs(piece.logprobs, self._tokenizer, self._extras.by_id)) if piece.logprobs else b"null"
        )
        shows_ids = self._extras.token_ids and bool(piece.token_ids)
        ids = b',"token_ids":%b' % _encode(piece.token_ids) if shows_ids else b""
        parts: list[bytes] = []
        for delta in self._call_deltas[index].deltas(piece.events):
            parts.append(b'%b{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":null%b}%b' % (
                self._head, index, delta, logprobs, ids, tail,
            ))  # fmt: skip
            logprobs, ids = b"null", b""
        if piece.text or ids or logprobs != b"null":
            parts.append(b'%b%b},"logprobs":%b,"finish_reason":null%b}%b' % (
                self._texts[index], _encode(piece.text), logprobs, ids, tail,
            ))  # fmt: skip
        if piece.finish_reason is not None:
            reason: str = piece.finish_reason
            if self._call_deltas[index].has_called:
                reason = reason_with_calls(reason)
            parts.append(b'%b"%b"}%b' % (self._ends[index], reason.encode(), tail))
        return b"".join(parts)

    def end(self, totals: Totals) -> bytes:
        """The counts in a chunk without choices, where they were asked for."""
        usage = b""
        if self._tail.shows_usage:
            usage = self._head + b'],"usage":' + _encode(usage_of(totals)) + b"}\n\n"
        return usage + b"data: [DONE]\n\n"

    def failed(self, error: ApiError) -> bytes:
        """Clients raise on a chunk with an error; no [DONE], the answer is not done."""
        return b"data: " + openai_shape(error) + b"\n\n"
