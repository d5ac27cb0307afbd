"""Layers that keep a state of one size whatever the length: state spaces, linear attention, short convolutions."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from wayra.base.errors import UnsupportedModel
from wayra.model.keys import Keys
from wayra.model.spec import MAX_HEADS, MAX_WIDTH
from wayra.plan.configs.keys import count, size
from wayra.plan.configs.recurrent import gated_unit, weighted_sums
from wayra.plan.configs.shape import Shape, whole
from wayra.plan.mixers import Mixer

CONV_BYTES = 2
WIDE_STATE_BYTES, NARROW_STATE_BYTES = 4, 2
"""Of a value that is carried on from token to token: 32 bits, unless the file says 16."""
MAX_KERNEL = 256
_UPDATE, _READ = 4, 2


def states(shape: Shape, layers: int) -> Mixer:
    """The layers with a state. Raises UnsupportedModel where it is of no kind known here, FileFormatError."""
    if (of_kind := _BY_KIND.get(shape.kind)) is not None:
        return of_kind(shape, layers)
    for key, make in _MAKERS.items():
        if shape.keys.get(key) is not None:
            return make(shape, layers)
    raise UnsupportedModel(
        f"the planner cannot size {shape.keys.source}: it has layers that keep no keys and values, but none of the "
        "sizes that are known of such (mamba_*, linear_*, ssm_state_size)"
    )


def _state_value_bytes(keys: Keys) -> int:
    said = keys.get("mamba_ssm_cache_dtype") or keys.get("mamba_ssm_dtype")
    return NARROW_STATE_BYTES if said in ("float16", "bfloat16") else WIDE_STATE_BYTES


def _state(conv: int, kernel: int, carried: int, each: int) -> tuple[int, str]:
    """Bytes, and what they are."""
    told = f"convolution {kernel - 1} x {conv:,} values of {CONV_BYTES} bytes, recurrence {carried:,} of {each} bytes"
    return (kernel - 1) * conv * CONV_BYTES + carried * each, told


def _kernel(keys: Keys, *names: str) -> int:
    name = next((one for one in names if keys.get(one) is not None), names[0])
    return size(keys, name, 4, most=MAX_KERNEL)


def _first(keys: Keys, *names: str) -> str:
    return next((one for one in names if keys.get(one) is not None), names[0])


def _mamba_2(shape: Shape, layers: int) -> Mixer:
    keys, hidden = shape.keys, shape.hidden_size
    heads = size(
        keys, _first(keys, "mamba_num_heads", "mamba_n_heads", "n_mamba_heads", "num_attention_heads"), most=MAX_HEADS
    )
    inner = size(keys, "mamba_d_ssm", size(keys, _first(keys, "mamba_expand", "expand"), 2) * hidden)
    named = _first(keys, "mamba_head_dim", "mamba_d_head", "mamba_headdim", "head_dim")
    if isinstance(keys.get(named), int):
        inner = heads * size(keys, named, most=MAX_WIDTH)
    else:
        whole(keys, "the width of Mamba", inner, heads)
    groups = size(keys, _first(keys, "n_groups", "mamba_n_groups", "mamba_ngroups"), 1, most=MAX_HEADS)
    width = size(keys, _first(keys, "ssm_state_size", "mamba_d_state", "state_size"), most=MAX_WIDTH)
    kernel = _kernel(keys, "conv_kernel", "mamba_d_conv")
    conv = inner + 2 * groups * width
    has_bias = keys.flag(_first(keys, "use_conv_bias", "mamba_conv_bias"), True)
    projected = 2 * inner + 2 * groups * width + heads
    biases = projected + hidden if keys.flag(_first(keys, "mamba_proj_bias", "use_bias"), False) else 0
    normed = inner if keys.flag("mamba_rms_norm", True) else 0
    each = _state_value_bytes(keys)
    state_bytes, told = _state(conv, kernel, inner * width, each)
    return Mixer(
        name="Mamba 2",
        layers=layers,
        linear=hidden * (projected + inner),
        small=conv * (kernel + int(has_bias)) + 3 * heads + normed + biases,
        state_bytes=state_bytes,
        token_operations=(_UPDATE + _READ) * inner * width + 2 * kernel * conv,
        told=told,
    )


def _mamba_1(shape: Shape, layers: int) -> Mixer:
    keys, hidden = shape.keys, shape.hidden_size
    inner = size(keys, "intermediate_size") if shape.kind in ("mamba", "falconmamba") else 0
    inner = inner or size(keys, "mamba_expand", 2) * hidden
    width = size(keys, _first(keys, "mamba_d_state", "state_size"), 16, most=MAX_WIDTH)
    kernel = _kernel(keys, "mamba_d_conv", "conv_kernel")
    named = _first(keys, "mamba_dt_rank", "time_step_rank")
    rank = size(keys, named) if isinstance(keys.get(named), int) else math.ceil(hidden / 16)
    has_bias = keys.flag(_first(keys, "mamba_conv_bias", "use_conv_bias"), True)
    projected = 2 * inner + hidden if keys.flag(_first(keys, "mamba_proj_bias", "use_bias"), False) else 0
    # Jamba has norms on what steers the recurrence.
    norms = rank + 2 * width if shape.kind == "jamba" else 0
    state_bytes, told = _state(inner, kernel, inner * width, _state_value_bytes(keys))
    return Mixer(
        name="Mamba",
        layers=layers,
        linear=hidden * 2 * inner + inner * (rank + 2 * width) + rank * inner + inner * hidden,
        small=inner * (kernel + int(has_bias)) + inner * width + 2 * inner + norms + projected,
        state_bytes=state_bytes,
        token_operations=(_UPDATE + _READ) * inner * width + 2 * kernel * inner,
        told=told,
    )


def _delta(shape: Shape, layers: int) -> Mixer:
    """The gated delta rule of Qwen3-Next and Qwen3.5."""
    keys, hidden = shape.keys, shape.hidden_size
    key_heads = size(keys, "linear_num_key_heads", most=MAX_HEADS)
    heads = size(keys, "linear_num_value_heads", most=MAX_HEADS)
    key_dim = size(keys, "linear_key_head_dim", most=MAX_WIDTH)
    value_dim = size(keys, "linear_value_head_dim", most=MAX_WIDTH)
    kernel = _kernel(keys, "linear_conv_kernel_dim")
    k, v = key_heads * key_dim, heads * value_dim
    conv = 2 * k + v
    state_bytes, told = _state(conv, kernel, heads * key_dim * value_dim, _state_value_bytes(keys))
    return Mixer(
        name="gated delta rule",
        layers=layers,
        linear=hidden * (2 * k + 2 * v + 2 * heads) + v * hidden,
        small=conv * kernel + 2 * heads + value_dim,
        kv_heads=key_heads,
        state_bytes=state_bytes,
        # What the state holds of the key, its decay and correction, and what the query reads of it.
        token_operations=(2 + 3 + _READ) * heads * key_dim * value_dim + 2 * kernel * conv,
        told=told,
    )


def _kimi_delta(shape: Shape, layers: int) -> Mixer:
    """Kimi Delta Attention: a decay for each value of a key."""
    keys, hidden = shape.keys, shape.hidden_size
    inner = Keys(keys.table("linear_attn_config") or keys.values, keys.source)
    heads = size(inner, _first(inner, "linear_num_heads", "num_heads"), most=MAX_HEADS)
    dim = size(inner, _first(inner, "linear_head_dim", "head_dim"), most=MAX_WIDTH)
    kernel = _kernel(inner, "linear_conv_kernel_dim", "short_conv_kernel_size")
    width = heads * dim
    gate = hidden * width if inner.flag("use_full_rank_gate", False) else hidden * dim + dim * width
    state_bytes, told = _state(3 * width, kernel, heads * dim * dim, _state_value_bytes(keys))
    return Mixer(
        name="Kimi delta attention",
        layers=layers,
        linear=hidden * 4 * width + hidden * dim + dim * width + gate + hidden * heads,
        small=3 * width * kernel + width + heads + dim,
        state_bytes=state_bytes,
        token_operations=(2 + 3 + _READ) * heads * dim * dim + 2 * kernel * 3 * width,
        told=told,
    )


def lightning(shape: Shape, layers: int) -> Mixer:
    """MiniMax's linear attention: a square a head."""
    hidden, dim = shape.hidden_size, shape.head_dim
    width = shape.num_heads * dim
    each = _state_value_bytes(shape.keys)
    return Mixer(
        name="linear attention",
        layers=layers,
        linear=hidden * 5 * width,
        small=width,
        state_bytes=width * dim * each,
        token_operations=(_UPDATE + _READ) * width * dim,
        told=f"{shape.num_heads:,} squares of {dim:,} x {dim:,} values of {each} bytes",
    )


