"""/api/generate and /api/chat."""

from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from wayra.server.body import read_struct_of_program
from wayra.server.calls import ChatCall
from wayra.server.door import caller_of, note
from wayra.server.generation import Generation
from wayra.server.ollama.answers import AnswerWriter, Kind, without_text
from wayra.server.ollama.reading import chat_call, generate_call, keep_alive_s, model_name
from wayra.server.ollama.wire import Asked, ChatRequest, GenerateRequest
from wayra.server.served_model import ServedModel
from wayra.server.service import Service
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
        if not wire.messages and (gone := self._unloaded(wire, "chat")):
            return gone
        model = await self._model(wire, request)
        writer = AnswerWriter("chat", model)
        call = chat_call(wire, model.limits.max_context)
        if not wire.messages:
            return _without_text(wire, "chat", model.name, "load")
        note(request.scope, model=model.name, stream=call.streams)
        generation = await unless_lost(request, service.chat(model, call, caller_of(request.scope)))
        return await _answered(request, generation, writer, call.streams)

    async def generate(self, request: Request) -> Response:
        """One prompt."""
        service = self._service
        wire = await read_struct_of_program(request, _generate_decoder, service.settings)
        if not wire.prompt and (gone := self._unloaded(wire, "generate")):
            return gone
        model = await self._model(wire, request)
        writer = AnswerWriter("generate", model)
        call = generate_call(wire, model.limits.max_context, model.loaded.template is not None)
        if not wire.prompt:
            return _without_text(wire, "generate", model.name, "load")
        note(request.scope, model=model.name, stream=call.streams)
        caller = caller_of(request.scope)
        chats = isinstance(call, ChatCall)
        starting = service.chat(model, call, caller) if chats else service.complete(model, call, caller)
        return await _answered(request, await unless_lost(request, starting), writer, call.streams)

    async def _model(self, wire: Asked, request: Request) -> ServedModel:
        return await self._service.model(model_name(wire.model), request.scope, keep_alive_s(wire.keep_alive))

    def _unloaded(self, wire: Asked, kind: Kind) -> Response | None:
        """The answer to who wants a model to be gone, which it is as soon as nobody uses it any more."""
        if keep_alive_s(wire.keep_alive) != 0 or not self._service.swaps_models:
            return None
        offer = self._service.offer(model_name(wire.model))
        self._service.catalog.keep(offer, 0.0)
        return _without_text(wire, kind, offer.name, "unload")


def _without_text(wire: Asked, kind: Kind, name: str, reason: Literal["load", "unload"]) -> Response:
    media_type = AnswerWriter.media_type if wire.stream is not False else "application/json"
    return Response(without_text(kind, name, reason), media_type=media_type)


async def _answered(request: Request, generation: Generation, writer: AnswerWriter, streams: bool) -> Response:
    if streams:
        return EventStream(generation, writer)
    (completion,) = await collected(generation, request)
    return Response(writer.whole(generation.answers[0], completion), media_type="application/json")
