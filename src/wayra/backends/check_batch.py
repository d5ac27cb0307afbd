"""Checks a step's flat arrays before any kernel trusts an index in them. Every backend calls it first.

On the path of every token, so it is written to cost little: short arrays are walked in Python, long ones by NumPy.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wayra.backends.api import KV_BLOCK_LEN, BackendOptions, SamplingBatch, StepBatch
from wayra.base.errors import ShapeError
from wayra.model.spec import ModelSpec

MAX_LOGPROBS = 20
_SHORT = 16
_INT32, _FLOAT32 = np.dtype(np.int32), np.dtype(np.float32)
_UINT32, _UINT64 = np.dtype(np.uint32), np.dtype(np.uint64)
_INFINITY = float("inf")


def check_batch(batch: StepBatch, spec: ModelSpec, options: BackendOptions, num_blocks: int) -> None:
    """Raises ShapeError unless every array has its type and shape, and every index lies where it may point.

    num_blocks: KV blocks allocated. Afterwards: positions are consecutive and end at kv_lens, every block a sequence
    reads or writes exists, and no two tokens of the step are stored in the same place.
    """
    for name in ("token_ids", "positions", "query_starts", "kv_lens", "logit_rows"):
        _array(name, getattr(batch, name), _INT32)
    num_tokens, num_seqs, num_rows = len(batch.token_ids), len(batch.kv_lens), len(batch.logit_rows)
    if not 1 <= num_tokens <= options.max_step_tokens:
        raise ShapeError(f"the step has {num_tokens} tokens; expected 1 to {options.max_step_tokens}")
    if not 1 <= num_seqs <= options.max_step_seqs:
        raise ShapeError(f"the step has {num_seqs} sequences; expected 1 to {options.max_step_seqs}")
    _range("token_ids", batch.token_ids, 0, spec.vocab_size - 1)
    _range("logit_rows", batch.logit_rows, 0, num_tokens - 1)
    if num_rows > options.max_step_tokens:
        raise ShapeError(f"the step wants {num_rows} logit rows; expected at most {options.max_step_tokens}")
    _check_sequences(batch, num_tokens, num_seqs)
    _check_blocks(batch, num_seqs, num_blocks)
    if batch.targets is not None:
        _array("targets", batch.targets, _INT32, num_rows)
        _range("targets", batch.targets, 0, spec.vocab_size - 1)
    if batch.sampling is not None:
        if num_rows > options.max_step_seqs:
            raise ShapeError(f"the step samples {num_rows} rows; expected at most {options.max_step_seqs}")
        _check_sampling(batch.sampling, num_rows, spec.vocab_size)


def check_kv_blocks(block_ids: NDArray[np.int32], num_blocks: int) -> None:
    """Raises ShapeError unless they are int32 numbers of KV blocks there are."""
    if block_ids.dtype != np.int32 or block_ids.ndim != 1:
        raise ShapeError(f"block_ids is {block_ids.dtype} {block_ids.shape}, expected one dimension of int32")
    if len(block_ids) and not 0 <= int(block_ids.min()) <= int(block_ids.max()) < num_blocks:
        raise ShapeError(f"block_ids has {block_ids.min()} to {block_ids.max()}; there are {num_blocks} KV blocks")


def check_kv_bytes(data: NDArray[np.uint8], num_blocks: int, block_bytes: int) -> None:
    """Raises ShapeError unless they are the bytes of that many KV blocks."""
    if data.dtype != np.uint8 or data.shape != (num_blocks, block_bytes):
        raise ShapeError(f"KV bytes are {data.dtype} {data.shape}, expected uint8 {(num_blocks, block_bytes)}")


def _array(name: str, array: NDArray[Any], dtype: np.dtype[Any], length: int | None = None) -> None:
    """One-dimensional, contiguous, of this type and (if given) length."""
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != 1:  # pyright: ignore[reportUnnecessaryIsInstance]
        seen = f"{array.dtype} of {array.ndim} dimensions" if isinstance(array, np.ndarray) else type(array).__name__  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ShapeError(f"{name} is {seen}; expected a one-dimensional {dtype} array")
    if not array.flags.c_contiguous:
        raise ShapeError(f"{name} is strided; expected a contiguous array")
    if length is not None and len(array) != length:
        raise ShapeError(f"{name} has {len(array)} entries; expected {length}")


def _range(name: str, array: NDArray[Any], low: float, high: float) -> None:
    """Every entry within [low, high]; NaN never is."""
    if len(array) <= _SHORT:
        is_sound = all(low <= value <= high for value in array.tolist())
    else:
        is_sound = bool(array.min() >= low and array.max() <= high)
    if not is_sound:
        raise ShapeError(f"{name} has an entry outside {low:g} to {high:g}")


def _check_sequences(batch: StepBatch, num_tokens: int, num_seqs: int) -> None:
    """query_starts partitions the tokens into sequences of at least one; positions are consecutive up to kv_lens."""
    starts, kv_lens, positions = batch.query_starts, batch.kv_lens, batch.positions
    if len(positions) != num_tokens or len(starts) != num_seqs + 1:
        raise ShapeError(
            f"{num_tokens} tokens of {num_seqs} sequences come with {len(positions)} positions and {len(starts)} "
            "query_starts; expected one position a token and one start more than sequences"
        )
    if num_seqs == 1:
        first, last = starts.tolist()
        start = int(kv_lens[0]) - num_tokens
        is_sound = first == 0 and last == num_tokens and start >= 0
        in_order = int(positions[0]) == start and (num_tokens == 1 or bool((np.diff(positions) == 1).all()))
    else:
        query_lens = np.diff(starts)
        # No length above the whole: differences of int32 wrap around.
        is_sound = bool(starts[0] == 0 and starts[-1] == num_tokens and query_lens.min() >= 1)
        is_sound = is_sound and bool(query_lens.max() <= num_tokens)
        is_sound = is_sound and bool((kv_lens >= query_lens).all())
        expected = np.repeat(kv_lens - starts[1:], query_lens) + np.arange(num_tokens) if is_sound else positions
        in_order = bool((positions == expected).all())
    if not is_sound:
        raise ShapeError("query_starts do not split the tokens into sequences that fit in kv_lens")
    if not in_order:
        raise ShapeError("positions are not consecutive, or do not end at kv_lens - 1")


def _check_blocks(batch: StepBatch, num_seqs: int, num_blocks: int) -> None:
    tables = batch.block_tables
    if not isinstance(tables, np.ndarray) or tables.dtype != _INT32 or tables.ndim != 2:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ShapeError("block_tables is not a two-dimensional int32 array")
    if not tables.flags.c_contiguous or tables.shape[0] != num_seqs:
        raise ShapeError(f"block_tables has shape {tables.shape}; expected {num_seqs} contiguous rows")
    for seq, kv_len in enumerate(batch.kv_lens.tolist()):
        used = -(-kv_len // KV_BLOCK_LEN)
        if used > tables.shape[1]:
            raise ShapeError(f"{kv_len} keys need {used} KV blocks; block_tables has room for {tables.shape[1]}")
        _range("block_tables", tables[seq, :used], 0, num_blocks - 1)
    if len(batch.token_ids) > 1:
        seqs = np.repeat(np.arange(num_seqs), np.diff(batch.query_starts))
        block_ids = tables[seqs, batch.positions // KV_BLOCK_LEN].astype(np.int64)
        # np.unique would load the whole of masked arrays.
        slots = np.sort(block_ids * KV_BLOCK_LEN + batch.positions % KV_BLOCK_LEN)
        if not bool((slots[1:] > slots[:-1]).all()):
            raise ShapeError("two tokens of the step are stored in the same KV slot; block_tables overlap")


def _check_sampling(s: SamplingBatch, num_rows: int, vocab_size: int) -> None:
    for name, dtype, low, high in (
        ("temperature", _FLOAT32, 0.0, 1e6),
        ("top_k", _INT32, 0, _INFINITY),
        ("top_p", _FLOAT32, 1e-30, 1.0),
        ("min_p", _FLOAT32, 0.0, 1.0),
        ("repetition_penalty", _FLOAT32, 1e-6, 1e6),
        ("presence_penalty", _FLOAT32, -1e6, 1e6),
        ("frequency_penalty", _FLOAT32, -1e6, 1e6),
    ):
        array = getattr(s, name)
        _array(name, array, dtype, num_rows)
        _range(name, array, low, high)
    _array("seeds", s.seeds, _UINT64, num_rows)
    _array("draws", s.draws, _UINT64, num_rows)
    _check_ragged("history", s.history_starts, s.history_ids, num_rows, vocab_size)
    _array("history_counts", s.history_counts, _INT32, len(s.history_ids))
    _range("history_counts", s.history_counts, 0, _INFINITY)
    _check_ragged("bias", s.bias_starts, s.bias_ids, num_rows, vocab_size)
    _array("bias_values", s.bias_values, _FLOAT32, len(s.bias_ids))
    _range("bias_values", s.bias_values, -1e30, 1e30)
    if not isinstance(s.num_logprobs, int) or not 0 <= s.num_logprobs <= min(MAX_LOGPROBS, vocab_size):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ShapeError(f"num_logprobs is {s.num_logprobs}; expected 0 to {min(MAX_LOGPROBS, vocab_size)}")
    if s.allowed is not None:
        _check_mask(s.allowed, num_rows, vocab_size)


def _check_ragged(name: str, starts: NDArray[np.int32], ids: NDArray[np.int32], num_rows: int, vocab_size: int) -> None:
    _array(f"{name}_starts", starts, _INT32, num_rows + 1)
    _array(f"{name}_ids", ids, _INT32)
    if len(starts) <= _SHORT:
        bounds = starts.tolist()
        is_sound = bounds[0] == 0 and bounds[-1] == len(ids) and bounds == sorted(bounds)
    else:
        is_sound = bool(starts[0] == 0 and starts[-1] == len(ids) and np.diff(starts).min() >= 0)
    if not is_sound:
        raise ShapeError(f"{name}_starts do not split the {len(ids)} entries of {name}_ids into {num_rows} rows")
    _range(f"{name}_ids", ids, 0, vocab_size - 1)


def _check_mask(allowed: NDArray[np.uint32], num_rows: int, vocab_size: int) -> None:
    words = -(-vocab_size // 32)
    if not isinstance(allowed, np.ndarray) or allowed.dtype != _UINT32 or allowed.shape != (num_rows, words):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ShapeError(f"allowed is not a uint32 array of shape ({num_rows}, {words})")
    if not allowed.flags.c_contiguous:
        raise ShapeError("allowed is strided; expected a contiguous array")
    # Bits past the vocabulary allow nothing.
    valid_tail = np.uint32(0xFFFFFFFF >> (32 * words - vocab_size))
    if num_rows and not bool(((allowed[:, :-1] != 0).any(axis=1) | ((allowed[:, -1] & valid_tail) != 0)).all()):
        raise ShapeError("allowed forbids every token of a row")