def convolution(shape: Shape, layers: int) -> Mixer:
    """LFM2's short convolutions."""
    keys, hidden = shape.keys, shape.hidden_size
    kernel = _kernel(keys, "conv_L_cache")
    biases = 5 * hidden if keys.flag("conv_bias", False) else 0
    return Mixer(
        name="short convolution",
        layers=layers,
        linear=4 * hidden * hidden,
        small=hidden * kernel + biases,
        state_bytes=(kernel - 1) * hidden * CONV_BYTES,
        token_operations=2 * kernel * hidden,
        told=f"{count(keys, 'conv_L_cache', 4, least=1) - 1} x {hidden:,} values of {CONV_BYTES} bytes",
    )


_BY_KIND: Mapping[str, Callable[[Shape, int], Mixer]] = MappingProxyType(
    {"mamba2": _mamba_2, "zamba": _mamba_1, "recurrentgemma": gated_unit, "rwkv": weighted_sums}
)
_MAKERS: Mapping[str, Callable[[Shape, int], Mixer]] = MappingProxyType(
    {
        "linear_num_value_heads": _delta,
        "linear_num_heads": _kimi_delta,
        "linear_attn_config": _kimi_delta,
        "mamba_num_heads": _mamba_2,
        "mamba_n_heads": _mamba_2,
        "n_mamba_heads": _mamba_2,
        "mamba_d_state": _mamba_1,
        "state_size": _mamba_1,
        "linear_attn_alpha_factor": lightning,
        "attn_type_list": lightning,
    }
)
