"""ModelSpec from a Hugging Face config.json (already decoded): Llama, Mistral and Qwen2.

Where a key is absent, the default is the one transformers has for that architecture. Keys that would change the maths
in a way this family's forward does not follow are refused, never skipped.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from wayra.base.errors import FileFormatError, UnsupportedModel
from wayra.model.keys import Keys, shown
from wayra.model.quantization_hf import check_quantization
from wayra.model.spec import MAX_LAYERS, ModelSpec, RopeSpec

SOURCE = "config.json"
DEFAULT_THETA = 10000.0


@dataclass(frozen=True, slots=True)
class _Architecture:
    """What sets one architecture apart, and its defaults for absent keys. num_kv_heads None: as many as heads."""

    model_type: str
    num_kv_heads: int | None
    context_len: int
    sliding_window: int | None


ARCHITECTURES: Mapping[str, _Architecture] = {
    "LlamaForCausalLM": _Architecture("llama", None, 2048, None),
    "MistralForCausalLM": _Architecture("mistral", 8, 4096 * 32, 4096),
    "Qwen2ForCausalLM": _Architecture("qwen2", 32, 32768, 4096),
}

_NEUTRAL_SWITCH = (None, False, 0)
_NEUTRAL_FACTOR = (None, 1)
_REFUSED: tuple[tuple[str, tuple[object, ...]], ...] = (
    ("expert", _NEUTRAL_SWITCH),
    ("moe", _NEUTRAL_SWITCH),
    ("softcap", _NEUTRAL_SWITCH),
    ("clip_qkv", _NEUTRAL_SWITCH),
    ("alibi", _NEUTRAL_SWITCH),
    ("qk_norm", _NEUTRAL_SWITCH),
    ("qk_layernorm", _NEUTRAL_SWITCH),
    ("parallel_residual", _NEUTRAL_SWITCH),
    ("no_rope_layer", (None, False, 0, [])),
    ("attention_chunk_size", _NEUTRAL_SWITCH),
    ("attn_temperature_tuning", _NEUTRAL_SWITCH),
    ("multiplier", _NEUTRAL_FACTOR),
    ("logit_scale", _NEUTRAL_FACTOR),
    ("logits_scaling", _NEUTRAL_FACTOR),
    ("scale_emb", _NEUTRAL_FACTOR),
    ("scale_depth", _NEUTRAL_FACTOR),
    ("embedding_scale", _NEUTRAL_FACTOR),
    ("residual_scale", _NEUTRAL_FACTOR),
    ("query_pre_attn_scalar", (None,)),
    ("partial_rotary_factor", _NEUTRAL_FACTOR),
)
"""Parts of names of keys that change the maths, each with the values that leave it unchanged."""

_ROPE_KEYS = frozenset({
    "rope_type", "type", "rope_theta", "factor", "original_max_position_embeddings", "low_freq_factor",
    "high_freq_factor", "beta_fast", "beta_slow", "attention_factor", "mscale", "mscale_all_dim", "truncate",
    "partial_rotary_factor", "finetuned", "max_position_embeddings",
})  # fmt: skip


def spec_from_hf(config: Mapping[str, object]) -> ModelSpec:
    """Raises UnsupportedModel on an architecture or key outside the family, FileFormatError on malformed values."""
    keys = Keys(config, SOURCE)
    arch = _architecture(keys)
    _refuse_foreign_keys(config)
    for key in ("quantization_config", "compression_config"):
        check_quantization(keys.get(key), SOURCE)
    if (act := keys.text("hidden_act", "silu")) not in ("silu", "swish"):
        raise UnsupportedModel(f"{SOURCE}: hidden_act is {shown(act)}; this family has silu only")
    num_layers = keys.integer("num_hidden_layers")
    hidden_size, num_heads = keys.integer("hidden_size"), keys.integer("num_attention_heads")
    head_dim = _head_dim(keys, hidden_size, num_heads)
    context_len = keys.integer("max_position_embeddings", arch.context_len)
    rope = _rope(keys, head_dim, context_len)
    window, sliding_layers = _sliding(keys, arch, num_layers)
    is_llama = arch.model_type == "llama"
    attention_bias = is_llama and keys.flag("attention_bias", False)
    return ModelSpec(
        family="llama",
        name=keys.text("_name_or_path", "") or arch.model_type,
        num_layers=num_layers,
        hidden_size=hidden_size,
        num_heads=num_heads,
        num_kv_heads=keys.integer("num_key_value_heads", arch.num_kv_heads or num_heads),
        head_dim=head_dim,
        ffn_size=keys.integer("intermediate_size"),
        vocab_size=keys.integer("vocab_size"),
        context_len=extended_context(rope, context_len),
        norm_eps=keys.number("rms_norm_eps", 1e-6),
        rope=rope,
        tied_embeddings=keys.flag("tie_word_embeddings", False),
        attention_bias=attention_bias or arch.model_type == "qwen2",
        output_bias=attention_bias,
        mlp_bias=is_llama and keys.flag("mlp_bias", False),
        sliding_window=window,
        sliding_layers=sliding_layers,
    )


def extended_context(rope: RopeSpec, context_len: int) -> int:
    """Yarn is often switched on without raising the context length of the file; it then grows by the factor."""
    if rope.scaling != "yarn":
        return context_len
    return max(context_len, int((rope.original_context_len or context_len) * rope.factor))


def _architecture(keys: Keys) -> _Architecture:
    names = keys.texts("architectures")
    if names:
        for name in names:
            if name in ARCHITECTURES:
                return ARCHITECTURES[name]
        seen = shown(names[0])
    else:
        model_type = keys.text("model_type", "")
        for arch in ARCHITECTURES.values():
            if arch.model_type == model_type:
                return arch
        seen = shown(model_type)
    raise UnsupportedModel(f"{SOURCE}: architecture {seen} is not supported; wayra runs {', '.join(ARCHITECTURES)}")


def _refuse_foreign_keys(config: Mapping[str, object]) -> None:
    for key, value in config.items():
        for part, neutral in _REFUSED:
            if part in key.lower() and not any(value == harmless for harmless in neutral):
                raise UnsupportedModel(
                    f"{SOURCE}: {shown(key)} is {shown(value)}, which changes the computation in a way wayra does not "
                    "follow; use another version of the model"
                )


def _head_dim(keys: Keys, hidden_size: int, num_heads: int) -> int:
    if keys.get("head_dim") is not None:
        return keys.integer("head_dim")
    if num_heads < 1 or hidden_size % num_heads:
        raise FileFormatError(f"{SOURCE}: hidden_size {hidden_size} is not a multiple of {num_heads} attention heads")
    return hidden_size // num_heads


def _sliding(keys: Keys, arch: _Architecture, num_layers: int) -> tuple[int | None, tuple[int, ...] | None]:
    """The window and the layers it applies to (None: all of them)."""
    if arch.model_type == "llama" or not 1 <= num_layers <= MAX_LAYERS:
        return None, None
    # An explicit null switches the window off; only an absent key takes the default.
    window = keys.integer("sliding_window") if keys.get("sliding_window") is not None else None
    if "sliding_window" not in keys.values:
        window = arch.sliding_window
    layers: tuple[int, ...] | None = None
    if arch.model_type == "qwen2":
        if not keys.flag("use_sliding_window", False):
            return None, None
        layers = tuple(range(max(0, keys.integer("max_window_layers", 28)), num_layers))
    if types := keys.texts("layer_types"):
        layers = _sliding_layers(types, arch, num_layers)
    if window is None or layers == ():
        return None, None
    return window, None if layers is not None and len(layers) == num_layers else layers


def _sliding_layers(types: tuple[str, ...], arch: _Architecture, num_layers: int) -> tuple[int, ...] | None:
    if unknown := set(types) - {"full_attention", "sliding_attention"}:
        raise UnsupportedModel(
            f"{SOURCE}: layer_types has {shown(min(unknown))}; wayra knows full and sliding attention"
        )
    if len(types) != num_layers:
        raise FileFormatError(f"{SOURCE}: layer_types names {len(types)} layers of {num_layers}")
    layers = tuple(i for i, kind in enumerate(types) if kind == "sliding_attention")
    if arch.model_type == "mistral" and len(layers) != num_layers:
        raise UnsupportedModel(f"{SOURCE}: layer_types mixes attention kinds, which {arch.model_type} models do not")
    return layers


def _rope(keys: Keys, head_dim: int, context_len: int) -> RopeSpec:
    table = keys.table("rope_scaling") or keys.table("rope_parameters") or {}
    if unknown := sorted(str(key) for key in table if key not in _ROPE_KEYS):
        raise UnsupportedModel(f"{SOURCE}: rope parameters have {shown(unknown[0])}, which wayra does not follow")
    _refuse_foreign_keys(table)
    rope = Keys(table, f"{SOURCE}, rope parameters")
    theta = rope.number("rope_theta", keys.number("rope_theta", DEFAULT_THETA))
    kind = rope.text("rope_type", rope.text("type", "default"))
    if kind == "default":
        return RopeSpec(theta, head_dim)
    if kind == "linear":
        return RopeSpec(theta, head_dim, "linear", factor=rope.number("factor"))
    original_len = rope.integer("original_max_position_embeddings", context_len)
    if kind == "llama3":
        return RopeSpec(
            theta,
            head_dim,
            "llama3",
            factor=rope.number("factor"),
            original_context_len=original_len,
            low_freq_factor=rope.number("low_freq_factor"),
            high_freq_factor=rope.number("high_freq_factor"),
        )
    if kind == "yarn":
        return _yarn(rope, RopeSpec(theta, head_dim, "yarn", original_context_len=original_len), context_len)
    raise UnsupportedModel(
        f"{SOURCE}: rope type {shown(kind)} is not supported; wayra knows default, linear, llama3 and yarn"
    )


def _yarn(rope: Keys, base: RopeSpec, context_len: int) -> RopeSpec:
    original_len = max(base.original_context_len, 1)
    return RopeSpec(
        base.theta,
        base.rotary_dim,
        "yarn",
        factor=rope.number("factor", context_len / original_len),
        original_context_len=original_len,
        beta_fast=rope.number("beta_fast", 32.0) or 32.0,
        beta_slow=rope.number("beta_slow", 1.0) or 1.0,
        attention_factor=None if rope.get("attention_factor") is None else rope.number("attention_factor"),
        mscale=rope.number("mscale", 0.0),
        mscale_all_dim=rope.number("mscale_all_dim", 0.0),
        truncate=rope.flag("truncate", True),
    )
