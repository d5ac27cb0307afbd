"""/api/tags, /api/ps, /api/show and /api/version."""

import math

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from wayra import __version__
from wayra.model.families import slots
from wayra.model.spec import ModelSpec
from wayra.server.body import read_struct_of_program
from wayra.server.offer import Offer
from wayra.server.ollama.answers import timestamp
from wayra.server.ollama.reading import model_name
from wayra.server.ollama.wire import ShowRequest
from wayra.server.service import Service

_decoder = msgspec.json.Decoder(ShowRequest)
_encode = msgspec.json.Encoder().encode


class Details(Struct):
    family: str
    families: list[str]
    parameter_size: str
    parent_model: str = ""


class Listed(Struct):
    """digest: of the model's files as they lie here, not of all that is in them."""

    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: Details


class Tags(Struct):
    models: list[Listed]


class Running(Struct):
    """size: of weights, KV cache and activations, in bytes; no video memory."""

    name: str
    model: str
    size: int
    digest: str
    details: Details
    context_length: int
    size_vram: int = 0


class Processes(Struct):
    models: list[Running]


class Shown(Struct):
    """model_info: under the keys that GGUF files use."""

    modelfile: str
    parameters: str
    template: str
    details: Details
    model_info: dict[str, str | int | float]
    capabilities: list[str]
    modified_at: str
    digest: str


class Version(Struct):
    version: str


class ModelRoutes:
    """The endpoints, over one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def tags(self, request: Request) -> Response:
        """Every name a client may use."""
        return _json(Tags([_listed(offer, name) for offer in self._service.offers for name in offer.facts.names]))

    async def ps(self, request: Request) -> Response:
        """What is loaded now."""
        return _json(Processes([_running(offer) for offer in self._service.catalog.loaded]))

    async def show(self, request: Request) -> Response:
        """What a model is. verbose changes nothing: token lists are never sent."""
        wire = await read_struct_of_program(request, _decoder, self._service.settings)
        offer = self._service.offer(model_name(wire.model or wire.name))
        facts = offer.facts
        return _json(
            Shown(
                modelfile=f"FROM {facts.source}\n",
                parameters=f"num_ctx {facts.context_len}",
                template=facts.template_source or "",
                details=_details(facts.spec),
                model_info=_facts(facts.spec),
                capabilities=["completion", "embedding", *(["tools"] if facts.template_source is not None else [])],
                modified_at=timestamp(offer.created),
                digest=facts.digest,
            )
        )

    async def version(self, request: Request) -> Response:
        """This server's own."""
        return _json(Version(__version__))


def _listed(offer: Offer, name: str) -> Listed:
    facts = offer.facts
    return Listed(name, name, timestamp(offer.created), facts.weights_bytes, facts.digest, _details(facts.spec))


def _running(offer: Offer) -> Running:
    facts = offer.facts
    size = offer.held_bytes if offer.model is None else offer.model.held_bytes()
    return Running(offer.name, offer.name, size, facts.digest, _details(facts.spec), facts.context_len)


def _details(spec: ModelSpec) -> Details:
    return Details(spec.family, [spec.family], _shown_count(num_parameters(spec)))


def _facts(spec: ModelSpec) -> dict[str, str | int | float]:
    """The keys under which GGUF files and this API's clients know them."""
    family = spec.family
    return {
        "general.architecture": family,
        "general.basename": spec.name,
        "general.parameter_count": num_parameters(spec),
        f"{family}.context_length": spec.context_len,
        f"{family}.embedding_length": spec.hidden_size,
        f"{family}.block_count": spec.num_layers,
        f"{family}.feed_forward_length": spec.ffn_size,
        f"{family}.attention.head_count": spec.num_heads,
        f"{family}.attention.head_count_kv": spec.num_kv_heads,
        f"{family}.attention.layer_norm_rms_epsilon": spec.norm_eps,
        f"{family}.rope.freq_base": spec.rope.theta,
        f"{family}.vocab_size": spec.vocab_size,
    }


def num_parameters(spec: ModelSpec) -> int:
    """Weights of a model; those that serve twice count once."""
    return sum(math.prod(slot.shape) for slot in slots(spec) if slot.name != "rope_inv_freq")


def _shown_count(count: int) -> str:
    return f"{count / 1e9:.1f}B" if count >= 1e9 else f"{count / 1e6:.2f}M"


def _json(value: object) -> Response:
    return Response(_encode(value), media_type="application/json")
