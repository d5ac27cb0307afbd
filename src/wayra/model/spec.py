"""What a model is, in numbers: made from config.json or GGUF metadata, validated when made, never mutated."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class RopeSpec:
    """Rotary position embedding.

    theta: base. rotary_dim: how many of the head's dimensions rotate.
    scaling: "none", "linear", "llama3" or "yarn"; the other fields belong to one or several of them.
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


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A dense Llama-family decoder.

    sliding_window: how many of the latest keys a query sees (itself included), None for all of them; it applies to the
    layers named in sliding_layers (all of them when that is None).
    attention_bias: biases on Q, K and V; output_bias, mlp_bias: on the output projection and the three MLP matrices.
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
