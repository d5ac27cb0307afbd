"""The paged KV cache of one layer: blocks of KV_BLOCK_LEN tokens, stored in the precision asked for."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wayra.backends.api import KV_BLOCK_LEN, StepBatch

Floats = NDArray[np.float32]
STORED: dict[str, type[np.generic]] = {"f32": np.float32, "f16": np.float16, "bf16": np.uint16, "int8": np.int8}
"""NumPy has no bfloat16; its 16 bits are kept as they are. An int8 head is followed by the bytes of its scale."""
SCALE_BYTES = 4
STEPS = 127
LEAST_HEAD = 1e-30
"""Of a head whose largest value is below it, int8 keeps zeros."""
LARGEST_TURN = 128


def stored_len(head_dim: int, kv_dtype: str) -> int:
    """Stored elements of a head of a token."""
    return head_dim + (SCALE_BYTES if kv_dtype == "int8" else 0)


def encode(values: Floats, kv_dtype: str) -> NDArray[np.generic]:
    """Round [..., head_dim] to the precision of the cache, ties to even: [..., stored_len]."""
    if kv_dtype == "int8":
        codes, scales = to_int8(values)
        return np.concatenate([codes, scales.astype(np.float32)[..., None].view(np.int8)], axis=-1)
    if kv_dtype != "bf16":
        with np.errstate(over="ignore"):
            return values.astype(STORED[kv_dtype])
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16
    # Rounding could carry a NaN into an infinity or a number; keep it a NaN.
    return np.where(np.isnan(values), np.uint64(0x7FC0), rounded).astype(np.uint16)


def decode(stored: NDArray[np.generic], kv_dtype: str) -> Floats:
    if kv_dtype == "int8":
        codes, scales = stored[..., :-SCALE_BYTES], np.ascontiguousarray(stored[..., -SCALE_BYTES:])
        return codes.astype(np.float32) * scales.view(np.float32)
    if kv_dtype != "bf16":
        return stored.astype(np.float32)
    return (stored.astype(np.uint32) << 16).view(np.float32)


def to_int8(values: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Integers of [..., head_dim] and the scale of each head, its largest magnitude over 127."""
    largest = np.abs(values).max(axis=-1)
    usable = (largest >= LEAST_HEAD) & np.isfinite(largest)
    factor = np.divide(np.float32(STEPS), largest, out=np.zeros_like(largest), where=usable)
    codes = np.rint(np.where(usable[..., None], values, 0) * factor[..., None]).astype(np.int8)
    return codes, np.where(usable, largest / STEPS, 0).astype(np.float32)


def turned(values: Floats) -> Floats:
    """[..., head_dim] times Hadamard matrices: each dimension spread over many, dot products as before times turn_len.

    One scale a head would else leave the many small dimensions of a key few steps beside the few large ones.
    Source: QuaRot (Ashkboos et al. 2024).
    """
    matrix = np.ones((1, 1), np.float32)
    while len(matrix) < turn_len(values.shape[-1]):
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    stretches = values.reshape(*values.shape[:-1], -1, len(matrix))
    return (stretches @ matrix).reshape(values.shape)


def turn_len(head_dim: int) -> int:
    """The order of the matrices of `turned`: the largest power of two that divides a head, up to 128."""
    return min(head_dim & -head_dim, LARGEST_TURN)


@dataclass(frozen=True, slots=True)
class LayerKV:
    """One layer's cache during one step.

    blocks: [2, num_blocks, KV_BLOCK_LEN, kv_heads, stored_len] of the stored type; keys first, then values. Keys of an
    int8 cache are turned.
    """

    blocks: NDArray[np.generic]
    kv_dtype: str
    batch: StepBatch

    def write(self, keys: Floats, values: Floats) -> None:
        """Store keys and values [tokens, kv_heads, head_dim] of the step's tokens."""
        batch = self.batch
        seqs = np.repeat(np.arange(len(batch.kv_lens)), np.diff(batch.query_starts))
        block_ids = batch.block_tables[seqs, batch.positions // KV_BLOCK_LEN]
        if self.kv_dtype == "int8":
            keys = turned(keys)
        for half, new in enumerate((keys, values)):
            self.blocks[half, block_ids, batch.positions % KV_BLOCK_LEN] = encode(new, self.kv_dtype)

    def queries(self, queries: Floats) -> Floats:
        """Queries [..., head_dim] as they meet the keys: rounded like them, and turned where those are."""
        if self.kv_dtype == "bf16":
            return decode(encode(queries, "bf16"), "bf16")
        if self.kv_dtype == "int8":
            codes, scales = to_int8(turned(queries))
            return codes.astype(np.float32) * (scales / turn_len(queries.shape[-1])).astype(np.float32)[..., None]
        return queries

    def weights(self, weights: Floats) -> Floats:
        """Softmax weights as they meet the values: rounded to bfloat16 beside a bfloat16 cache."""
        return decode(encode(weights, "bf16"), "bf16") if self.kv_dtype == "bf16" else weights

    def sequences(self) -> Iterator[tuple[slice, NDArray[np.int32], Floats, Floats]]:
        """For each sequence: its tokens of the step, their positions, keys and values [kv_len, kv_heads, head_dim]."""
        for seq, kv_len in enumerate(self.batch.kv_lens.tolist()):
            tokens = slice(int(self.batch.query_starts[seq]), int(self.batch.query_starts[seq + 1]))
            block_ids = self.batch.block_tables[seq, : -(-kv_len // KV_BLOCK_LEN)]
            pages = decode(self.blocks[:, block_ids], self.kv_dtype)
            keys, values = pages.reshape(2, -1, *pages.shape[3:])[:, :kv_len]
            yield tokens, self.batch.positions[tokens], keys, values
