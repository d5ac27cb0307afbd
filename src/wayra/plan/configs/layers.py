"""Which kind each layer of a config is: as it lists them, or as its family counts them off."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from wayra.base.errors import FileFormatError, UnsupportedModel
from wayra.model.keys import Keys, shown
from wayra.model.spec import MAX_LAYERS
from wayra.plan.configs.families import Family
from wayra.plan.configs.keys import count, integers, size
from wayra.plan.configs.shape import depth_of

FULL, SLIDING, CHUNKED, STATE, CONV, BOTH, NOTHING = "full", "sliding", "chunked", "state", "conv", "both", "nothing"
_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "full_attention": FULL,
        "indexed_attention": FULL,
        "deepseek_sparse_attention": FULL,
        "attention": FULL,
        "global": FULL,
        "sliding_attention": SLIDING,
        "local": SLIDING,
        "chunked_attention": CHUNKED,
        "linear_attention": STATE,
        "mamba": STATE,
        "mamba2": STATE,
        "hybrid": BOTH,
        "conv": CONV,
        "mlp": NOTHING,
        "moe": NOTHING,
    }
)
_LETTERS: Mapping[str, str] = MappingProxyType({"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"})
FULL_ATTENTION_EVERY = 4
"""Llama 4's layers with a position 4, 8, 12... attend to everything where the file does not say otherwise."""


def listed(keys: Keys) -> tuple[str, ...] | None:
    """The words of layer_types, or of what other families call it. Raises FileFormatError."""
    pattern = keys.get("hybrid_override_pattern")
    if pattern is not None:
        letters = keys.text("hybrid_override_pattern")
        if not 1 <= len(letters) <= MAX_LAYERS or set(letters) - set(_LETTERS):
            raise FileFormatError(
                f"{keys.source}: hybrid_override_pattern is {shown(letters)}; expected a letter of M * - E a layer"
            )
        return tuple(_LETTERS[letter] for letter in letters)
    for name in ("layer_types", "layers_block_type"):
        if words := keys.texts(name):
            if len(words) > MAX_LAYERS:
                raise FileFormatError(
                    f"{keys.source}: {name} lists {len(words):,} layers; at most {MAX_LAYERS:,} are read"
                )
            return words
    return None


def kinds_of(keys: Keys, family: Family) -> tuple[str, ...]:
    """The kind of each layer.

    Raises: UnsupportedModel on a kind that no formula here describes, FileFormatError.
    """
    words = listed(keys)
    # Nemotron-H counts its layers by its pattern, and newer versions of transformers write no other number.
    says_depth = keys.get("num_hidden_layers") is not None and keys.get("hybrid_override_pattern") is None
    depth = len(words) if words and not says_depth else depth_of(keys)
    if words:
        if len(words) < depth:
            raise FileFormatError(f"{keys.source}: layer_types lists {len(words)} of {depth} layers")
        if unknown := next((word for word in words[:depth] if word not in _WORDS), None):
            raise UnsupportedModel(f"the planner cannot size layers of {shown(unknown)}, which {keys.source} lists")
        return tuple(_WORDS[word] for word in words[:depth])
    for name, rule in _COUNTED.items():
        if keys.get(name) is not None:
            return rule(keys, depth)
    if family.states or family.both:
        return (STATE if family.states else BOTH,) * depth
    return _windowed(keys, family, depth)


def _at(full: set[int], depth: int, other: str) -> tuple[str, ...]:
    return tuple(FULL if i in full else other for i in range(depth))


def _every(keys: Keys, depth: int) -> tuple[str, ...]:
    step = size(keys, "full_attention_interval")
    return tuple(STATE if (i + 1) % step else FULL for i in range(depth))


def _period(keys: Keys, depth: int) -> tuple[str, ...]:
    period, offset = size(keys, "attn_layer_period"), count(keys, "attn_layer_offset", 0)
    return tuple(FULL if i % period == offset else STATE for i in range(depth))


def _indices(name: str, other: str) -> Callable[[Keys, int], tuple[str, ...]]:
    return lambda keys, depth: _at(set(integers(keys, name) or ()), depth, other)


def _flags(name: str, one: str, none: str) -> Callable[[Keys, int], tuple[str, ...]]:
    def read(keys: Keys, depth: int) -> tuple[str, ...]:
        flags = integers(keys, name) or ()
        if len(flags) < depth:
            raise FileFormatError(f"{keys.source}: {name} lists {len(flags)} of {depth} layers")
        return tuple(one if flag else none for flag in flags[:depth])

    return read


def _kimi(keys: Keys, depth: int) -> tuple[str, ...]:
    inner = Keys(keys.table("linear_attn_config") or {}, f"{keys.source}, linear_attn_config")
    full = integers(inner, "full_attn_layers")
    if full is None:
        raise FileFormatError(f"{inner.source} lacks full_attn_layers")
    return _at({i - 1 for i in full}, depth, STATE)


_COUNTED: Mapping[str, Callable[[Keys, int], tuple[str, ...]]] = MappingProxyType(
    {
        "full_attention_interval": _every,
        "attn_layer_period": _period,
        "attn_layer_indices": _indices("attn_layer_indices", STATE),
        "full_attn_idxs": _indices("full_attn_idxs", CONV),
        "attn_type_list": _flags("attn_type_list", FULL, STATE),
        "hybrid_layer_pattern": _flags("hybrid_layer_pattern", SLIDING, FULL),
        "linear_attn_config": _kimi,
    }
)


def _windowed(keys: Keys, family: Family, depth: int) -> tuple[str, ...]:
    """Of a family whose layers are all attention: which of them have a window."""
    if family.sliding == "chunked":
        if keys.get("attention_chunk_size") is None:
            return (FULL,) * depth
        return tuple(CHUNKED if (i + 1) % FULL_ATTENTION_EVERY else FULL for i in range(depth))
    if keys.get("sliding_window") is None or family.sliding == "none":
        return (FULL,) * depth
    if family.sliding == "all":
        return (SLIDING,) * depth
    if family.sliding == "alternate":
        return tuple(FULL if i % 2 else SLIDING for i in range(depth))
    if family.sliding == "pattern":
        step = size(keys, "sliding_window_pattern", family.pattern)
        return tuple(SLIDING if (i + 1) % step else FULL for i in range(depth))
    # Qwen: switched off unless said, and only in the layers above some.
    if not keys.flag("use_sliding_window", False):
        return (FULL,) * depth
    first = count(keys, "max_window_layers", depth)
    return tuple(SLIDING if i >= first else FULL for i in range(depth))
