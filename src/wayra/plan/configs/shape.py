"""What every part of the reading needs of a config: its keys, its family, and the sizes that all of them share."""

from dataclasses import dataclass

from wayra.base.errors import FileFormatError
from wayra.model.keys import Keys, shown
from wayra.model.spec import MAX_HEAD_DIM, MAX_HEADS, MAX_LAYERS, MAX_WIDTH
from wayra.plan.configs.families import Family
from wayra.plan.configs.keys import size


@dataclass(frozen=True, slots=True)
class Shape:
    """kind: the family's name. kinds: of each layer, in the words of `layers.py`."""

    keys: Keys
    kind: str
    family: Family
    kinds: tuple[str, ...]
    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int

    @property
    def num_layers(self) -> int:
        return len(self.kinds)

    @property
    def has_biases(self) -> bool:
        """Whether the file says that attention has biases."""
        return self.keys.flag("attention_bias", False)


def heads_of(keys: Keys, hidden_size: int) -> tuple[int, int, int]:
    """Heads, KV heads and the size of a head. Raises FileFormatError."""
    heads = size(keys, "num_attention_heads", most=MAX_HEADS)
    kv_heads = size(keys, "num_key_value_heads", heads, most=MAX_HEADS)
    if keys.get("kv_lora_rank") is not None:
        parts = (size(keys, name, most=MAX_HEAD_DIM) for name in ("qk_nope_head_dim", "qk_rope_head_dim"))
        return heads, kv_heads, sum(parts)
    head_dim = size(keys, "head_dim", max(1, hidden_size // heads), most=MAX_HEAD_DIM)
    return heads, kv_heads, head_dim


def width_of(keys: Keys) -> int:
    return size(keys, "hidden_size", most=MAX_WIDTH)


def depth_of(keys: Keys) -> int:
    return size(keys, "num_hidden_layers", most=MAX_LAYERS)


def whole(keys: Keys, name: str, total: int, parts: int) -> int:
    """total / parts. Raises FileFormatError where that is no whole number."""
    if total % parts or not total:
        raise FileFormatError(f"{keys.source}: {name} of {shown(total)} cannot be shared out among {shown(parts)}")
    return total // parts
