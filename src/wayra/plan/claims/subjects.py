"""The models and cards that derivations name, as the few numbers their formulas need."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from wayra.base.errors import InvalidParameter

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Shape:
    """A dense Llama model with untied embeddings."""

    name: str
    num_layers: int
    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    ffn_size: int
    vocab_size: int

    @property
    def embedding(self) -> int:
        return self.vocab_size * self.hidden_size

    @property
    def mlp(self) -> int:
        return self.num_layers * 3 * self.hidden_size * self.ffn_size

    @property
    def parameters(self) -> int:
        """All of them: two embeddings, attention, MLP, norms."""
        q, kv, hidden = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim, self.hidden_size
        attention = hidden * (q + 2 * kv) + q * hidden
        return 2 * self.embedding + self.num_layers * (attention + 2 * hidden) + self.mlp + hidden

    @property
    def read_a_token(self) -> int:
        """Weights a decode step reads: all but the embedding table, of which it reads one row."""
        return self.parameters - self.embedding

    def kv_values_per_token(self) -> int:
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim


@dataclass(frozen=True, slots=True)
class Card:
    """bytes_per_s: of its memory. bf16_flops: dense peak. memory_bytes: as the driver reports it."""

    name: str
    bytes_per_s: float
    bf16_flops: float
    memory_bytes: float


SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        "llama-3.1-8b": Shape("llama-3.1-8b", 32, 4096, 32, 8, 128, 14336, 128256),
        "llama-3.1-70b": Shape("llama-3.1-70b", 80, 8192, 64, 8, 128, 28672, 128256),
        "llama-3.1-405b": Shape("llama-3.1-405b", 126, 16384, 128, 8, 128, 53248, 128256),
    }
)
CARDS: Mapping[str, Card] = MappingProxyType(
    {
        "rtx4090": Card("rtx4090", 1008e9, 165.2e12, 24 * 2**30),
        "l40s": Card("l40s", 864e9, 362e12, 48 * 2**30),
        "a100-pcie-80gb": Card("a100-pcie-80gb", 1935e9, 312e12, 80 * 2**30),
        "a100-sxm-80gb": Card("a100-sxm-80gb", 2039e9, 312e12, 80 * 2**30),
        "h100-pcie": Card("h100-pcie", 2000e9, 756.5e12, 80 * 2**30),
        "h100-sxm": Card("h100-sxm", 3350e9, 989.4e12, 80 * 2**30),
    }
)


def shape(name: str) -> Shape:
    return _find("model", name, SHAPES)


def card(name: str) -> Card:
    return _find("GPU", name, CARDS)


def _find(what: str, name: str, table: Mapping[str, _T]) -> _T:
    if name in table:
        return table[name]
    near = difflib.get_close_matches(str(name), table, n=3) or list(table)
    raise InvalidParameter(f"no derivation knows the {what} {name!r}; nearest: {', '.join(near)}")
