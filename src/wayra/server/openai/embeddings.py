"""/v1/embeddings."""

import base64
from typing import Literal

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from wayra.base.errors import InvalidParameter
from wayra.server.body import read_struct
from wayra.server.calls import EmbeddingCall
from wayra.server.door import caller_of, note
from wayra.server.errors import ApiError
from wayra.server.openai.reading import read_prompts
from wayra.server.openai.wire import Prompts
from wayra.server.service import Service
from wayra.server.stream import embedded


class EmbeddingRequest(Struct, forbid_unknown_fields=True):
    """pooling: an extension. user: accepted without effect. dimensions: no model here was trained to be cut."""

    input: Prompts
    model: str = ""
    encoding_format: Literal["float", "base64"] | None = None
    pooling: Literal["mean", "last"] | None = None
    user: str | None = None
    dimensions: None = None


class Embedding(Struct):
    index: int
    embedding: list[float] | str
    object: str = "embedding"


class EmbeddingUsage(Struct):
    prompt_tokens: int
    total_tokens: int


class EmbeddingAnswer(Struct):
    model: str
    data: list[Embedding]
    usage: EmbeddingUsage
    object: str = "list"


_decoder = msgspec.json.Decoder(EmbeddingRequest)
_encode = msgspec.json.Encoder().encode


class EmbeddingsRoute:
    """The endpoint, over one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def answer(self, request: Request) -> Response:
        """Vectors of length 1, in the order of the inputs."""
        service = self._service
        wire = await read_struct(request, _decoder, service.settings)
        model = await service.model(wire.model, request.scope)
        note(request.scope, model=model.name)
        call = EmbeddingCall(wire.model, read_prompts(wire.input, "input"), wire.pooling or "mean")
        try:
            embeddings = await service.embed(model, call, caller_of(request.scope))
        except InvalidParameter as error:
            # What is called a prompt elsewhere.
            raise ApiError(400, str(error), "input") from error
        vectors = await embedded(embeddings, request)
        note(request.scope, prompt_tokens=embeddings.prompt_tokens)
        data = [Embedding(i, _written(vector, wire.encoding_format == "base64")) for i, vector in enumerate(vectors)]
        count = embeddings.prompt_tokens
        answer = EmbeddingAnswer(model.name, data, EmbeddingUsage(count, count))
        return Response(_encode(answer), media_type="application/json")


def _written(vector: NDArray[np.float32], as_base64: bool) -> list[float] | str:
    """Numbers, or the base64 of little-endian float32."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode() if as_base64 else vector.tolist()
