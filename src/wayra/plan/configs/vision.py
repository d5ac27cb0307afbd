"""Encoders of images and their projections to the text, as far as their part of a config describes them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from wayra.base.errors import FileFormatError
from wayra.model.keys import Keys
from wayra.plan.configs.keys import count, size

CHANNELS = 3
FRAMES = 2
"""That Qwen's patches are deep where the file does not say."""


def encoder(outer: Keys, kind: str, hidden_size: int) -> tuple[int, str]:
    """Parameters of the encoder, and what to tell where there is one that is not counted.

    kind: of the whole model, in the table's names. hidden_size: of the text.
    """
    found = outer.get("vision_config")
    if found is None:
        return 0, ""
    alone = "text model alone: its encoder of images is not counted"
    make = _ENCODERS.get(kind)
    if make is None:
        return 0, alone
    try:
        table = outer.table("vision_config") or {}
        return make(Keys(table, f"{outer.source}, vision_config"), outer, hidden_size), ""
    except FileFormatError as error:
        return 0, f"{alone} ({error})"


def _linear(inputs: int, outputs: int, *, bias: bool = True) -> int:
    return inputs * outputs + (outputs if bias else 0)


def _patches(vision: Keys) -> int:
    """Values of a patch."""
    return count(vision, "num_channels", CHANNELS, least=1, most=16) * size(vision, "patch_size", most=1024) ** 2


