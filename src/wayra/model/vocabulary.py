"""The operations as a family's forward calls them: one method an operation, over symbolic arrays or real ones."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Generic, TypeVar

from wayra.model.program import Attr
from wayra.model.spec import ModelSpec

A = TypeVar("A")


class Ops(ABC, Generic[A]):
    """What a forward is written against. A subclass says what a call does: record it, or compute it."""

    @abstractmethod
    def call(
        self, op: str, inputs: tuple[A | None, ...], weights: tuple[str | None, ...], attrs: Mapping[str, Attr]
    ) -> tuple[A, ...]:
        """Do one operation of the table; returns its outputs. Weights are slot names."""

    def embed(self, token_ids: A, table: str) -> A:
        """[tokens] ids -> [tokens, hidden] rows of the table."""
        return self.call("embed", (token_ids,), (table,), {})[0]

    def add_rms_norm(self, x: A, delta: A | None, norm: str, eps: float) -> tuple[A, A]:
        """Add delta to the residual stream x; returns the new stream and its RMS norm, both [tokens, hidden]."""
        x_new, h = self.call("add_rms_norm", (x, delta), (norm,), {"eps": eps})
        return x_new, h

    def linear(self, x: A, weight: str, bias: str | None = None) -> A:
        """[tokens, in] -> [tokens, out]: x @ weight.T + bias."""
        return self.call("linear", (x,), (weight, bias), {})[0]

    def rope_store(self, qkv: A, positions: A, layer: int, spec: ModelSpec, magnitude: float) -> A:
        """Rotate Q and K, write K and V to the layer's cache, return Q [tokens, heads * head_dim]."""
        attrs = {**_heads(layer, spec), "rotary_dim": spec.rope.rotary_dim, "magnitude": magnitude}
        return self.call("rope_store", (qkv, positions), ("rope_inv_freq",), attrs)[0]

    def attention(self, q: A, layer: int, spec: ModelSpec) -> A:
        """Causal attention of Q to the layer's cache, [tokens, heads * head_dim]."""
        attrs = {**_heads(layer, spec), "scale": spec.head_dim**-0.5, "window": spec.window_of(layer)}
        return self.call("attention", (q,), (), attrs)[0]

    def swiglu(self, gate_up: A) -> A:
        """[tokens, 2 * ffn], gate before up -> silu(gate) * up, [tokens, ffn]."""
        return self.call("swiglu", (gate_up,), (), {})[0]

    def take_rows(self, x: A, rows: A) -> A:
        """The rows of x [tokens, hidden] whose logits are wanted: [rows, hidden]."""
        return self.call("take_rows", (x, rows), (), {})[0]

    def logits(self, x: A, head: str) -> A:
        """[rows, hidden] -> [rows, vocab]."""
        return self.call("logits", (x,), (head,), {})[0]


def _heads(layer: int, spec: ModelSpec) -> dict[str, Attr]:
    return {
        "layer": layer,
        "num_heads": spec.num_heads,
        "num_kv_heads": spec.num_kv_heads,
        "head_dim": spec.head_dim,
    }
