"""/api/generate and /api/chat."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from wayra.server.body import read_struct_of_program
from wayra.server.calls import ChatCall
from wayra.server.door import caller_of, note
from wayra.server.generation import Generation
from wayra.server.ollama.answers import AnswerWriter
from wayra.server.ollama.reading import chat_call, generate_call, model_name
from wayra.server.ollama.wire import Asked, ChatRequest, GenerateRequest
from wayra.server.service import ServedModel, Service
from wayra.server.stream import EventStream, collected, unless_lost

_chat_decoder = msgspec.json.Decoder(ChatRequest)
_generate_decoder = msgspec.json.Decoder(GenerateRequest)


class TextRoutes:
    """The endpoints, over one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def chat(self, request: Request) -> Response:
        """A conversation."""
        service = self._service
        wire = await read_struct_of_program(request, _chat_decoder, service.settings)
        model = self._model(wire)
        writer = AnswerWriter("chat", model)
        call = chat_call(wire, model.limits.max_context)
        if not wire.messages:
            return _loaded(writer, call.streams)
        note(request.scope, model=model.name, stream=call.streams)
        generation = await unless_lost(request, service.chat(call, caller_of(request.scope)))
        return await _answered(request, generation, writer, call.streams)

    async def generate(self, request: Request) -> Response:
        """One prompt."""
        service = self._service
        wire = await read_struct_of_program(request, _generate_decoder, service.settings)
        model = self._model(wire)
        writer = AnswerWriter("generate", model)
        call = generate_call(wire, model.limits.max_context, model.loaded.template is not None)
        if not wire.prompt:
            return _loaded(writer, call.streams)
        note(request.scope, model=model.name, stream=call.streams)
        caller = caller_of(request.scope)
        starting = service.chat(call, caller) if isinstance(call, ChatCall) else service.complete(call, caller)
        return await _answered(request, await unless_lost(request, starting), writer, call.streams)

    def _model(self, wire: Asked) -> ServedModel:
        wire.model = model_name(wire.model)
        return self._service.model(wire.model)


def _loaded(writer: AnswerWriter, streams: bool) -> Response:
    return Response(writer.loaded(), media_type=writer.media_type if streams else "application/json")


async def _answered(request: Request, generation: Generation, writer: AnswerWriter, streams: bool) -> Response:
    if streams:
        return EventStream(generation, writer)
    (completion,) = await collected(generation, request)
    return Response(writer.whole(generation.answers[0], completion), media_type="application/json")
