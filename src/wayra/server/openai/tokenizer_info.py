"""/tokenizer_info, which lm-eval asks before it tokenizes through a server, as vLLM answers it."""

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from wayra.server.served_model import ServedModel
from wayra.server.service import Service

_encode = msgspec.json.Encoder().encode


class TokenizerInfo(Struct):
    """Texts of control tokens, null where the model has none; chat_template: null when it is no chat model."""

    tokenizer_class: str
    bos_token: str | None
    eos_token: str | None
    pad_token: str | None
    chat_template: str | None
    model_max_length: int


class TokenizerInfoRoute:
    """The endpoint, over one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def answer(self, request: Request) -> Response:
        """Of the default model, or the one that `?model=` names."""
        model = await self._service.model(request.query_params.get("model", ""), request.scope)
        return Response(_encode(_info(model)), media_type="application/json")


def _info(model: ServedModel) -> TokenizerInfo:
    tokenizer, template = model.tokenizer, model.loaded.template
    ends = [_text(model, token_id) for token_id in sorted(tokenizer.eos_ids)]
    eos = next(iter(ends), None)
    if template is not None and template.eos_token:
        eos = template.eos_token
    bos = None if tokenizer.bos_id is None else _text(model, tokenizer.bos_id)
    source = None if template is None else template.source
    return TokenizerInfo("wayra", bos, eos, eos, source, model.limits.max_context)


def _text(model: ServedModel, token_id: int) -> str:
    return model.tokenizer.decode([token_id], skip_special=False)