def _positions(vision: Keys) -> int:
    return (size(vision, "image_size") // size(vision, "patch_size")) ** 2


def _plain(vision: Keys) -> tuple[int, int]:
    """Width, and parameters of layers with two norms, biased attention and a feed-forward layer without a gate."""
    width, ffn = size(vision, "hidden_size"), size(vision, "intermediate_size")
    layer = 4 * _linear(width, width) + _linear(width, ffn) + _linear(ffn, width) + 4 * width
    return width, size(vision, "num_hidden_layers", most=1024) * layer


def _clip(vision: Keys) -> tuple[int, int]:
    width, layers = _plain(vision)
    return width, layers + width + _patches(vision) * width + (_positions(vision) + 1) * width + 4 * width


def _siglip(vision: Keys, *, has_head: bool) -> tuple[int, int]:
    width, layers = _plain(vision)
    found = layers + _linear(_patches(vision), width) + _positions(vision) * width + 2 * width
    if has_head and vision.flag("vision_use_head", True):
        ffn = size(vision, "intermediate_size")
        found += width + 4 * _linear(width, width) + 2 * width + _linear(width, ffn) + _linear(ffn, width)
    return width, found


def _pixtral(vision: Keys) -> tuple[int, int]:
    width, ffn = size(vision, "hidden_size"), size(vision, "intermediate_size")
    layers = size(vision, "num_hidden_layers", most=1024)
    return width, layers * (4 * width * width + 3 * width * ffn + 2 * width) + _patches(vision) * width + width


def _by_type(vision: Keys) -> tuple[int, int]:
    match vision.text("model_type", "clip_vision_model"):
        case "clip_vision_model":
            return _clip(vision)
        case "siglip_vision_model":
            return _siglip(vision, has_head=True)
        case "pixtral":
            return _pixtral(vision)
        case other:
            raise FileFormatError(f"{vision.source} is of type {other[:40]!r}, which is not known here")


def _llava(vision: Keys, outer: Keys, hidden: int) -> int:
    width, found = _by_type(vision)
    layers = outer.get("vision_feature_layer")
    biased = outer.flag("multimodal_projector_bias", True)
    width *= max(1, len(layers)) if isinstance(layers, list) else 1
    return found + _linear(width, hidden, bias=biased) + _linear(hidden, hidden, bias=biased)


def _vip_llava(vision: Keys, outer: Keys, hidden: int) -> int:
    layers = outer.get("vision_feature_layers") or outer.get("vision_feature_layer")
    joined = Keys({**outer.values, "vision_feature_layer": layers}, outer.source)
    normed = size(vision, "hidden_size") * (len(layers) if isinstance(layers, list) else 1)
    return _llava(vision, joined, hidden) + 2 * normed


def _llava_next(vision: Keys, outer: Keys, hidden: int) -> int:
    return _llava(vision, outer, hidden) + hidden


def _gemma_3(vision: Keys, outer: Keys, hidden: int) -> int:
    width, found = _siglip(vision, has_head=True)
    return found + width * hidden + width


def _gemma_4(vision: Keys, outer: Keys, hidden: int) -> int:
    width, ffn, dim = size(vision, "hidden_size"), size(vision, "intermediate_size"), size(vision, "head_dim")
    q, kv = size(vision, "num_attention_heads") * dim, size(vision, "num_key_value_heads") * dim
    layer = 2 * width * (q + kv) + 2 * dim + 3 * width * ffn + 4 * width
    found = size(vision, "num_hidden_layers", most=1024) * layer + _patches(vision) * width
    return found + 2 * size(vision, "position_embedding_size") * width + width * hidden


def _paligemma(vision: Keys, outer: Keys, hidden: int) -> int:
    width, found = _siglip(vision, has_head=True)
    return found + _linear(width, hidden)


def _idefics_3(vision: Keys, outer: Keys, hidden: int) -> int:
    width, found = _siglip(vision, has_head=False)
    return found + width * size(outer, "scale_factor", 2, most=64) ** 2 * hidden


def _mistral_3(vision: Keys, outer: Keys, hidden: int) -> int:
    width, found = _by_type(vision)
    merged = size(outer, "spatial_merge_size", 2, most=64) ** 2
    biased = outer.flag("multimodal_projector_bias", False)
    projection = width + merged * width * width
    return found + projection + _linear(width, hidden, bias=biased) + _linear(hidden, hidden, bias=biased)


def _internvl(vision: Keys, outer: Keys, hidden: int) -> int:
    width, ffn = size(vision, "hidden_size"), size(vision, "intermediate_size")
    named = "attention_bias" if vision.get("attention_bias") is not None else "qkv_bias"
    attention = 3 * _linear(width, width, bias=vision.flag(named, False)) + _linear(width, width)
    if vision.flag("use_qk_norm", False) or vision.flag("qk_normalization", False):
        attention += 2 * width
    norms = 2 * width * (1 if vision.text("norm_type", "layer_norm") == "rms_norm" else 2)
    # Two scales of what is added to the residual.
    layer = attention + _linear(width, ffn) + _linear(ffn, width) + norms + 2 * width
    found = size(vision, "num_hidden_layers", most=1024) * layer + _linear(_patches(vision), width) + width
    if vision.flag("use_absolute_position_embeddings", True):
        found += (_positions(vision) + 1) * width
    if not vision.flag("use_mean_pooling", True):
        found += 2 * width
    merged = 4 * width
    return found + 2 * merged + _linear(merged, hidden) + _linear(hidden, hidden)


def _llama_4(vision: Keys, outer: Keys, hidden: int) -> int:
    width, layers = _plain(vision)
    found = layers + _patches(vision) * width + width + (_positions(vision) + 1) * width + 4 * width
    between, out = size(vision, "projector_input_dim"), size(vision, "projector_output_dim")
    found += size(vision, "intermediate_size") * between + out * out
    return found + size(vision, "vision_output_dim") * hidden


def _qwen_2(vision: Keys, outer: Keys, hidden: int) -> int:
    width = size(vision, "embed_dim")
    ffn = int(width * vision.number("mlp_ratio", 4.0))
    layer = _linear(width, 3 * width) + _linear(width, width) + _linear(width, ffn) + _linear(ffn, width) + 4 * width
    return _qwen(vision, width, layer, 2 * width, size(vision, "hidden_size", hidden), biased_patches=False)


def _qwen_25(vision: Keys, outer: Keys, hidden: int) -> int:
    width, ffn = size(vision, "hidden_size"), size(vision, "intermediate_size")
    mlp = 2 * _linear(width, ffn) + _linear(ffn, width)
    layer = _linear(width, 3 * width) + _linear(width, width) + mlp + 2 * width
    return _qwen(vision, width, layer, width, size(vision, "out_hidden_size", hidden), biased_patches=False)


def _qwen_3(vision: Keys, outer: Keys, hidden: int) -> int:
    width, ffn = size(vision, "hidden_size"), size(vision, "intermediate_size")
    layer = _linear(width, 3 * width) + _linear(width, width) + _linear(width, ffn) + _linear(ffn, width) + 4 * width
    out = size(vision, "out_hidden_size", hidden)
    found = _qwen(vision, width, layer, 2 * width, out, biased_patches=True)
    merged = size(vision, "spatial_merge_size", 2, most=64) ** 2 * width
    deep = vision.get("deepstack_visual_indexes")
    mergers = len(deep) if isinstance(deep, list) else 0
    found += mergers * (2 * merged + _linear(merged, merged) + _linear(merged, out))
    return found + count(vision, "num_position_embeddings", 0) * width


def _qwen(vision: Keys, width: int, layer: int, norm: int, out: int, *, biased_patches: bool) -> int:
    """Layers, patches of several frames, and the projection of neighbouring patches."""
    merged = size(vision, "spatial_merge_size", 2, most=64) ** 2 * width
    patch = _patches(vision) * size(vision, "temporal_patch_size", FRAMES, most=64)
    found = size(vision, "depth", most=1024) * layer + _linear(patch, width, bias=biased_patches)
    return found + norm + _linear(merged, merged) + _linear(merged, out)


_ENCODERS: Mapping[str, Callable[[Keys, Keys, int], int]] = MappingProxyType(
    {
        "llava": _llava,
        "vipllava": _vip_llava,
        "llavanext": _llava_next,
        "gemma3": _gemma_3,
        "gemma4": _gemma_4,
        "paligemma": _paligemma,
        "idefics3": _idefics_3,
        "smolvlm": _idefics_3,
        "mistral3": _mistral_3,
        "internvl": _internvl,
        "llama4": _llama_4,
        "qwen2vl": _qwen_2,
        "qwen25vl": _qwen_25,
        "qwen3vl": _qwen_3,
        "qwen3vlmoe": _qwen_3,
        "qwen35": _qwen_3,
        "qwen35moe": _qwen_3,
    }
)
