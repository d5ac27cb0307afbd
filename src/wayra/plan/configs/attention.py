"""Attention as a config describes it: with keys and values of heads, or with one latent vector for all of them."""

from dataclasses import replace

from wayra.base.errors import FileFormatError
from wayra.model.keys import Keys
from wayra.model.spec import MAX_HEAD_DIM, MAX_HEADS
from wayra.plan.configs.keys import count, size
from wayra.plan.configs.shape import Shape
from wayra.plan.mixers import Mixer

INDEX_KEY_BITS = 8
INDEX_SCALE_VALUES = 4


def attention(shape: Shape, kind: str, layers: int, images: int = 0, image_tokens: int = 0) -> tuple[Mixer, ...]:
    """Layers that attend to everything ("full"), within a window ("sliding") or a chunk ("chunked").

    images: of the full ones, those that attend to an image of `image_tokens` instead.
    """
    if shape.family.latent or shape.keys.get("kv_lora_rank") is not None:
        return _latent(shape, layers)
    keys = shape.keys
    window = 0
    if kind == "sliding":
        window = size(keys, "sliding_window", most=1 << 30)
    elif kind == "chunked":
        window = size(keys, "attention_chunk_size", most=1 << 30)
    heads, kv_heads, head_dim, value_dim, projections = _of_kind(shape, kind)
    if heads % kv_heads:
        raise FileFormatError(
            f"{keys.source}: {heads} query heads cannot share {kv_heads} KV heads; expected a multiple"
        )
    q, k, v, o = heads * head_dim, kv_heads * head_dim, kv_heads * value_dim, heads * value_dim
    gate = q if shape.family.gated_query else 0
    made = Mixer(
        name=f"{kind} attention",
        layers=layers,
        linear=shape.hidden_size * (q + gate + k + (v if projections == 2 else 0) + o),
        small=_biases(shape, q + gate + k + v) + _norms(shape, heads, kv_heads, head_dim) + _sinks(shape, kind, heads),
        token_values=k + v,
        kv_heads=kv_heads,
        window=window,
        chunked=kind == "chunked",
        pair_operations=2 * (q + o),
        told=f"key and value, {kv_heads:,} heads of {head_dim:,}"
        + (f" and {value_dim:,}" if value_dim != head_dim else ""),
    )
    if images:
        seeing = replace(made, name="image attention", layers=min(images, layers), fixed_tokens=image_tokens)
        return replace(made, layers=layers - seeing.layers), seeing
    return _with_shared(shape, made, kind, shape.hidden_size * (k + (v if projections == 2 else 0)), head_dim)


def _of_kind(shape: Shape, kind: str) -> tuple[int, int, int, int, int]:
    """Heads, KV heads, size of a key and of a value, and how many projections make them."""
    keys, projections = shape.keys, 2
    heads, kv_heads, head_dim = shape.num_heads, shape.num_kv_heads, shape.head_dim
    value_dim = size(keys, "v_head_dim", head_dim, most=MAX_HEAD_DIM)
    if kind == "sliding":
        # MiMo V2 has other heads where there is a window.
        heads = size(keys, "swa_num_attention_heads", heads, most=MAX_HEADS)
        kv_heads = size(keys, "swa_num_key_value_heads", kv_heads, most=MAX_HEADS)
        head_dim = size(keys, "swa_head_dim", head_dim, most=MAX_HEAD_DIM)
        value_dim = size(keys, "swa_v_head_dim", value_dim, most=MAX_HEAD_DIM)
    elif keys.get("global_head_dim") is not None:
        # Gemma 4 has them where there is none, and may make values of keys.
        head_dim = value_dim = size(keys, "global_head_dim", most=MAX_HEAD_DIM)
        if keys.flag("attention_k_eq_v", False):
            kv_heads = size(keys, "num_global_key_value_heads", kv_heads, most=MAX_HEADS)
            projections = 1
    return heads, kv_heads, head_dim, value_dim, projections


def _biases(shape: Shape, qkv: int) -> int:
    family, said = shape.family, shape.has_biases
    of_qkv = family.qkv_bias if family.qkv_bias is not None else said
    of_o = family.o_bias if family.o_bias is not None else said
    return (qkv if of_qkv else 0) + (shape.hidden_size if of_o else 0)


