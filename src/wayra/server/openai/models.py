"""/v1/models, /tokenize and /detokenize."""

import msgspec
from msgspec import UNSET, Struct, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from wayra.server.body import read_struct
from wayra.server.door import caller_of
from wayra.server.errors import ApiError
from wayra.server.offer import Offer
from wayra.server.openai.reading import plain_messages
from wayra.server.openai.wire import DetokenizeRequest, TokenizeRequest
from wayra.server.service import Service

_encode = msgspec.json.Encoder().encode
_tokenize_decoder = msgspec.json.Decoder(TokenizeRequest)
_detokenize_decoder = msgspec.json.Decoder(DetokenizeRequest)


class ModelCard(Struct):
    """max_model_len, root: as vLLM tells them."""

    id: str
    created: int
    max_model_len: int
    root: str
    object: str = "model"
    owned_by: str = "wayra"


class ModelList(Struct):
    data: list[ModelCard]
    object: str = "list"


class Tokens(Struct):
    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | UnsetType = UNSET


class Text(Struct):
    prompt: str


class ModelRoutes:
    """The endpoints, over one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def models(self, request: Request) -> Response:
        """Every name a client may use."""
        cards = [_card(offer, name) for offer in self._service.offers for name in offer.facts.names]
        return _json(ModelList(cards))

    async def model(self, request: Request) -> Response:
        """One of them."""
        name = request.path_params["name"]
        return _json(_card(self._service.offer(name), name))

    async def tokenize(self, request: Request) -> Response:
        """Text, or a conversation as the model would see it, to token ids."""
        service = self._service
        wire = await read_struct(request, _tokenize_decoder, service.settings)
        model = await service.model(wire.model, request.scope)
        if (wire.prompt is None) == (wire.messages is None):
            raise ApiError(400, "give either prompt or messages", "prompt")
        caller = caller_of(request.scope)
        if wire.messages is not None:
            ids = await service.chat_ids(model, plain_messages(wire.messages), caller)
        else:
            ids = await service.text_ids(model, wire.prompt or "", caller, wire.add_special_tokens)
        tokens = Tokens(len(ids), model.limits.max_context, list(ids))
        if wire.return_token_strs:
            tokens.token_strs = await service.token_strs(model, ids, caller)
        return _json(tokens)

    async def detokenize(self, request: Request) -> Response:
        """Token ids to text, control tokens included."""
        wire = await read_struct(request, _detokenize_decoder, self._service.settings)
        model = await self._service.model(wire.model, request.scope)
        return _json(Text(await self._service.text_of(model, wire.tokens, caller_of(request.scope))))


def _card(offer: Offer, name: str) -> ModelCard:
    return ModelCard(name, offer.created, offer.facts.context_len, offer.facts.source)


def _json(value: object) -> Response:
    return Response(_encode(value), media_type="application/json")
