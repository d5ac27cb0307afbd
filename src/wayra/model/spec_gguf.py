"""ModelSpec from GGUF metadata: architectures `llama` (Mistral and SmolLM too are stored as llama) and `qwen2`.

Some facts are only in the tensors (tied embeddings, biases, often the vocabulary), so the caller tells their shapes.
"""

import math
from collections.abc import Mapping, Sequence
from typing import cast

from wayra.base.errors import FileFormatError, UnsupportedModel
from wayra.model.keys import Keys, shown
from wayra.model.spec import ModelSpec, RopeSpec
from wayra.model.spec_hf import extended_context

SOURCE = "GGUF metadata"
ARCHITECTURES = ("llama", "qwen2")
TensorShapes = Mapping[str, tuple[int, ...]]

_REFUSED: tuple[tuple[str, tuple[object, ...]], ...] = (
    ("expert_count", (0,)),
    ("expert_used_count", (0,)),
    ("attn_logit_softcapping", (0,)),
    ("final_logit_softcapping", (0,)),
    ("logit_scale", (0, 1)),
    ("residual_scale", (0, 1)),
    ("embedding_scale", (0, 1)),
    ("use_parallel_residual", (False,)),
    ("attention.clamp_kqv", (0,)),
    ("attention.max_alibi_bias", (0,)),
    ("attention.causal", (True,)),
    ("attention.sliding_window_pattern", ()),
    ("attention.key_length_mla", ()),
    ("attention.value_length_mla", ()),
    ("attention.temperature_length", (0,)),
    ("attention.temperature_scale", (0,)),
    ("rope.dimension_sections", ()),
    ("rope.scaling.yarn_log_multiplier", (0,)),
    ("rope.scaling.yarn_ext_factor", (1, -1)),
)
"""Keys (after the architecture's prefix) that change the maths, each with the values that leave it unchanged."""


def spec_from_gguf(metadata: Mapping[str, object], *, tensor_shapes: TensorShapes | None = None) -> ModelSpec:
    """tensor_shapes: row-major, by GGUF name; None when unknown (then: no optional biases, embeddings not tied).

    Raises UnsupportedModel on an architecture or key outside the family, FileFormatError on malformed values.
    """
    keys = Keys(metadata, SOURCE)
    arch = keys.text("general.architecture")
    if arch not in ARCHITECTURES:
        raise UnsupportedModel(
            f"{SOURCE}: architecture {shown(arch)} is not supported; wayra runs {', '.join(ARCHITECTURES)}"
        )
    _refuse_foreign_keys(keys, arch)
    num_layers = keys.integer(f"{arch}.block_count")
    hidden_size = keys.integer(f"{arch}.embedding_length")
    num_heads = _uniform(keys, f"{arch}.attention.head_count", num_layers)
    head_dim = _head_dim(keys, arch, hidden_size, num_heads)
    context_len = keys.integer(f"{arch}.context_length")
    rope = _rope(keys, arch, head_dim, context_len)
    window = keys.integer(f"{arch}.attention.sliding_window", 0)
    stored: TensorShapes = {} if tensor_shapes is None else tensor_shapes
    spec = ModelSpec(
        family="llama",
        name=keys.text("general.name", arch) or arch,
        num_layers=num_layers,
        hidden_size=hidden_size,
        num_heads=num_heads,
        num_kv_heads=_uniform(keys, f"{arch}.attention.head_count_kv", num_layers, num_heads),
        head_dim=head_dim,
        ffn_size=_uniform(keys, f"{arch}.feed_forward_length", num_layers),
        vocab_size=_vocab_size(keys, arch, stored),
        context_len=extended_context(rope, context_len),
        norm_eps=keys.number(f"{arch}.attention.layer_norm_rms_epsilon"),
        rope=rope,
        tied_embeddings=tensor_shapes is not None and "output.weight" not in stored,
        attention_bias=arch == "qwen2" or "blk.0.attn_q.bias" in stored,
        output_bias="blk.0.attn_output.bias" in stored,
        mlp_bias=any(f"blk.0.ffn_{part}.bias" in stored for part in ("gate", "up", "down")),
        sliding_window=window or None,
    )
    _check_attention_scale(keys, arch, head_dim)
    return spec


def _refuse_foreign_keys(keys: Keys, arch: str) -> None:
    for name, neutral in _REFUSED:
        value = keys.get(f"{arch}.{name}")
        if value is not None and not any(value == harmless for harmless in neutral):
            raise UnsupportedModel(
                f"{SOURCE}: {arch}.{name} is {shown(value)}, which changes the computation in a way wayra does not "
                "follow; use another version of the model"
            )


