"""What single families have besides: Gemma's inputs of each layer, Falcon's generations, BigCode's one KV head."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from wayra.model.keys import Keys
from wayra.plan.architecture import Experts
from wayra.plan.configs.families import Family
from wayra.plan.configs.keys import count, size
from wayra.plan.configs.shape import Shape


@dataclass(frozen=True, slots=True)
class Besides:
    """Weights of projections, parameters in 16 bits, and of tables of which a token reads a row."""

    linear: int = 0
    small: int = 0
    lookups: int = 0


NOTHING = Besides()


def prepared(keys: Keys, kind: str, family: Family) -> tuple[Keys, Family]:
    """Keys and family as the rest of the reading takes them."""
    if kind == "gptbigcode" and keys.flag("multi_query", True):
        return Keys({**keys.values, "num_key_value_heads": 1}, keys.source), family
    if kind == "falcon":
        return _falcon(keys, family)
    if kind == "seedoss":
        return keys, replace(family, o_bias=keys.flag("attention_out_bias", False))
    return keys, family


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


_BESIDES: Mapping[str, Callable[[Shape, Experts | None, int], Besides]] = MappingProxyType(
    {"gemma4": _gemma_4, "gemma3n": _gemma_3n}
)
