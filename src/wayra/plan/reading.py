"""Descriptions of models from what a user has: a shipped name, a config.json, a GGUF or safetensors file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from wayra.base.errors import FileFormatError, InvalidParameter, ModelNotFound, UnsupportedModel
from wayra.model.keys import Keys, shown
from wayra.model.spec import MAX_CONTEXT
from wayra.plan.files import read_text
from wayra.plan.gguf_header import sized_by_header
from wayra.plan.images import image_encoder, image_layers
from wayra.plan.models import Architecture, Experts, architecture, from_spec
from wayra.plan.stored import Stored, TensorBytes, as_stored, product_work
from wayra.weights.loader import load_weights, model_spec, open_checkpoint
from wayra.weights.tensors import ModelWeights

MAX_CONFIG_BYTES = 16 << 20
FULL_ATTENTION_EVERY = 4
"""Llama 4's layers with a position 4, 8, 12... attend to everything where the file does not say otherwise."""
_TIED = frozenset({"gemma", "gemma2", "cohere", "starcoder2"})
"""Those whose head is the embedding where the file does not say."""
_UNGATED = frozenset({"starcoder2", "gpt_neox"})
_DENSE = (
    _TIED | _UNGATED | {"llama", "mistral", "qwen2", "qwen3", "mllama", "phi3", "granite", "olmo", "olmo2", "smollm3"}
)
_SPARSE = frozenset({"mixtral", "qwen2_moe", "qwen3_moe", "llama4_text", "gpt_oss"})
_CLASSES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "MixtralForCausalLM": "mixtral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "Qwen3MoeForCausalLM": "qwen3_moe",
    "Llama4ForCausalLM": "llama4_text",
    "Llama4ForConditionalGeneration": "llama4_text",
    "MllamaForCausalLM": "mllama",
    "MllamaForConditionalGeneration": "mllama",
    "GPTJForCausalLM": "gptj",
    "GPTNeoXForCausalLM": "gpt_neox",
    "GemmaForCausalLM": "gemma",
    "Gemma2ForCausalLM": "gemma2",
    "CohereForCausalLM": "cohere",
    "Starcoder2ForCausalLM": "starcoder2",
    "Phi3ForCausalLM": "phi3",
    "GraniteForCausalLM": "granite",
    "OlmoForCausalLM": "olmo",
    "Olmo2ForCausalLM": "olmo2",
    "SmolLM3ForCausalLM": "smollm3",
    "Qwen2MoeForCausalLM": "qwen2_moe",
    "GptOssForCausalLM": "gpt_oss",
}


@dataclass(frozen=True, slots=True)
class Described:
    """A model to plan with. stored: how a file's own weights are stored, None where only the shape is known."""

    model: Architecture
    stored: Stored | None = None


def describe(name: str) -> Described:
    """By path (config.json, a folder with one, a GGUF or safetensors file) or by a name of the table.

    Raises: InvalidParameter on an unknown name, ModelNotFound, FileFormatError, UnsupportedModel.
    """
    if not name.strip():
        raise InvalidParameter("the model's name is empty; give a name, a config.json or a GGUF file")
    path = path_of(name)
    if path is None:
        return Described(architecture(name))
    if path.suffix == ".json":
        return Described(_config_file(path))
    if path.is_dir() and (path / "config.json").is_file() and not any(path.glob("*.safetensors")):
        return Described(_config_file(path / "config.json"))
    if path.exists() or path.suffix in (".gguf", ".safetensors"):
        return _weights_file(path)
    return Described(architecture(name))


def path_of(name: str) -> Path | None:
    """The path that a name may be; None for what no file can be called."""
    try:
        path = Path(name).expanduser()
        path.exists()
    except (OSError, RuntimeError, ValueError):
        return None
    return path


def _weights_file(path: Path) -> Described:
    if not path.exists():
        raise ModelNotFound(f"there is no file {path}")
    checkpoint = open_checkpoint(path)
    try:
        try:
            spec = model_spec(checkpoint)
        except UnsupportedModel:
            if checkpoint.kind != "gguf":
                raise
            return Described(*sized_by_header(checkpoint, path.stem, path.name))
        model = from_spec(replace(spec, name=spec.name or path.stem), source=path.name)
        return Described(model, _stored_in(load_weights(checkpoint, spec), model, path.name))
    finally:
        checkpoint.close()


