"""What a model is, in numbers: made from config.json or GGUF metadata, validated when made, never mutated."""

from dataclasses import dataclass, field
from typing import Literal

from wayra.base.errors import FileFormatError

MAX_LAYERS = 1024
MAX_WIDTH = 1 << 20
MAX_HEADS = 4096
MAX_HEAD_DIM = 4096
MAX_VOCAB = 1 << 24
MAX_CONTEXT = 1 << 30


@dataclass(frozen=True, slots=True)
class RopeSpec:
    """Rotary position embedding.

    theta: base. rotary_dim: how many of the head's dimensions rotate.
    scaling: "none", "linear", "llama3" or "yarn"; the other fields belong to one or several of them.
    truncate: yarn rounds the borders of its ramp outwards to whole pairs.
    Raises: FileFormatError on numbers no rotation can be computed from.
    """

    theta: float
    rotary_dim: int
    scaling: Literal["none", "linear", "llama3", "yarn"] = "none"
    factor: float = 1.0
    original_context_len: int = 0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    mscale: float = 0.0
    mscale_all_dim: float = 0.0
    truncate: bool = True

    def __post_init__(self) -> None:
        _between("rope theta", self.theta, 1.0 + 1e-6, 1e15)
        _between("rope dimensions", self.rotary_dim, 2, MAX_HEAD_DIM)
        if self.rotary_dim % 2:
            raise FileFormatError(f"{self.rotary_dim} rope dimensions; expected an even number")
        _between("rope scaling factor", self.factor, 1e-3, 1e6)
        _between("rope original context length", self.original_context_len, 0, MAX_CONTEXT)
        _between("rope low_freq_factor", self.low_freq_factor, 1e-6, 1e6)
        _between("rope high_freq_factor", self.high_freq_factor, 1e-6, 1e6)
        if self.scaling == "llama3" and self.high_freq_factor <= self.low_freq_factor:
            raise FileFormatError(
                f"rope high_freq_factor {self.high_freq_factor} must exceed low_freq_factor {self.low_freq_factor}"
            )
        _between("rope beta_fast", self.beta_fast, 1e-6, 1e6)
        _between("rope beta_slow", self.beta_slow, 1e-6, 1e6)
        if self.attention_factor is not None:
            _between("rope attention factor", self.attention_factor, 1e-6, 1e6)
        _between("rope mscale", self.mscale, 0.0, 1e3)
        _between("rope mscale_all_dim", self.mscale_all_dim, 0.0, 1e3)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A dense Llama-family decoder.

    sliding_window: how many of the latest keys a query sees (itself included), None for all of them; it applies to the
    layers named in sliding_layers (all of them when that is None).
    attention_bias: biases on Q, K and V; output_bias, mlp_bias: on the output projection and the three MLP matrices.
    Raises: FileFormatError on numbers outside their bounds or at odds with each other.
    """

    family: str
    name: str
    num_layers: int
    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    ffn_size: int
    vocab_size: int
    context_len: int
    norm_eps: float
    rope: RopeSpec
    tied_embeddings: bool
    attention_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    sliding_window: int | None = None
    sliding_layers: tuple[int, ...] | None = field(default=None)

    def __post_init__(self) -> None:
        _between("number of layers", self.num_layers, 1, MAX_LAYERS)
        _between("hidden size", self.hidden_size, 1, MAX_WIDTH)
        _between("number of heads", self.num_heads, 1, MAX_HEADS)
        _between("number of KV heads", self.num_kv_heads, 1, MAX_HEADS)
        _between("head size", self.head_dim, 1, MAX_HEAD_DIM)
        _between("feed-forward size", self.ffn_size, 1, MAX_WIDTH)
        _between("vocabulary size", self.vocab_size, 1, MAX_VOCAB)
        _between("context length", self.context_len, 1, MAX_CONTEXT)
        _between("norm epsilon", self.norm_eps, 0.0, 1.0)
        if self.num_heads % self.num_kv_heads:
            raise FileFormatError(
                f"{self.num_heads} query heads cannot share {self.num_kv_heads} KV heads; expected a multiple"
            )
        if self.rope.rotary_dim > self.head_dim:
            raise FileFormatError(f"rope rotates {self.rope.rotary_dim} dimensions of heads of {self.head_dim}")
        if self.sliding_window is not None:
            _between("sliding window", self.sliding_window, 1, MAX_CONTEXT)
        for layer in self.sliding_layers or ():
            _between("sliding layer", layer, 0, self.num_layers - 1)

    @property
    def q_size(self) -> int:
        return self.num_heads * self.head_dim

    @property
    def kv_size(self) -> int:
        return self.num_kv_heads * self.head_dim

    def window_of(self, layer: int) -> int | None:
        """The sliding window of one layer, None when it attends to everything."""
        if self.sliding_layers is not None and layer not in self.sliding_layers:
            return None
        return self.sliding_window


def _between(what: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise FileFormatError(f"{what} is {value:,}; expected {low:,} to {high:,}")
