"""The meaning of each operation, in at most 15 lines of NumPy. Every other backend is tested against these."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wayra.backends.numpy.kv import LayerKV
from wayra.backends.numpy.weights import DenseWeight

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
LOG2_E = 1.4426950408889634


@dataclass(frozen=True, slots=True)
class HeadAttrs:
    """The heads of one attention layer: `num_heads` queries share `num_kv_heads` keys and values, in order."""

    num_heads: int
    num_kv_heads: int
    head_dim: int


def embed(token_ids: Ints, table: DenseWeight) -> Floats:
    """[tokens] -> [tokens, hidden]."""
    return table.rows(token_ids)


def add_rms_norm(x: Floats, delta: Floats | None, norm: Floats, eps: float) -> tuple[Floats, Floats]:
    """The new residual stream x + delta, and its RMS norm; both [tokens, hidden]."""
    x = x if delta is None else x + delta
    mean_square = np.mean(np.square(x), axis=-1, keepdims=True, dtype=np.float32)
    h = x / np.sqrt(mean_square + np.float32(eps)) * norm
    return x, h.astype(np.float32, copy=False)


def linear(x: Floats, weight: DenseWeight, bias: Floats | None) -> Floats:
    """x @ weight.T + bias, [tokens, in] -> [tokens, out]. Weights that are not float32 may round x first."""
    y = weight.multiply(x)
    return y if bias is None else y + bias


def rope_store(
    qkv: Floats, positions: Ints, inv_freq: Floats, magnitude: float, heads: HeadAttrs, kv: LayerKV
) -> Floats:
    """Rotate Q and K, write K and V to the cache, return Q [tokens, heads * head_dim]. Angles in float32."""
    x = qkv.reshape(len(qkv), -1, heads.head_dim)
    angles = positions.astype(np.float32)[:, None] * inv_freq
    cos = np.cos(angles)[:, None] * np.float32(magnitude)
    sin = np.sin(angles)[:, None] * np.float32(magnitude)
    half, num_rotated = len(inv_freq), heads.num_heads + heads.num_kv_heads
    low, high = x[:, :num_rotated, :half], x[:, :num_rotated, half : 2 * half]
    rotated = np.concatenate([low * cos - high * sin, high * cos + low * sin, x[:, :num_rotated, 2 * half :]], axis=-1)
    rotated = rotated.astype(np.float32, copy=False)
    kv.write(rotated[:, heads.num_heads :], x[:, num_rotated:])
    return rotated[:, : heads.num_heads].reshape(len(x), -1)


def attention(q: Floats, scale: float, window: int | None, heads: HeadAttrs, kv: LayerKV) -> Floats:
    """softmax(Q K^T * scale) V over the keys each query may see, [tokens, heads * head_dim].

    With a bfloat16 or int8 cache Q (with what makes scores logarithms of base 2) is rounded too, with the former the
    exponentials as well, as hardware multiplies them.
    """
    factor = np.float32(scale) * np.float32(LOG2_E)
    out = np.empty((len(q), heads.num_heads, heads.head_dim), np.float32)
    group = heads.num_heads // heads.num_kv_heads
    for tokens, positions, keys, values in kv.sequences():
        queries = kv.queries((q[tokens] * factor).reshape(-1, heads.num_kv_heads, group, heads.head_dim))
        scores = np.einsum("tkgd,skd->kgts", queries, keys)
        age = positions[:, None] - np.arange(len(keys))
        scores = np.where((age >= 0) & (age < (window or len(keys))), scores, -np.inf)
        weights = kv.weights(np.exp2(scores - scores.max(axis=-1, keepdims=True)))
        weights = weights / weights.sum(axis=-1, keepdims=True)
        out[tokens] = np.einsum("kgts,skd->tkgd", weights, values).reshape(-1, heads.num_heads, heads.head_dim)
    return out.reshape(len(q), -1)


def swiglu(gate_up: Floats) -> Floats:
    """silu(gate) * up, [tokens, 2 * ffn] -> [tokens, ffn]; the gate comes first."""
    gate, up = np.split(gate_up, 2, axis=-1)
    # exp overflows to infinity for very negative gates; the quotient is then the correct 0.
    with np.errstate(over="ignore"):
        return (gate / (1 + np.exp(-gate)) * up).astype(np.float32, copy=False)


def take_rows(x: Floats, rows: Ints) -> Floats:
    """[tokens, hidden] -> [rows, hidden]."""
    return x[rows]


def logits(x: Floats, head: DenseWeight) -> Floats:
    """[rows, hidden] -> [rows, vocab]. The head sees finer activations than `linear`."""
    return head.multiply(x, is_head=True)