def _stored_in(weights: ModelWeights, model: Architecture, where: str) -> Stored:
    tables = linear = 0
    work = 0.0
    for slot, weight in weights.matrices.items():
        size = sum(part.tensor.data.nbytes for part in weight.parts)
        if slot in ("embed", "head"):
            tables += size
        else:
            linear += size
            work += sum(
                part.tensor.data.nbytes * 8 / part.tensor.fmt.bits_per_weight * product_work(part.tensor.fmt.name)
                for part in weight.parts
            )
    small = sum(vector.nbytes for vector in weights.vectors.values())
    quantised = any(part.tensor.fmt.is_quantised for weight in weights.matrices.values() for part in weight.parts)
    found = TensorBytes(linear, tables, small)
    return as_stored(model, found, quantised=quantised, source=where, work=work / model.linear)


def _config_file(path: Path) -> Architecture:
    if not path.exists():
        raise ModelNotFound(f"there is no file {path}")
    text = read_text(path, MAX_CONFIG_BYTES, "model's config.json")
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path} is no JSON: {str(error)[:120]}") from error
    if not isinstance(config, dict):
        raise FileFormatError(f"{path} holds {shown(config)}; expected an object, as a config.json is")
    found: dict[str, object] = {str(key): value for key, value in config.items()}
    name = path.parent.name if path.name == "config.json" else path.stem
    return from_config(found, name=name or "model", source=path.name)


