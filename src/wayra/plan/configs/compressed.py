"""DeepSeek-V4's attention: the latest tokens as they are, and older ones as one vector for each few, or for each many.

A vector is key and value of all heads at once. Layers that compress a few tokens choose by an indexer which to see.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from wayra.base.errors import FileFormatError, UnsupportedModel
from wayra.model.keys import Keys, shown
from wayra.model.spec import MAX_HEADS
from wayra.plan.configs.keys import integers, size
from wayra.plan.configs.shape import Shape, depth_of
from wayra.plan.mixers import Mixer, distinct

WINDOW, FEW, MANY = "sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention"
_BY_RATIO: Mapping[int, str] = MappingProxyType({0: WINDOW, 4: FEW, 128: MANY})
_RATES: Mapping[str, tuple[str, int]] = MappingProxyType(
    {FEW: ("compress_rate_csa", 4), MANY: ("compress_rate_hca", 128)}
)
VALUE_BYTES = 2


def kinds_compressed(keys: Keys) -> tuple[str, ...]:
    """The kind of each layer: as listed, by its ratio, or as the first release had them. Raises FileFormatError."""
    depth = depth_of(keys)
    words = keys.texts("layer_types")
    if words is None and (ratios := integers(keys, "compress_ratios")) is not None:
        words = tuple(_BY_RATIO.get(ratio, f"compression by {ratio}") for ratio in ratios)
    if words is None:
        words = (MANY, MANY, *(FEW if i % 2 else MANY for i in range(max(0, depth - 2))))
    if len(words) < depth:
        raise FileFormatError(f"{keys.source}: layer_types lists {len(words)} of {depth} layers")
    if unknown := next((word for word in words[:depth] if word not in _BY_RATIO.values()), None):
        raise UnsupportedModel(f"the planner cannot size layers of {shown(unknown)}, which {keys.source} lists")
    return words[:depth]


def compressed_attention(shape: Shape) -> tuple[Mixer, ...]:
    """All layers' attention; what a layer keeps in several ways is told in as many parts, weights with the first."""
    found = [
        part
        for kind, layers in Counter(shape.keys.texts("compressed") or ()).items()
        for part in _parts(shape, kind, layers)
    ]
    return distinct(found)


def _parts(shape: Shape, kind: str, layers: int) -> list[Mixer]:
    keys, hidden, dim = shape.keys, shape.hidden_size, shape.head_dim
    heads, rank = shape.num_heads, size(keys, "q_lora_rank")
    width = heads * dim
    out = size(keys, "o_lora_rank") * (width + size(keys, "o_groups", most=MAX_HEADS) * hidden)
    latest = Mixer(
        name="sliding attention",
        layers=layers,
        linear=hidden * rank + rank * width + hidden * dim + out,
        small=rank + dim + heads,
        token_values=dim,
        window=size(keys, "sliding_window", most=1 << 30),
        pair_operations=4 * width,
        kept_operations=4 * width,
        told=f"one vector of {dim:,}, key and value of all heads",
    )
    if kind == WINDOW:
        return [latest]
    rate, sides = _rate(keys, kind), 2 if kind == FEW else 1
    with_compressor = replace(
        latest, linear=latest.linear + 2 * hidden * sides * dim, small=latest.small + rate * sides * dim + dim
    )
    # Values and gates that wait to be compressed; where stretches overlap twice as many, and half of the one before.
    waiting = (6 if kind == FEW else 2) * rate * VALUE_BYTES
    if kind == MANY:
        return [with_compressor, _older(shape, layers, rate, 0), _waiting(layers, waiting * dim)]
    older = _older(shape, layers, rate, size(keys, "index_topk", most=1 << 24) * rate)
    waiting *= dim + size(keys, "index_head_dim")
    return [with_compressor, older, _indexer(shape, layers, rate, rank), _waiting(layers, waiting)]


def _rate(keys: Keys, kind: str) -> int:
    name, usual = _RATES[kind]
    rates = keys.table("compress_rates")
    if rates is not None and rates.get(kind) is not None:
        return size(Keys(rates, f"{keys.source}, compress_rates"), kind, most=1 << 20)
    return size(keys, name, usual, most=1 << 20)


def _share(values: int, rate: int) -> int:
    """Of a vector for so many tokens, what each of them counts."""
    return -(-values // rate)


def _older(shape: Shape, layers: int, rate: int, seen: int) -> Mixer:
    """seen: tokens whose vectors one looks at, 0 for all."""
    operations = 4 * shape.num_heads * shape.head_dim // rate
    return Mixer(
        name=f"attention to {rate} tokens at once",
        layers=layers,
        linear=0,
        token_values=_share(shape.head_dim, rate),
        window=seen,
        frees=False,
        pair_operations=operations,
        kept_operations=operations,
        told=f"a vector of {shape.head_dim:,} for {rate:,} tokens",
    )


def _indexer(shape: Shape, layers: int, rate: int, rank: int) -> Mixer:
    keys, hidden = shape.keys, shape.hidden_size
    heads, dim = size(keys, "index_n_heads", most=MAX_HEADS), size(keys, "index_head_dim")
    return Mixer(
        name="indexer of compressed attention",
        layers=layers,
        linear=2 * hidden * 2 * dim + rank * heads * dim + hidden * heads,
        small=rate * 2 * dim + dim,
        token_values=_share(dim, rate),
        pair_operations=2 * heads * dim // rate,
        kept_operations=2 * heads * dim // rate,
        told=f"a key of {dim:,} for {rate:,} tokens",
    )


def _waiting(layers: int, num_bytes: int) -> Mixer:
    return Mixer("compression", layers, 0, state_bytes=num_bytes, told="values and gates that wait to be compressed")


def hyper_connections(shape: Shape) -> int:
    """Parameters of the streams beside the residual: in each layer before attention and experts, and at the end."""
    streams = size(shape.keys, "hc_mult", 4, most=64)
    mixed = (2 + streams) * streams
    each = mixed * streams * shape.hidden_size + mixed + 3
    return shape.num_layers * 2 * each + streams * streams * shape.hidden_size + streams + 1
