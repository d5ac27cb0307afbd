"""The feed-forward layers of a config: how many are dense, how many are mixtures of experts, and of what size."""

from wayra.base.errors import FileFormatError
from wayra.model.keys import Keys
from wayra.model.spec import MAX_LAYERS, MAX_WIDTH
from wayra.plan.architecture import MAX_EXPERTS, Experts
from wayra.plan.configs.keys import count, integers, size
from wayra.plan.configs.layers import listed
from wayra.plan.configs.shape import Shape


def experts_of(shape: Shape) -> Experts | None:
    """The mixture of experts, None where all layers are dense. Raises FileFormatError."""
    keys = shape.keys
    number = count(keys, "num_experts", 0, most=MAX_EXPERTS)
    if not number or not keys.flag("enable_moe_block", True):
        return None
    layers = sum(_is_sparse(shape))
    if not layers:
        return None
    used = count(keys, "num_experts_per_tok", least=1, most=number)
    ffn_size = size(keys, "moe_intermediate_size", _width(keys, "intermediate_size"), most=MAX_WIDTH)
    return Experts(
        layers=layers,
        count=number,
        used=used,
        ffn_size=ffn_size,
        shared_ffn_size=_shared(shape, ffn_size),
        matrices=shape.family.matrices,
        width=count(keys, "moe_latent_size", 0, most=MAX_WIDTH),
    )


def _width(keys: Keys, name: str) -> int | None:
    return None if keys.get(name) is None else size(keys, name, most=MAX_WIDTH)


def _shared(shape: Shape, ffn_size: int) -> int:
    """Width of what every token passes beside the experts it is sent to."""
    keys = shape.keys
    if shape.kind in ("llama4", "llama4text"):
        return ffn_size
    if keys.get("shared_expert_intermediate_size") is not None:
        return count(keys, "shared_expert_intermediate_size", most=MAX_WIDTH)
    return count(keys, "n_shared_experts", 0, most=1024) * ffn_size


def _is_sparse(shape: Shape) -> list[bool]:
    """Whether each layer has experts."""
    keys, depth = shape.keys, shape.num_layers
    words = listed(keys)
    if words and "moe" in words:
        return [word == "moe" for word in words[:depth]]
    if types := keys.texts("mlp_layer_types"):
        _for_each(len(types), keys, "mlp_layer_types", depth)
        return [word == "sparse" for word in types[:depth]]
    if isinstance(keys.get("moe_layer_freq"), list):
        flags = integers(keys, "moe_layer_freq") or ()
        _for_each(len(flags), keys, "moe_layer_freq", depth)
        return [bool(flag) for flag in flags[:depth]]
    if (some := integers(keys, "moe_layers")) is not None:
        return [i in set(some) for i in range(depth)]
    if keys.get("expert_layer_period") is not None:
        period, offset = size(keys, "expert_layer_period"), count(keys, "expert_layer_offset", 0)
        return [i % period == offset for i in range(depth)]
    dense = set(integers(keys, "mlp_only_layers") or ())
    first, last = _first_and_last(keys, depth)
    freq, step = size(keys, "moe_layer_freq", 1), size(keys, _step(keys), 1)
    return [first <= i <= last and not i % freq and not (i + 1) % step and i not in dense for i in range(depth)]


def _step(keys: Keys) -> str:
    names = ("interleave_moe_layer_step", "moe_layer_interval", "decoder_sparse_step")
    return next((name for name in names if keys.get(name) is not None), names[-1])


def _first_and_last(keys: Keys, depth: int) -> tuple[int, int]:
    names = ("first_k_dense_replace", "num_dense_layers", "moe_layer_start_index")
    name = next((one for one in names if keys.get(one) is not None), names[0])
    last = keys.integer("moe_layer_end_index", -1)
    return count(keys, name, 0, most=MAX_LAYERS), depth - 1 if last < 0 else last


def _for_each(count: int, keys: Keys, name: str, depth: int) -> None:
    if count < depth:
        raise FileFormatError(f"{keys.source}: {name} lists {count} of {depth} layers")


def dense_layers(shape: Shape, experts: Experts | None) -> int:
    """How many layers have a feed-forward layer without experts."""
    words = listed(shape.keys) or ()
    if shape.family.no_feed_forward or shape.family.apart:
        return 0
    if {"mlp", "moe"} & set(words):
        return sum(word == "mlp" for word in words[: shape.num_layers])
    if experts is not None and shape.keys.get("enable_moe_block") is not None:
        return shape.num_layers
    return shape.num_layers - (experts.layers if experts else 0)


def ffn_size_of(shape: Shape, experts: Experts | None) -> int:
    """Width of the dense feed-forward layers; of a model without any, that of an expert."""
    keys = shape.keys
    if shape.family.no_feed_forward:
        return shape.hidden_size
    for name in ("intermediate_size_mlp", "dense_intermediate_size"):
        if keys.get(name) is not None:
            return size(keys, name, most=MAX_WIDTH)
    if keys.get("intermediate_size") is None and experts is not None:
        return experts.ffn_size
    found = size(keys, "intermediate_size", 4 * shape.hidden_size if shape.family.wide else None, most=MAX_WIDTH)
    if shape.kind in ("lfm2", "lfm2vl") and keys.flag("block_auto_adjust_ff_dim", True):
        multiple = size(keys, "block_multiple_of", 256)
        found = int(keys.number("block_ffn_dim_multiplier", 1.0) * int(2 * found / 3))
        found = multiple * -(-found // multiple)
    return found


def biases_of(shape: Shape, experts: Experts | None, dense: int, ffn_size: int) -> int:
    """Parameters of feed-forward layers besides their matrices and routers."""
    keys, family, hidden = shape.keys, shape.family, shape.hidden_size
    of_mlp = family.mlp_bias if family.mlp_bias is not None else keys.flag("mlp_bias", False)
    found = dense * ((family.matrices - 1) * ffn_size + hidden) if of_mlp else 0
    if experts is None:
        return found
    each = experts.count * ((experts.matrices - 1) * experts.ffn_size + hidden) if family.expert_bias else 0
    gate = hidden if family.shared_gate else 0
    return found + experts.layers * (each + gate + family.router_terms * experts.count)