def from_config(config: Mapping[str, object], *, name: str, source: str) -> Architecture:
    """The description in a Hugging Face config, dense or sparse; of several parts, the one for text.

    Raises: UnsupportedModel on an architecture whose memory these formulas do not describe, FileFormatError.
    """
    outer = Keys(config, source)
    text = outer.table("text_config")
    keys = Keys(text, f"{source}, text_config") if text is not None else outer
    kind = _kind(outer, keys)
    if kind == "gptj":
        return _gpt_j(keys, name, source)
    num_layers, hidden_size = keys.integer("num_hidden_layers"), keys.integer("hidden_size")
    num_heads = keys.integer("num_attention_heads")
    if num_heads < 1 or num_layers < 1:
        raise FileFormatError(f"{source}: {num_layers} layers of {num_heads} heads; expected at least one of each")
    head_dim = keys.integer("head_dim", hidden_size // num_heads)
    window, window_layers = _window(keys, kind, num_layers)
    context_len, notes = _context(keys, "max_position_embeddings")
    images, image_tokens = image_layers(keys, outer) if kind == "mllama" else (0, 0)
    ffn_key = "intermediate_size_mlp" if kind == "llama4_text" else "intermediate_size"
    return Architecture(
        name=name,
        title=name,
        num_layers=num_layers,
        hidden_size=hidden_size,
        num_heads=num_heads,
        num_kv_heads=keys.integer("num_key_value_heads", num_heads),
        head_dim=head_dim,
        ffn_size=keys.integer(ffn_key),
        vocab_size=keys.integer("vocab_size"),
        context_len=context_len,
        tied=keys.flag("tie_word_embeddings", kind in _TIED),
        mlp_matrices=2 if kind in _UNGATED else 3,
        attention_bias=kind in ("qwen2", "qwen2_moe") or keys.flag("attention_bias", False),
        head_norms=kind in ("qwen3", "qwen3_moe"),
        window=window,
        window_layers=window_layers,
        window_kind="chunked" if kind == "llama4_text" else "sliding",
        experts=_experts(keys, kind, num_layers) if kind in _SPARSE else None,
        image_layers=images,
        image_tokens=image_tokens,
        image_parameters=image_encoder(outer, hidden_size) if kind == "mllama" else 0,
        source=source,
        note="; ".join([*notes, *_unsaid(outer, kind)]),
    )


def _gpt_j(keys: Keys, name: str, source: str) -> Architecture:
    """GPT-J, which has names of its own for everything, and no gate in its feed-forward layers."""
    hidden_size, num_heads = keys.integer("n_embd"), keys.integer("n_head")
    if num_heads < 1:
        raise FileFormatError(f"{source}: {num_heads} heads; expected at least one")
    context_len, notes = _context(keys, "n_positions")
    return Architecture(
        name=name,
        title=name,
        num_layers=keys.integer("n_layer"),
        hidden_size=hidden_size,
        num_heads=num_heads,
        num_kv_heads=num_heads,
        head_dim=hidden_size // num_heads,
        ffn_size=keys.integer("n_inner", 4 * hidden_size),
        vocab_size=keys.integer("vocab_size"),
        context_len=context_len,
        tied=keys.flag("tie_word_embeddings", False),
        mlp_matrices=2,
        source=source,
        note="; ".join(notes),
    )


def _context(keys: Keys, name: str) -> tuple[int, list[str]]:
    """The context a model was made for. No memory depends on it, so that a file may leave it out."""
    if keys.get(name) is not None:
        return keys.integer(name), []
    return MAX_CONTEXT, [f"{keys.source} does not say for how long a context it was made ({name}), so none is too long"]


def _unsaid(outer: Keys, kind: str) -> list[str]:
    """What the numbers leave out."""
    found: list[str] = []
    if kind != "mllama" and outer.get("vision_config") is not None:
        found.append("text model alone: its encoder of images is not counted")
    if (quantised := outer.table("quantization_config")) is not None:
        method = shown(quantised.get("quant_method", "of an unnamed kind"))
        found.append(f"the checkpoint is quantised ({method}); --format says how its weights are counted")
    return found


def _kind(outer: Keys, keys: Keys) -> str:
    names = outer.texts("architectures") or ()
    kind = next((_CLASSES[n] for n in names if n in _CLASSES), "" if names else keys.text("model_type", ""))
    if kind in _DENSE | _SPARSE | {"gptj"}:
        return kind
    if not (names or kind):
        raise FileFormatError(
            f"{outer.source} names no architecture; expected architectures, or model_type, as a config.json has them"
        )
    seen = shown(names[0] if names else kind)
    raise UnsupportedModel(f"the planner cannot size architecture {seen}; it knows {', '.join(sorted(_CLASSES))}")


def _window(keys: Keys, kind: str, num_layers: int) -> tuple[int | None, int]:
    """Length of the window and how many layers have it."""
    if kind == "llama4_text":
        if keys.get("attention_chunk_size") is None:
            return None, 0
        return keys.integer("attention_chunk_size"), num_layers - num_layers // FULL_ATTENTION_EVERY
    switched_off = kind.startswith("qwen") and not keys.flag("use_sliding_window", False)
    if kind in ("llama", "gemma") or switched_off or keys.get("sliding_window") is None:
        return None, 0
    if types := keys.texts("layer_types"):
        return keys.integer("sliding_window"), sum(t == "sliding_attention" for t in types)
    if kind == "gemma2":
        return keys.integer("sliding_window"), num_layers - num_layers // 2
    full = keys.integer("max_window_layers", num_layers) if kind.startswith("qwen") else 0
    return keys.integer("sliding_window"), max(0, num_layers - full)


def _experts(keys: Keys, kind: str, num_layers: int) -> Experts:
    used = keys.integer("num_experts_per_tok")
    if kind.startswith("qwen"):
        step = max(1, keys.integer("decoder_sparse_step", 1))
        # Newer versions of transformers write the other name.
        count_key = "num_experts" if keys.get("num_local_experts") is None else "num_local_experts"
        shared = keys.integer("shared_expert_intermediate_size") if kind == "qwen2_moe" else 0
        return Experts(num_layers // step, keys.integer(count_key), used, keys.integer("moe_intermediate_size"), shared)
    count, ffn_size = keys.integer("num_local_experts"), keys.integer("intermediate_size")
    if kind in ("mixtral", "gpt_oss"):
        return Experts(num_layers, count, used, ffn_size)
    step = max(1, keys.integer("interleave_moe_layer_step", 1))
    return Experts(num_layers // step, count, used, ffn_size, ffn_size)
