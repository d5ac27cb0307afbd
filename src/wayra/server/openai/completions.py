"""/v1/completions: texts or token ids continued, and scored."""

import secrets
from collections.abc import Sequence

import msgspec
from msgspec import UNSET, Struct, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from wayra.engine.request import TokenLogprob
from wayra.llm.results import Completion
from wayra.server.body import read_struct
from wayra.server.door import caller_of, note
from wayra.server.errors import ApiError, openai_shape
from wayra.server.generation import Answer, Generation, Piece, Totals
from wayra.server.openai.answers import ChunkTail, CompletionLogprobs, LogprobWriter, TokenNames, Usage, usage_of
from wayra.server.openai.reading import completion_call
from wayra.server.openai.wire import CompletionRequest
from wayra.server.served_model import ServedModel
from wayra.server.service import Service
from wayra.server.stream import EventStream, collected, unless_lost

_decoder = msgspec.json.Decoder(CompletionRequest)
_encode = msgspec.json.Encoder().encode


class CompletionChoice(Struct):
    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: str | None
    token_ids: Sequence[int] | UnsetType = UNSET
    prompt_token_ids: Sequence[int] | UnsetType = UNSET


class CompletionAnswer(Struct):
    id: str
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage
    object: str = "text_completion"
    system_fingerprint: None = None


class CompletionsRoute:
    """The endpoint, over one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def answer(self, request: Request) -> Response:
        service = self._service
        wire = await read_struct(request, _decoder, service.settings)
        call = completion_call(wire)
        model = await service.model(call.model, request.scope)
        note(request.scope, model=model.name, stream=call.streams)
        generation = await unless_lost(request, service.complete(model, call, caller_of(request.scope)))
        answer_id = f"cmpl-{secrets.token_hex(12)}"
        names = TokenNames(model.tokenizer, bool(wire.return_tokens_as_token_ids))
        echo = Echo(names, bool(wire.echo), wire.logprobs is not None, bool(wire.return_token_ids))
        if call.streams:
            tail = ChunkTail(wire.stream_options, generation.totals().prompt_tokens)
            return EventStream(generation, CompletionEncoder(answer_id, model, generation, echo, tail))
        completions = await collected(generation, request)
        choices = [
            echo.choice(index, answer, completion)
            for index, (answer, completion) in enumerate(zip(generation.answers, completions, strict=True))
        ]
        usage = usage_of(generation.totals())
        whole = CompletionAnswer(answer_id, generation.created, model.name, choices, usage)
        return Response(_encode(whole), media_type="application/json")


class Echo:
    """What is said of the prompt before its completion. is_shown: anything at all; is_scored: log-probabilities.

    shows_ids: of the prompt and of the completion. names: of tokens in log-probabilities.
    """

    def __init__(self, names: TokenNames, is_shown: bool, is_scored: bool, shows_ids: bool) -> None:
        self.names = names
        self.is_shown = is_shown
        self.is_scored = is_scored
        self.shows_ids = shows_ids

    def text(self, prompt_ids: Sequence[int]) -> str:
        """The prompt's text, control tokens included: they were part of it."""
        return self.names.tokenizer.decode(prompt_ids, skip_special=False) if self.is_shown else ""

    def scores(self, prompt_ids: Sequence[int], completion: Completion) -> list[TokenLogprob | int]:
        """Of the prompt's tokens, the first of which nothing predicts."""
        if not self.is_shown or completion.prompt_logprobs is None:
            return []
        tops = completion.prompt_top or [()] * len(completion.prompt_logprobs)
        pairs = zip(prompt_ids[1:], completion.prompt_logprobs, tops, strict=True)
        return [prompt_ids[0], *(TokenLogprob(token_id, logprob, top) for token_id, logprob, top in pairs)]

    def choice(self, index: int, answer: Answer, completion: Completion) -> CompletionChoice:
        """A whole answer."""
        prompt_ids = answer.request.prompt_ids
        logprobs = None
        if self.is_scored:
            scores = self.scores(prompt_ids, completion)
            logprobs = LogprobWriter(self.names).write([*scores, *(completion.logprobs or ())])
        choice = CompletionChoice(index, self.text(prompt_ids) + completion.text, logprobs, completion.finish_reason)
        if self.shows_ids:
            choice.token_ids, choice.prompt_token_ids = completion.token_ids, prompt_ids
        return choice


class CompletionEncoder:
    """Chunks of completions. With echo, the prompt is in the first chunk of each."""

    media_type = "text/event-stream"

    def __init__(self, answer_id: str, model: ServedModel, generation: Generation, echo: Echo, tail: ChunkTail) -> None:
        head = {"id": answer_id, "object": "text_completion", "created": generation.created, "model": model.name,
                "system_fingerprint": None}  # fmt: skip
        self._head = b"data: " + _encode(head)[:-1] + b',"choices":['
        self._tail = tail
        self._generation = generation
        self._echo = echo
        self._writers = [LogprobWriter(echo.names) for _ in generation.answers]
        self._begun: set[int] = set()

    def begin(self) -> bytes:
        """Nothing: the first chunk is the first completion's."""
        return b""

    def piece(self, piece: Piece) -> bytes:
        """One chunk, the reason in the last."""
        text, tail = piece.text, self._tail.after(len(piece.token_ids))
        if self._echo.is_shown and piece.index not in self._begun:
            self._begun.add(piece.index)
            prompt_ids = self._generation.answers[piece.index].request.prompt_ids
            text = self._echo.text(prompt_ids) + text
        shows_ids = self._echo.shows_ids and bool(piece.token_ids)
        if not (text or piece.logprobs or piece.finish_reason or shows_ids):
            return b""
        logprobs = self._writers[piece.index].write(piece.logprobs) if self._echo.is_scored else None
        choice = CompletionChoice(piece.index, text, logprobs, piece.finish_reason)
        if shows_ids:
            choice.token_ids = piece.token_ids
        return self._head + _encode(choice) + tail

    def end(self, totals: Totals) -> bytes:
        """The counts in a chunk without choices, where they were asked for."""
        usage = b""
        if self._tail.shows_usage:
            usage = self._head + b'],"usage":' + _encode(usage_of(totals)) + b"}\n\n"
        return usage + b"data: [DONE]\n\n"

    def failed(self, error: ApiError) -> bytes:
        """Clients raise on a chunk with an error; no [DONE], the answer is not done."""
        return b"data: " + openai_shape(error) + b"\n\n"
