"""/api/tags, /api/ps, /api/show and /api/version."""

import math

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from wayra import __version__
from wayra.model.families import slots
from wayra.model.spec import ModelSpec
from wayra.server.body import read_struct_of_program
from wayra.server.ollama.answers import timestamp
from wayra.server.ollama.reading import model_name
from wayra.server.ollama.wire import ShowRequest
from wayra.server.service import ServedModel, Service

_decoder = msgspec.json.Decoder(ShowRequest)
_encode = msgspec.json.Encoder().encode


class ModelRoutes:
    """The endpoints, over one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def tags(self, request: Request) -> Response:
        """Every name a client may use. digest: of the model's files as they lie here, not of all that is in them."""
        models = [
            {"name": name, "model": name, "modified_at": timestamp(model.created), "size": _weights_bytes(model),
             "digest": model.loaded.digest, "details": _details(model)}
            for model in self._service.models for name in model.names
        ]  # fmt: skip
        return _json({"models": models})

    async def ps(self, request: Request) -> Response:
        """What is loaded, which is all that is served. size: of weights, KV cache and activations; no video memory."""
        models: list[dict[str, object]] = []
        for model in self._service.models:
            memory = model.loaded.memory()
            size = memory.weights_bytes + memory.kv_bytes + memory.activation_bytes
            models.append(
                {"name": model.name, "model": model.name, "size": size, "size_vram": 0,
                 "digest": model.loaded.digest, "details": _details(model),
                 "context_length": model.limits.max_context}
            )  # fmt: skip
        return _json({"models": models})

    async def show(self, request: Request) -> Response:
        """What a model is. verbose changes nothing: token lists are never sent."""
        wire = await read_struct_of_program(request, _decoder, self._service.settings)
        model = self._service.model(model_name(wire.model or wire.name))
        template = model.loaded.template
        return _json(
            {
                "modelfile": f"FROM {model.loaded.source}\n",
                "parameters": f"num_ctx {model.limits.max_context}",
                "template": "" if template is None else template.source,
                "details": _details(model),
                "model_info": _facts(model.loaded.spec),
                "capabilities": ["completion", "embedding", *(["tools"] if template is not None else [])],
                "modified_at": timestamp(model.created),
                "digest": model.loaded.digest,
            }
        )

    async def version(self, request: Request) -> Response:
        """This server's own."""
        return _json({"version": __version__})


def _weights_bytes(model: ServedModel) -> int:
    return model.loaded.memory().weights_bytes


def _details(model: ServedModel) -> dict[str, object]:
    spec = model.loaded.spec
    return {
        "parent_model": "",
        "family": spec.family,
        "families": [spec.family],
        "parameter_size": _shown_count(num_parameters(spec)),
    }


def _facts(spec: ModelSpec) -> dict[str, object]:
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