def _norms(shape: Shape, heads: int, kv_heads: int, head_dim: int) -> int:
    match shape.family.head_norms:
        case "head":
            return 2 * head_dim * shape.family.norm_terms
        case "all":
            return (heads + kv_heads) * head_dim
        case "option":
            return 2 * head_dim if shape.keys.flag("use_qk_norm", False) else 0
        case "heads":
            return (heads + kv_heads) * head_dim if shape.keys.flag("use_qk_norm", False) else 0
        case _:
            return 0


def _sinks(shape: Shape, kind: str, heads: int) -> int:
    """A logit a head that stands for attending to nothing."""
    if shape.kind == "gptoss":
        return heads
    name = "add_swa_attention_sink_bias" if kind == "sliding" else "add_full_attention_sink_bias"
    return heads if shape.keys.flag(name, False) else 0


def _with_shared(shape: Shape, made: Mixer, kind: str, projections: int, norm: int) -> tuple[Mixer, ...]:
    """The last layers of Gemma 3n and 4 attend to keys and values of earlier ones.

    projections, norm: parameters that those layers do not have.
    """
    sharing = count(shape.keys, "num_kv_shared_layers", 0, most=shape.num_layers)
    if not sharing:
        return (made,)
    late = sum(one == kind for one in shape.kinds[shape.num_layers - sharing :])
    shared = replace(
        made,
        name=f"{made.name}, shared",
        layers=late,
        linear=made.linear - projections,
        small=max(0, made.small - norm),
        shares=True,
    )
    return tuple(one for one in (replace(made, layers=made.layers - late), shared) if one.layers)


def _latent(shape: Shape, layers: int) -> tuple[Mixer, ...]:
    """A vector for all heads in place of keys and values, and a rotated part: no copy of it for values."""
    keys, hidden, heads = shape.keys, shape.hidden_size, shape.num_heads
    latent, rotated = size(keys, "kv_lora_rank"), size(keys, "qk_rope_head_dim", most=MAX_HEAD_DIM)
    key_dim = size(keys, "qk_nope_head_dim", most=MAX_HEAD_DIM)
    value_dim = size(keys, "v_head_dim", most=MAX_HEAD_DIM)
    q = heads * (key_dim + rotated)
    squeezed = count(keys, "q_lora_rank", 0)
    linear = hidden * (latent + rotated) + latent * heads * (key_dim + value_dim) + heads * value_dim * hidden
    linear += hidden * squeezed + squeezed * q if squeezed else hidden * q
    if keys.flag("mla_use_output_gate", False):
        linear += hidden * heads * value_dim
    biases = squeezed + latent + rotated + hidden if shape.has_biases else 0
    made = Mixer(
        name="latent attention",
        layers=layers,
        linear=linear,
        small=latent + squeezed + biases,
        token_values=latent + rotated,
        pair_operations=2 * heads * (key_dim + rotated + value_dim),
        kept_operations=2 * heads * (2 * latent + rotated),
        told=f"one vector for all heads, {latent:,} and {rotated:,} that rotate, no copy for values",
    )
    if keys.get("index_topk") is None:
        return (made,)
    sparse = replace(made, name="sparse latent attention", window=size(keys, "index_topk", most=1 << 30), frees=False)
    return sparse, _indexer(keys, shape, squeezed, layers)


def _indexer(keys: Keys, shape: Shape, squeezed: int, layers: int) -> Mixer:
    """What chooses the tokens that sparse attention attends to: a key of its own for each, with a scale."""
    heads, dim = size(keys, "index_n_heads", most=MAX_HEADS), size(keys, "index_head_dim", most=MAX_HEAD_DIM)
    types = keys.texts("indexer_types")
    own = sum(one == "full" for one in types[: shape.num_layers]) if types else layers
    return Mixer(
        name="indexer of sparse attention",
        layers=min(own, layers),
        linear=squeezed * heads * dim + shape.hidden_size * (dim + heads),
        small=2 * dim,
        token_values=dim + INDEX_SCALE_VALUES,
        token_bits=INDEX_KEY_BITS,
        pair_operations=2 * heads * dim,
        kept_operations=2 * heads * dim,
        told=f"a key of {dim:,} values in 8 bits and its scale of {INDEX_SCALE_VALUES} bytes",
    )
