"""/v1/responses, whole and streamed, and /v1/responses/input_tokens."""

import secrets

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from wayra.llm.results import Completion
from wayra.server.body import read_struct
from wayra.server.door import caller_of, note
from wayra.server.generation import Answer
from wayra.server.openai.answers import ChatLogprob, chat_logprobs
from wayra.server.openai.responses.answers import Identity, begun
from wayra.server.openai.responses.events import ResponseEncoder, ended
from wayra.server.openai.responses.output import Output
from wayra.server.openai.responses.reading import chat_call, plain_messages, tool_use
from wayra.server.openai.responses.wire import CountRequest, ResponsesRequest
from wayra.server.served_model import ServedModel
from wayra.server.service import Service
from wayra.server.stream import EventStream, collected, unless_lost

_decoder = msgspec.json.Decoder(ResponsesRequest)
_count_decoder = msgspec.json.Decoder(CountRequest)
_encode = msgspec.json.Encoder().encode


class InputTokens(Struct):
    input_tokens: int
    object: str = "response.input_tokens"


class ResponsesRoutes:
    """The endpoints, over one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def answer(self, request: Request) -> Response:
        """One response to a conversation that is sent whole."""
        service = self._service
        wire = await read_struct(request, _decoder, service.settings)
        call = chat_call(wire)
        model = await service.model(call.model, request.scope)
        note(request.scope, model=model.name, stream=call.streams)
        generation = await unless_lost(request, service.chat(model, call, caller_of(request.scope)))
        identity = Identity(f"resp_{secrets.token_hex(12)}", generation.created, model.name)
        answer = begun(identity, wire, call.params)
        if call.streams:
            return EventStream(generation, ResponseEncoder(answer, model))
        (completion,) = await collected(generation, request)
        output = _output(model, generation.answers[0], completion)
        ended(answer, output, generation.totals(), completion.finish_reason == "length")
        return Response(_encode(answer), media_type="application/json")

    async def count(self, request: Request) -> Response:
        """How many tokens a conversation has, tools and instructions included."""
        wire = await read_struct(request, _count_decoder, self._service.settings)
        model = await self._service.model(wire.model, request.scope)
        ids = await self._service.chat_ids(model, plain_messages(wire), caller_of(request.scope), tool_use(wire))
        return Response(_encode(InputTokens(len(ids))), media_type="application/json")


def _output(model: ServedModel, answer: Answer, completion: Completion) -> Output:
    output = Output(model.calling.format.new_id)
    if answer.parses_calls:
        steps = [step for event in answer.events for step in output.event(event)]
    else:
        logprobs: list[ChatLogprob] = []
        if completion.logprobs is not None:
            logprobs = chat_logprobs(completion.logprobs, model.tokenizer).content
        steps = list(output.text(completion.text, logprobs))
    steps += output.finish(completion.finish_reason == "length")
    return output
