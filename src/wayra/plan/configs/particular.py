"""What single families have besides, or write otherwise: Gemma's inputs of each layer, Falcon's generations, blocks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from wayra.base.errors import FileFormatError
from wayra.model.keys import Keys
from wayra.model.spec import MAX_HEAD_DIM, MAX_HEADS, MAX_WIDTH
from wayra.plan.architecture import Experts
from wayra.plan.configs.compressed import hyper_connections, kinds_compressed
from wayra.plan.configs.differing import besides_attention, with_sizes
from wayra.plan.configs.families import Family
from wayra.plan.configs.keys import count, size
from wayra.plan.configs.shape import Shape, depth_of, whole, width_of
from wayra.plan.configs.shared_blocks import blocks_of


@dataclass(frozen=True, slots=True)
class Besides:
    """Weights of projections, parameters in 16 bits, and of tables of which a token reads a row.

    repeated: of the projections, what a token passes again in other layers.
    """

    linear: int = 0
    small: int = 0
    lookups: int = 0
    repeated: int = 0


NOTHING = Besides()


def prepared(keys: Keys, kind: str, family: Family) -> tuple[Keys, Family]:
    """Keys and family as the rest of the reading takes them."""
    if kind == "gptbigcode" and keys.flag("multi_query", True):
        return Keys({**keys.values, "num_key_value_heads": 1}, keys.source), family
    if kind == "falcon":
        return _falcon(keys, family)
    if kind == "seedoss":
        return keys, replace(family, o_bias=keys.flag("attention_out_bias", False))
    if (prepare := _PREPARED.get(kind)) is not None:
        return prepare(keys), family
    return keys, family


def _changed(keys: Keys, **values: object) -> Keys:
    return Keys({**keys.values, **values}, keys.source)


def _recurrent_gemma(keys: Keys) -> Keys:
    """It writes kinds once for all layers, a window under another name, and both halves of gate and up as one width."""
    kinds, depth = keys.texts("block_types") or ("recurrent", "recurrent", "attention"), depth_of(keys)
    words = {"recurrent": "linear_attention", "attention": "sliding_attention"}
    found = [words.get(kinds[i % len(kinds)], kinds[i % len(kinds)]) for i in range(depth)]
    window = size(keys, "attention_window_size", 2048, most=1 << 30)
    width = size(keys, "intermediate_size") // 2
    return _changed(keys, layer_types=found, sliding_window=window, intermediate_size=width)


def _deepseek_v4(keys: Keys) -> Keys:
    """Its layers' kinds are read apart, and all of them have experts."""
    kinds = kinds_compressed(keys)
    return _changed(keys, layer_types=["full_attention"] * len(kinds), compressed=list(kinds), mlp_layer_types=None)


def _rwkv(keys: Keys) -> Keys:
    return _changed(keys, num_attention_heads=1, num_key_value_heads=1, head_dim=1)


