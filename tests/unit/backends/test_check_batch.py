"""Malformed batches are refused before any kernel trusts an index in them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from backend_batches import int32, sampling
from tiny_llama import tiny_spec

from wayra.backends.api import BackendOptions, StepBatch
from wayra.backends.check_batch import check_batch
from wayra.base.errors import ShapeError

SPEC = tiny_spec(vocab_size=50)
OPTIONS = BackendOptions(max_step_tokens=64, max_step_seqs=4)
NUM_BLOCKS = 6
Change = Callable[[StepBatch], StepBatch]


def batch() -> StepBatch:
    """Sequences of 3 and 1 tokens in this step, of 35 and 8 in all."""
    return StepBatch(
        token_ids=int32(1, 2, 3, 49),
        positions=int32(32, 33, 34, 7),
        query_starts=int32(0, 3, 4),
        kv_lens=int32(35, 8),
        block_tables=int32(5, 0, 2, -1).reshape(2, 2),
        logit_rows=int32(3, 2),
        targets=int32(0, 49),
        sampling=sampling(2),
    )


def long_batch() -> StepBatch:
    """Forty tokens of one sequence: long enough for the checks that NumPy makes."""
    count = 40
    return StepBatch(
        np.zeros(count, np.int32), np.arange(count, dtype=np.int32), int32(0, count), int32(count), int32(1, 2)[None],
        np.arange(count, dtype=np.int32),
    )  # fmt: skip


def sampled(**changed: object) -> Change:
    return lambda b: replace(b, sampling=replace(sampling(2), **changed))


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


BROKEN: dict[str, tuple[Change, str]] = {
    "no tokens": (lambda b: replace(b, token_ids=int32()), "0 tokens"),
    "list for array": (lambda b: replace(b, token_ids=[1, 2, 3, 4]), "token_ids is list"),
    "int64 ids": (lambda b: replace(b, token_ids=b.token_ids.astype(np.int64)), "token_ids is int64"),
    "two dimensions": (lambda b: replace(b, positions=b.positions[None]), "2 dimensions"),
    "strided": (lambda b: replace(b, token_ids=np.zeros(8, np.int32)[::2]), "strided"),
    "negative token": (lambda b: replace(b, token_ids=int32(1, -1, 3, 4)), "outside 0 to 49"),
    "token past the vocabulary": (lambda b: replace(b, token_ids=int32(1, 50, 3, 4)), "outside 0 to 49"),
    "positions missing": (lambda b: replace(b, positions=int32(32, 33, 34)), "3 positions"),
    "positions skip": (lambda b: replace(b, positions=int32(32, 34, 34, 7)), "not consecutive"),
    "positions end early": (lambda b: replace(b, positions=int32(31, 32, 33, 7)), "not consecutive"),
    "starts not from 0": (lambda b: replace(b, query_starts=int32(1, 3, 4)), "query_starts"),
    "starts end early": (lambda b: replace(b, query_starts=int32(0, 2, 3)), "query_starts"),
    "starts fall": (lambda b: replace(b, query_starts=int32(0, 5, 4)), "query_starts"),
    "sequence without tokens": (lambda b: replace(b, query_starts=int32(0, 4, 4)), "query_starts"),
    "fewer keys than tokens": (lambda b: replace(b, kv_lens=int32(2, 8)), "query_starts"),
    "too many sequences": (lambda b: replace(b, kv_lens=int32(*[1] * 5)), "5 sequences"),
    "block past the pool": (lambda b: replace(b, block_tables=int32(5, 6, 2, -1).reshape(2, 2)), "block_tables"),
    "block unset": (lambda b: replace(b, block_tables=int32(5, -1, 2, -1).reshape(2, 2)), "block_tables"),
    "table too narrow": (lambda b: replace(b, block_tables=int32(5, 2).reshape(2, 1)), "need 2 KV blocks"),
    "table of another height": (lambda b: replace(b, block_tables=int32(5, 0)[None]), "2 contiguous rows"),
    "one slot for two tokens": (
        lambda b: replace(
            b, positions=int32(32, 33, 34, 33), kv_lens=int32(35, 34), block_tables=int32(5, 0, 2, 0).reshape(2, 2)
        ),
        "same KV slot",
    ),
    "logit row past the step": (lambda b: replace(b, logit_rows=int32(4, 2)), "logit_rows"),
    "targets too few": (lambda b: replace(b, targets=int32(1)), "targets has 1"),
    "target past the vocabulary": (lambda b: replace(b, targets=int32(1, 50)), "targets"),
    "temperature negative": (sampled(temperature=f32(0, -1)), "temperature"),
    "temperature not a number": (sampled(temperature=f32(0, float("nan"))), "temperature"),
    "temperature of doubles": (sampled(temperature=np.zeros(2)), "temperature is float64"),
    "top_k negative": (sampled(top_k=int32(0, -1)), "top_k"),
    "top_p zero": (sampled(top_p=f32(1, 0)), "top_p"),
    "min_p above one": (sampled(min_p=f32(0, 1.5)), "min_p"),
    "repetition penalty zero": (sampled(repetition_penalty=f32(1, 0)), "repetition_penalty"),
    "presence penalty infinite": (sampled(presence_penalty=f32(float("inf"), 0)), "presence_penalty"),
    "seeds signed": (sampled(seeds=np.zeros(2, np.int64)), "seeds is int64"),
    "draws too few": (sampled(draws=np.zeros(1, np.uint64)), "draws has 1"),
    "history starts fall": (sampled(history_starts=int32(0, 2, 0)), "history_starts"),
    "history past the vocabulary": (
        sampled(history_starts=int32(0, 1, 1), history_ids=int32(50), history_counts=int32(1)),
        "history_ids",
    ),
    "history counts missing": (sampled(history_starts=int32(0, 1, 1), history_ids=int32(5)), "history_counts has 0"),
    "history counts negative": (
        sampled(history_starts=int32(0, 1, 1), history_ids=int32(5), history_counts=int32(-1)),
        "history_counts",
    ),
    "bias not a number": (
        sampled(bias_starts=int32(0, 0, 1), bias_ids=int32(5), bias_values=f32(float("nan"))),
        "bias_values",
    ),
    "mask of another width": (sampled(allowed=np.ones((2, 1), np.uint32)), r"\(2, 2\)"),
    "mask that forbids all": (sampled(allowed=np.array([[1, 0], [0, 0]], np.uint32)), "every token"),
    "mask past the vocabulary only": (sampled(allowed=np.array([[1, 0], [0, 1 << 18]], np.uint32)), "every token"),
    "too many logprobs": (sampled(num_logprobs=21), "num_logprobs"),
}
BROKEN_LONG: dict[str, tuple[Change, str]] = {
    "token": (lambda b: replace(b, token_ids=np.full(40, 50, np.int32)), "token_ids"),
    "negative token": (lambda b: replace(b, token_ids=np.full(40, -1, np.int32)), "token_ids"),
    "position": (lambda b: replace(b, positions=np.append(b.positions[:-1], int32(38))), "not consecutive"),
    "block twice": (lambda b: replace(b, block_tables=int32(1, 1)[None]), "same KV slot"),
    "too many tokens": (
        lambda b: replace(b, token_ids=np.zeros(65, np.int32), positions=np.arange(65, dtype=np.int32)),
        "65 tokens",
    ),
    "too many sampled rows": (lambda b: replace(b, sampling=sampling(40)), "samples 40 rows"),
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_malformed_batch_is_refused(name: str) -> None:
    change, message = BROKEN[name]
    check_batch(batch(), SPEC, OPTIONS, NUM_BLOCKS)
    with pytest.raises(ShapeError, match=message):
        check_batch(change(batch()), SPEC, OPTIONS, NUM_BLOCKS)


@pytest.mark.parametrize("name", list(BROKEN_LONG))
def test_malformed_long_batch_is_refused(name: str) -> None:
    change, message = BROKEN_LONG[name]
    check_batch(long_batch(), SPEC, OPTIONS, NUM_BLOCKS)
    with pytest.raises(ShapeError, match=message):
        check_batch(change(long_batch()), SPEC, OPTIONS, NUM_BLOCKS)


def test_sequences_may_share_blocks_they_only_read() -> None:
    shared = replace(batch(), positions=int32(32, 33, 34, 40), kv_lens=int32(35, 41))
    check_batch(replace(shared, block_tables=int32(5, 0, 5, 2).reshape(2, 2)), SPEC, OPTIONS, NUM_BLOCKS)


def test_a_step_may_want_no_logits() -> None:
    empty = replace(batch(), logit_rows=int32(), targets=None, sampling=None)
    check_batch(empty, SPEC, OPTIONS, NUM_BLOCKS)
