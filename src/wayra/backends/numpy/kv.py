"""The paged KV cache of one layer: blocks of KV_BLOCK_LEN tokens, stored in the precision asked for."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wayra.backends.api import KV_BLOCK_LEN, StepBatch

Floats = NDArray[np.float32]
STORED: dict[str, type[np.generic]] = {
    "f32": np.float32,
    "f16": np.float16,
    "bf16": np.uint16,
    "int8": np.int8,
    "int16": np.int16,
}
"""NumPy has no bfloat16; its 16 bits are kept as they are. A head of integers is followed by the bytes of its scale."""
SCALE_BYTES = 4
STEPS: dict[str, tuple[int, int]] = {"int8": (127, 127), "int16": (8191, 4095)}
"""Largest integers of keys and of values: of int16 such that 32 bits hold the sums of their products."""
LEAST_HEAD = 1e-30
"""Of a head whose largest value is below it, integers keep zeros."""
LARGEST_TURN = 128
LARGEST_HEAD = 1024


def stored_len(head_dim: int, kv_dtype: str) -> int:
    """Stored elements of a head of a token."""
    return head_dim + (SCALE_BYTES // np.dtype(STORED[kv_dtype]).itemsize if kv_dtype in STEPS else 0)


def encode(values: Floats, kv_dtype: str, half: int = 0) -> NDArray[np.generic]:
    """Round [..., head_dim] to the precision of the cache, ties to even: [..., stored_len].

    half: 0 for keys, 1 for values.
    """
    if kv_dtype in STEPS:
        stored = STORED[kv_dtype]
        integers, scales = to_integers(values, STEPS[kv_dtype][half])
        return np.concatenate([integers.astype(stored), scales[..., None].view(stored)], axis=-1)
    if kv_dtype != "bf16":
        with np.errstate(over="ignore"):
            return values.astype(STORED[kv_dtype])
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16
    # Rounding could carry a NaN into an infinity or a number; keep it a NaN.
    return np.where(np.isnan(values), np.uint64(0x7FC0), rounded).astype(np.uint16)


def decode(stored: NDArray[np.generic], kv_dtype: str) -> Floats:
    if kv_dtype in STEPS:
        scale_len = SCALE_BYTES // stored.itemsize
        integers, scales = stored[..., :-scale_len], np.ascontiguousarray(stored[..., -scale_len:])
        return integers.astype(np.float32) * scales.view(np.float32)
    if kv_dtype != "bf16":
        return stored.astype(np.float32)
    return (stored.astype(np.uint32) << 16).view(np.float32)


def to_integers(values: Floats, steps: int) -> tuple[Floats, Floats]:
    """Integers of [..., head_dim] and the scale of each head, its largest magnitude over `steps`."""
    largest = np.abs(values).max(axis=-1)
    usable = (largest >= LEAST_HEAD) & np.isfinite(largest)
    factor = np.divide(np.float32(steps), largest, out=np.zeros_like(largest), where=usable)
    integers = np.rint(np.where(usable[..., None], values, 0) * factor[..., None])
    return integers, np.where(usable, largest / steps, 0).astype(np.float32)


def rounded_to_words(queries: Floats) -> Floats:
    """Queries [..., head_dim] as integers times a scale a head, as large as 16 bits and sums of products in 32 allow.

    Rounding adds half a step a dimension at most, and the largest head has LARGEST_HEAD of them; as much again is left
    for the rounding of the sum.
    """
    largest, total = np.abs(queries).max(axis=-1), np.abs(queries).sum(axis=-1)
    usable = (largest >= LEAST_HEAD) & np.isfinite(total)
    most = np.float32((2**31 - 1) // STEPS["int16"][0] - LARGEST_HEAD)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(usable, np.minimum(32767 / largest, most / total), 1)[..., None]
    return np.where(usable[..., None], np.rint(queries * factor) / factor, 0).astype(np.float32)


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
            self.blocks[half, block_ids, batch.positions % KV_BLOCK_LEN] = encode(new, self.kv_dtype, half)

    def queries(self, queries: Floats) -> Floats:
        """Queries [..., head_dim] as they meet the keys: rounded like them, and turned where those are."""
        if self.kv_dtype == "bf16":
            return decode(encode(queries, "bf16"), "bf16")
        if self.kv_dtype == "int16":
            return rounded_to_words(queries)
        if self.kv_dtype == "int8":
            integers, scales = to_integers(turned(queries), 127)
            return integers * (scales / turn_len(queries.shape[-1])).astype(np.float32)[..., None]
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
