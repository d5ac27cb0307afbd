"""/api/embed."""

import time
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from wayra.server.body import read_struct_of_program
from wayra.server.bounds import MAX_PROMPTS
from wayra.server.calls import EmbeddingCall
from wayra.server.door import caller_of, note
from wayra.server.ollama.answers import NS
from wayra.server.ollama.reading import keep_alive_s, model_name, sampling
from wayra.server.ollama.wire import KeepAlive, Options
from wayra.server.service import Service
from wayra.server.stream import embedded


class EmbedRequest(Struct, forbid_unknown_fields=True):
    """truncate: cut what is too long, which is the default here. options: those of sampling change nothing."""

    input: str | Annotated[list[str], Meta(min_length=1, max_length=MAX_PROMPTS)]
    model: str = ""
    truncate: bool | None = None
    options: Options | None = None
    keep_alive: KeepAlive | None = None
    dimensions: None = None


class EmbedAnswer(Struct):
    """total_duration: nanoseconds."""

    model: str
    embeddings: list[list[float]]
    total_duration: int
    prompt_eval_count: int
    load_duration: int = 0


_decoder = msgspec.json.Decoder(EmbedRequest)
_encode = msgspec.json.Encoder().encode


class EmbedRoute:
    """The endpoint, over one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def answer(self, request: Request) -> Response:
        """Vectors of length 1, in the order of the inputs."""
        service, began = self._service, time.perf_counter()
        wire = await read_struct_of_program(request, _decoder, service.settings)
        name = model_name(wire.model)
        model = await service.model(name, request.scope, keep_alive_s(wire.keep_alive))
        # What is wrong is refused, also where it would change nothing.
        sampling(wire.options, model.limits.max_context)
        note(request.scope, model=model.name)
        texts = [wire.input] if isinstance(wire.input, str) else wire.input
        call = EmbeddingCall(name, texts, truncates=wire.truncate is not False)
        embeddings = await service.embed(model, call, caller_of(request.scope))
        vectors = await embedded(embeddings, request)
        answer = EmbedAnswer(
            model.name,
            [vector.tolist() for vector in vectors],
            int((time.perf_counter() - began) * NS),
            embeddings.prompt_tokens,
        )
        return Response(_encode(answer), media_type="application/json")
