"""The paged KV cache of one layer: blocks of KV_BLOCK_LEN tokens, stored in the precision asked for."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wayra.backends.api import KV_BLOCK_LEN, StepBatch

Floats = NDArray[np.float32]
STORED: dict[str, type[np.generic]] = {"f32": np.float32, "f16": np.float16, "bf16": np.uint16}
"""NumPy has no bfloat16; its 16 bits are kept as they are."""


def encode(values: Floats, kv_dtype: str) -> NDArray[np.generic]:
    """Round to the precision of the cache, ties to even."""
    if kv_dtype != "bf16":
        with np.errstate(over="ignore"):
            return values.astype(STORED[kv_dtype])
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16
    # Rounding could carry a NaN into an infinity or a number; keep it a NaN.
    return np.where(np.isnan(values), np.uint64(0x7FC0), rounded).astype(np.uint16)


def decode(stored: NDArray[np.generic], kv_dtype: str) -> Floats:
    if kv_dtype != "bf16":
        return stored.astype(np.float32)
    return (stored.astype(np.uint32) << 16).view(np.float32)


@dataclass(frozen=True, slots=True)
class LayerKV:
    """One layer's cache during one step.

    blocks: [2, num_blocks, KV_BLOCK_LEN, kv_heads, head_dim] of the stored type; keys first, then values.
    """

    blocks: NDArray[np.generic]
    kv_dtype: str
    batch: StepBatch

    def write(self, keys: Floats, values: Floats) -> None:
        """Store keys and values [tokens, kv_heads, head_dim] of the step's tokens."""
        batch = self.batch
        seqs = np.repeat(np.arange(len(batch.kv_lens)), np.diff(batch.query_starts))
        block_ids = batch.block_tables[seqs, batch.positions // KV_BLOCK_LEN]
        for half, new in enumerate((keys, values)):
            self.blocks[half, block_ids, batch.positions % KV_BLOCK_LEN] = encode(new, self.kv_dtype)

    def rounded_like_bf16(self, values: Floats) -> Floats:
        """Queries and softmax weights as they meet a bfloat16 cache: rounded to it. Others are used as they are."""
        return decode(encode(values, "bf16"), "bf16") if self.kv_dtype == "bf16" else values

    def sequences(self) -> Iterator[tuple[slice, NDArray[np.int32], Floats, Floats]]:
        """For each sequence: its tokens of the step, their positions, keys and values [kv_len, kv_heads, head_dim]."""
        for seq, kv_len in enumerate(self.batch.kv_lens.tolist()):
            tokens = slice(int(self.batch.query_starts[seq]), int(self.batch.query_starts[seq + 1]))
            block_ids = self.batch.block_tables[seq, : -(-kv_len // KV_BLOCK_LEN)]
            pages = decode(self.blocks[:, block_ids], self.kv_dtype)
            keys, values = pages.reshape(2, -1, *pages.shape[3:])[:, :kv_len]
            yield tokens, self.batch.positions[tokens], keys, values