def _check_attention_scale(keys: Keys, arch: str, head_dim: int) -> None:
    scale = keys.number(f"{arch}.attention.scale", 0.0)
    if scale and not math.isclose(scale, head_dim**-0.5, rel_tol=1e-5):
        raise UnsupportedModel(f"{SOURCE}: attention scale {scale:g}; this family has 1 / sqrt({head_dim})")


def _uniform(keys: Keys, key: str, num_layers: int, default: int | None = None) -> int:
    """A number, or a list that gives every layer the same number."""
    value = keys.get(key)
    if value is None or isinstance(value, int) or not isinstance(value, Sequence) or isinstance(value, str | bytes):
        return keys.integer(key, default)
    per_layer = cast(Sequence[object], value)
    if len(per_layer) != num_layers or not per_layer:
        raise FileFormatError(f"{SOURCE}: {key} lists {len(per_layer)} layers of {num_layers}")
    first = per_layer[0]
    if any(other != first for other in per_layer):
        raise UnsupportedModel(f"{SOURCE}: {key} differs from layer to layer, which wayra does not follow")
    return Keys({key: first}, SOURCE).integer(key)


def _head_dim(keys: Keys, arch: str, hidden_size: int, num_heads: int) -> int:
    if keys.get(f"{arch}.attention.key_length") is None:
        if num_heads < 1 or hidden_size % num_heads:
            raise FileFormatError(f"{SOURCE}: embedding_length {hidden_size} is not a multiple of {num_heads} heads")
        head_dim = hidden_size // num_heads
    else:
        head_dim = keys.integer(f"{arch}.attention.key_length")
    if (value_len := keys.integer(f"{arch}.attention.value_length", head_dim)) != head_dim:
        raise UnsupportedModel(f"{SOURCE}: keys of {head_dim} with values of {value_len}; wayra needs equal sizes")
    return head_dim


def _vocab_size(keys: Keys, arch: str, stored: TensorShapes) -> int:
    """The embedding's rows where known: they alone say which ids have a meaning."""
    embed = stored.get("token_embd.weight")
    if embed is not None and len(embed) == 2:
        return embed[0]
    if keys.get(f"{arch}.vocab_size") is not None:
        return keys.integer(f"{arch}.vocab_size")
    tokens = keys.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, Sequence) or isinstance(tokens, str | bytes):
        raise FileFormatError(f"{SOURCE} has neither {arch}.vocab_size nor tokenizer.ggml.tokens; one is needed")
    return len(cast(Sequence[object], tokens))


def _rope(keys: Keys, arch: str, head_dim: int, context_len: int) -> RopeSpec:
    """llama3 scaling is not here: GGUF stores it as the tensor rope_freqs.weight, applied when weights are loaded."""
    theta = keys.number(f"{arch}.rope.freq_base", 10000.0)
    rotary_dim = keys.integer(f"{arch}.rope.dimension_count", head_dim)
    scaling = f"{arch}.rope.scaling"
    factor = keys.number(f"{scaling}.factor", keys.number(f"{arch}.rope.scale_linear", 1.0)) or 1.0
    kind = keys.text(f"{scaling}.type", "linear")
    if kind == "none" or (kind == "linear" and factor == 1.0):
        return RopeSpec(theta, rotary_dim)
    if kind == "linear":
        return RopeSpec(theta, rotary_dim, "linear", factor=factor)
    if kind != "yarn":
        raise UnsupportedModel(f"{SOURCE}: rope scaling {shown(kind)} is not supported; wayra knows linear and yarn")
    original_len = keys.integer(f"{scaling}.original_context_length", context_len)
    # The file's factor comes on top of the one yarn derives from the stretch.
    on_top = keys.number(f"{scaling}.attn_factor", keys.number(f"{scaling}.yarn_attn_factor", 1.0))
    derived = 0.1 * math.log(factor) + 1.0 if factor > 1 else 1.0
    return RopeSpec(
        theta,
        rotary_dim,
        "yarn",
        factor=factor,
        original_context_len=original_len,
        beta_fast=keys.number(f"{scaling}.yarn_beta_fast", 32.0),
        beta_slow=keys.number(f"{scaling}.yarn_beta_slow", 1.0),
        attention_factor=None if on_top == 1.0 else on_top * derived,
    )
