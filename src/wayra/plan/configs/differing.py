"""Layers that differ from each other, as a search left them: fewer KV heads, narrower or no feed-forward layers, no
attention, or one matrix in its place (Nemotron-NAS, by its block_configs).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from wayra.base.errors import FileFormatError, UnsupportedModel
from wayra.model.keys import Keys, shown
from wayra.model.spec import MAX_HEADS, MAX_LAYERS, MAX_WIDTH
from wayra.plan.configs.keys import size
from wayra.plan.configs.shape import depth_of, heads_of, whole, width_of
from wayra.plan.mixers import Mixer, distinct

MULTIPLE = 256
MAX_MULTIPLIER = 1024.0


@dataclass(frozen=True, slots=True)
class Layer:
    """kv_heads: 0 without attention. ffn_size: 0 without such a layer. matrices: that stand in place of one of these.

    norms: before what is there.
    """

    kv_heads: int
    ffn_size: int
    matrices: int
    norms: int


def layers_of(keys: Keys) -> tuple[Layer, ...]:
    """Each layer by its block. Raises FileFormatError, UnsupportedModel on attention with a window or sinks."""
    blocks, depth = keys.get("block_configs"), depth_of(keys)
    items = cast(Sequence[object], blocks) if isinstance(blocks, list) else ()
    if not depth <= len(items) <= MAX_LAYERS:
        raise FileFormatError(
            f"{keys.source}: block_configs has {len(items)} of {depth} layers; expected an object a layer"
        )
    return tuple(_layer(keys, item, f"{keys.source}, block {i}") for i, item in enumerate(items[:depth]))


def _layer(keys: Keys, block: object, source: str) -> Layer:
    parts = Keys(cast(Mapping[str, object], block) if isinstance(block, dict) else {}, source)
    attention = Keys(parts.table("attention") or {}, f"{source}, attention")
    feed = Keys(parts.table("ffn") or {}, f"{source}, ffn")
    for name in ("window_length", "num_sink_tokens", "sparsify"):
        if attention.get(name) is not None:
            raise UnsupportedModel(f"the planner cannot size {attention.source}: {name} changes what it remembers")
    kv_heads = ffn_size = matrices = 0
    norms = 2 - attention.flag("no_op", False) - feed.flag("no_op", False)
    if attention.flag("replace_with_linear", False):
        matrices += 1
    elif not attention.flag("no_op", False):
        heads = size(keys, "num_attention_heads", most=MAX_HEADS)
        kv_heads = whole(attention, "the heads", heads, size(attention, "n_heads_in_group", most=heads))
    if feed.flag("replace_with_linear", False):
        matrices += 1
    elif not feed.flag("no_op", False):
        ffn_size = _width(feed, width_of(keys))
    return Layer(kv_heads, ffn_size, matrices, norms)


def _width(feed: Keys, hidden: int) -> int:
    """Two thirds of so many times the model's width, in whole multiples of 256."""
    times = feed.number("ffn_mult")
    if not 0 < times <= MAX_MULTIPLIER:
        raise FileFormatError(
            f"{feed.source}: ffn_mult is {shown(times)}; expected above 0, at most {MAX_MULTIPLIER:g}"
        )
    found = MULTIPLE * -(-int(2 * times * hidden / 3) // MULTIPLE)
    if not 1 <= found <= MAX_WIDTH:
        raise FileFormatError(f"{feed.source}: ffn_mult makes {found:,}; expected 1 to {MAX_WIDTH:,}")
    return found


def with_sizes(keys: Keys) -> Keys:
    """The keys with the widest layer's KV heads and feed-forward size, which the file leaves out."""
    layers = layers_of(keys)
    kv_heads = max((layer.kv_heads for layer in layers), default=0) or 1
    ffn_size = max((layer.ffn_size for layer in layers), default=0) or width_of(keys)
    return Keys({**keys.values, "num_key_value_heads": kv_heads, "intermediate_size": ffn_size}, keys.source)


def attention_of(keys: Keys) -> tuple[Mixer, ...]:
    """The layers that attend, by their KV heads. Raises UnsupportedModel where there are none."""
    hidden = width_of(keys)
    heads, _, head_dim = heads_of(keys, hidden)
    q, counts = heads * head_dim, Counter(layer.kv_heads for layer in layers_of(keys))
    if not set(counts) - {0}:
        raise UnsupportedModel(f"the planner cannot size {keys.source}: none of its layers attends")
    biased = keys.flag("attention_bias", False)
    return distinct(
        Mixer(
            name="full attention",
            layers=layers,
            linear=hidden * (2 * q + 2 * kv_heads * head_dim),
            small=q + 2 * kv_heads * head_dim + hidden if biased else 0,
            token_values=2 * kv_heads * head_dim,
            kv_heads=kv_heads,
            pair_operations=4 * q,
            told=f"key and value, {kv_heads:,} heads of {head_dim:,}",
        )
        for kv_heads, layers in counts.items()
        if kv_heads
    )


def besides_attention(keys: Keys) -> tuple[int, int]:
    """Weights of projections, and parameters of norms and biases, of all layers."""
    hidden, layers = width_of(keys), layers_of(keys)
    linear = sum(3 * hidden * layer.ffn_size + layer.matrices * hidden * hidden for layer in layers)
    small = sum(layer.norms for layer in layers) * hidden
    if keys.flag("mlp_bias", False):
        small += sum(2 * layer.ffn_size + hidden for layer in layers if layer.ffn_size)
    return linear, small