def _zamba(keys: Keys) -> Keys:
    """Heads are twice as wide, for attention is; layers are those of newer files where an old one counts them off."""
    heads, hidden = size(keys, "num_attention_heads", most=MAX_HEADS), width_of(keys)
    values: dict[str, object] = {
        "head_dim": size(keys, "attention_head_dim", max(1, 2 * hidden // heads), most=MAX_HEAD_DIM),
        "intermediate_size": size(keys, "intermediate_size", 4 * hidden, most=MAX_WIDTH),
        "mamba_proj_bias": keys.flag(_named_bias(keys), False),
    }
    if keys.get("n_mamba_heads") is not None:
        width = size(keys, "mamba_expand", 2) * hidden
        values["mamba_headdim"] = whole(keys, "the width of Mamba", width, size(keys, "n_mamba_heads", most=MAX_HEADS))
    if keys.get("layers_block_type") is None and keys.get("attn_layer_period") is not None:
        period, offset = size(keys, "attn_layer_period"), count(keys, "attn_layer_offset")
        later = ["hybrid" if i % period == offset else "mamba" for i in range(depth_of(keys) - 3)]
        values["layers_block_type"] = ["mamba", "mamba", "hybrid", *later]
    elif keys.get("layers_block_type") is None:
        raise FileFormatError(f"{keys.source} lacks layers_block_type; expected the kind of each layer")
    return _changed(keys, **values)


def _named_bias(keys: Keys) -> str:
    return "add_bias_linear" if keys.get("add_bias_linear") is not None else "mamba_proj_bias"


_PREPARED: Mapping[str, Callable[[Keys], Keys]] = MappingProxyType(
    {
        "deepseekv4": _deepseek_v4,
        "recurrentgemma": _recurrent_gemma,
        "rwkv": _rwkv,
        "zamba": _zamba,
        "zamba2": _zamba,
        "decilm": with_sizes,
        "nemotronnas": with_sizes,
    }
)


def _falcon(keys: Keys, family: Family) -> tuple[Keys, Family]:
    is_new = keys.flag("new_decoder_architecture", False)
    values = dict(keys.values)
    if not is_new:
        shared = keys.flag("multi_query", True)
        values["num_key_value_heads"] = 1 if shared else keys.get("num_attention_heads")
    norms = 2
    if is_new:
        norms = count(keys, "num_ln_in_parallel_attn", 2, least=1, most=2)
    elif keys.flag("parallel_attn", True):
        norms = 1
    biases = keys.flag("bias", False)
    return Keys(values, keys.source), replace(family, norms=norms, qkv_bias=biases, o_bias=biases, mlp_bias=biases)


def besides(shape: Shape, experts: Experts | None, ffn_size: int) -> Besides:
    """What the shape's family has besides. Raises FileFormatError."""
    make = _BESIDES.get(shape.kind)
    return make(shape, experts, ffn_size) if make is not None else NOTHING


def _layer_inputs(shape: Shape) -> Besides:
    """A table of its own for each layer, whose rows are added in it."""
    keys, hidden, layers = shape.keys, shape.hidden_size, shape.num_layers
    width = count(keys, "hidden_size_per_layer_input", 0)
    if not width:
        return NOTHING
    return Besides(
        linear=layers * 3 * hidden * width,
        small=layers * hidden + width,
        lookups=size(keys, "vocab_size_per_layer_input") * layers * width,
    )


def _gemma_4(shape: Shape, experts: Experts | None, ffn_size: int) -> Besides:
    found, hidden = _layer_inputs(shape), shape.hidden_size
    wide = count(shape.keys, "num_kv_shared_layers", 0) if shape.keys.flag("use_double_wide_mlp", False) else 0
    more = experts.layers * (4 * hidden + experts.count) if experts else 0
    return replace(found, linear=found.linear + wide * 3 * hidden * ffn_size, small=found.small + more)


def _gemma_3n(shape: Shape, experts: Experts | None, ffn_size: int) -> Besides:
    """Streams beside the residual (AltUp) and a low-rank path (LAuReL)."""
    found, keys, hidden, layers = _layer_inputs(shape), shape.keys, shape.hidden_size, shape.num_layers
    streams, rank = size(keys, "altup_num_inputs", 4, most=64), size(keys, "laurel_rank", 64)
    linear = layers * 2 * hidden * rank + 2 * (streams - 1) * hidden * hidden
    small = layers * (hidden + 2 * hidden + hidden * streams + streams**2 + streams**3)
    return replace(found, linear=found.linear + linear, small=found.small + small)


def _shared_blocks(shape: Shape, experts: Experts | None, ffn_size: int) -> Besides:
    found = blocks_of(shape, ffn_size)
    return Besides(linear=found.linear, small=found.small, repeated=found.repeated)


def _streams(shape: Shape, experts: Experts | None, ffn_size: int) -> Besides:
    return Besides(small=hyper_connections(shape))


def _differing_layers(shape: Shape, experts: Experts | None, ffn_size: int) -> Besides:
    linear, small = besides_attention(shape.keys)
    return Besides(linear=linear, small=small)


def _channel_mix(shape: Shape, experts: Experts | None, ffn_size: int) -> Besides:
    """RWKV's feed-forward layers have a gate as wide as the model, and mix in the token before."""
    layers, hidden = shape.num_layers, shape.hidden_size
    return Besides(linear=layers * hidden * hidden, small=layers * 2 * hidden)


_BESIDES: Mapping[str, Callable[[Shape, Experts | None, int], Besides]] = MappingProxyType(
    {
        "gemma4": _gemma_4,
        "gemma3n": _gemma_3n,
        "deepseekv4": _streams,
        "zamba": _shared_blocks,
        "zamba2": _shared_blocks,
        "decilm": _differing_layers,
        "nemotronnas": _differing_layers,
        "rwkv": _channel_mix,
    }
)
