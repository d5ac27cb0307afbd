"""The models and cards that plans and derivations name, as the few numbers their formulas need."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from wayra.base.errors import InvalidParameter

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Shape:
    """A dense Llama model. tied: the head uses the embedding table."""

    name: str
    num_layers: int
    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    ffn_size: int
    vocab_size: int
    tied: bool = False

    @property
    def embedding(self) -> int:
        return self.vocab_size * self.hidden_size

    @property
    def dense_mlp(self) -> int:
        return self.num_layers * 3 * self.hidden_size * self.ffn_size

    @property
    def parameters(self) -> int:
        """All of them: embeddings, attention, MLP, norms."""
        q, kv, hidden = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim, self.hidden_size
        attention = hidden * (q + 2 * kv) + q * hidden
        tables = 1 if self.tied else 2
        return tables * self.embedding + self.num_layers * (attention + 2 * hidden) + self.dense_mlp + hidden

    @property
    def linear(self) -> int:
        """Those in the projections of the layers, which quantisation makes smaller."""
        q, kv = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        return self.num_layers * self.hidden_size * (2 * q + 2 * kv) + self.dense_mlp

    @property
    def kv_values_per_token(self) -> int:
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim


@dataclass(frozen=True, slots=True)
class Card:
    """bytes_per_s: of its memory. bf16_flops: dense peak. memory_bytes: what programs see of it. fp8: in its units.

    link_bytes_per_s: to its neighbours, one way, as sums over cards reach it: NVLink, PCIe, or PCIe through the host.
    """

    name: str
    bytes_per_s: float
    bf16_flops: float
    memory_bytes: float
    watts: float
    link_bytes_per_s: float
    fp8: bool


SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        row.name: row
        for row in (
            Shape("llama-3.2-1b", 16, 2048, 32, 8, 64, 8192, 128256, tied=True),
            Shape("llama-3.2-3b", 28, 3072, 24, 8, 128, 8192, 128256, tied=True),
            Shape("llama-3.1-8b", 32, 4096, 32, 8, 128, 14336, 128256),
            Shape("llama-3.1-70b", 80, 8192, 64, 8, 128, 28672, 128256),
            Shape("llama-3.3-70b", 80, 8192, 64, 8, 128, 28672, 128256),
            Shape("llama-3.1-405b", 126, 16384, 128, 8, 128, 53248, 128256),
        )
    }
)
CARDS: Mapping[str, Card] = MappingProxyType(
    {
        row.name: row
        for row in (
            Card("rtx3090", 936e9, 71e12, 24 * 2**30, 350, 12e9, fp8=False),
            Card("rtx4090", 1008e9, 165.2e12, 24 * 2**30, 450, 12e9, fp8=True),
            Card("l4", 300e9, 121e12, 24 * 2**30, 72, 20e9, fp8=True),
            Card("l40", 864e9, 181e12, 48 * 2**30, 300, 20e9, fp8=True),
            Card("l40s", 864e9, 362e12, 48 * 2**30, 350, 20e9, fp8=True),
            Card("rtx-pro-6000", 1792e9, 503.8e12, 96 * 2**30, 600, 40e9, fp8=True),
            Card("a100-pcie-80gb", 1935e9, 312e12, 80 * 2**30, 300, 20e9, fp8=False),
            Card("a100-sxm-80gb", 2039e9, 312e12, 80 * 2**30, 400, 240e9, fp8=False),
            Card("h100-pcie", 2000e9, 756.5e12, 80 * 2**30, 350, 40e9, fp8=True),
            Card("h100-sxm", 3350e9, 989.4e12, 80 * 2**30, 700, 360e9, fp8=True),
            Card("h200", 4800e9, 989.4e12, 141e9, 700, 360e9, fp8=True),
            Card("b200", 8000e9, 2250e12, 180e9, 1000, 720e9, fp8=True),
        )
    }
)


def read_a_token(model: Shape) -> int:
    """Weights a decode step reads: all but an embedding table of which it reads one row."""
    return model.parameters if model.tied else model.parameters - model.embedding


def shape(name: str) -> Shape:
    return _find("model", name, SHAPES)


def card(name: str) -> Card:
    return _find("GPU", name, CARDS)


def _find(what: str, name: str, table: Mapping[str, _T]) -> _T:
    if name in table:
        return table[name]
    near = difflib.get_close_matches(str(name), table, n=3) or list(table)
    raise InvalidParameter(f"the planner knows no {what} {name!r}; nearest: {', '.join(near)}")
