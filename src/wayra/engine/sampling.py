"""Sampling parameters of many requests as the flat arrays a backend reads.

What does not change from step to step (temperatures, biases, seeds) is kept while the rows stay the same; histories
are kept by the sequences and only joined here.
"""

from collections.abc import Sequence as SequenceOf

import numpy as np
from numpy.typing import NDArray

from wayra.backends.api import SamplingBatch
from wayra.base.errors import InvalidParameter
from wayra.engine.request import SamplingParams
from wayra.engine.sequence import Sequence

# Below this the division by the temperature overflows float32, and the result is greedy to every printed digit anyway.
_MIN_TEMPERATURE = 1e-4

# Nothing left to choose from is not what a top_p of 0 means: the first token always stays.
_MIN_TOP_P = 1e-20

_GREEDY = SamplingParams(temperature=0.0)


def all_allowed(vocab_size: int) -> NDArray[np.uint32]:
    """uint32 [ceil(vocab / 32)] with the bits of all tokens set, and none beyond the vocabulary."""
    bits = np.arange((vocab_size + 31) // 32 * 32) < vocab_size
    return np.packbits(bits, bitorder="little").view("<u4").astype(np.uint32)


def step_mask(seq: Sequence, vocab_mask: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The tokens a sequence may choose next: what its constraint allows, without stop tokens before min_tokens.

    vocab_mask: `all_allowed` of the vocabulary; not changed.
    Raises InvalidParameter when the constraint's mask is malformed or allows nothing.
    """
    if seq.constraint is None:
        mask = vocab_mask
    else:
        given = np.asarray(seq.constraint.mask())
        if given.dtype != np.uint32 or given.shape != vocab_mask.shape:
            raise InvalidParameter(
                f"the constraint's mask is {given.dtype} {list(given.shape)}, expected uint32 [{len(vocab_mask)}]"
            )
        mask = given & vocab_mask
        if not mask.any():
            raise InvalidParameter("the constraint allows no token; loosen it")
    if len(seq.token_ids) >= seq.min_len:
        return mask
    longer = mask.copy()
    for token_id in seq.stop_ids:
        longer[token_id // 32] &= np.uint32(~(1 << (token_id % 32)) & 0xFFFFFFFF)
    # A constraint that can only end wins over min_tokens.
    return longer if longer.any() else mask


class SamplingBuilder:
    """Makes the SamplingBatch of a step from the sequences of its logit rows."""

    def __init__(self, vocab_size: int) -> None:
        self._all_allowed = all_allowed(vocab_size)
        self._rows: list[Sequence | None] = []
        self._vocab_size = vocab_size
        self._static = _static_batch([], vocab_size)
        self._has_history = False

    def build(
        self, rows: list[Sequence | None], positions: list[int], drafted: SequenceOf[tuple[int, ...]]
    ) -> SamplingBatch:
        """The sampling of a step's rows.

        rows: the sequence a row samples for, None for a row that is only scored. positions: of the tokens chosen.
        drafted: the tokens that a row takes for generated although its sequence does not have them yet.
        """
        if rows != self._rows:
            self._rows = rows
            self._static = _static_batch(rows, self._vocab_size)
            self._has_history = any(seq is not None and seq.history is not None for seq in rows)
        static = self._static
        starts, ids, counts = static.history_starts, static.history_ids, static.history_counts
        if self._has_history:
            starts, ids, counts = _joined_histories(rows, drafted)
        return SamplingBatch(
            temperature=static.temperature,
            top_k=static.top_k,
            top_p=static.top_p,
            min_p=static.min_p,
            seeds=static.seeds,
            draws=np.array(positions, dtype=np.uint64),
            repetition_penalty=static.repetition_penalty,
            presence_penalty=static.presence_penalty,
            frequency_penalty=static.frequency_penalty,
            history_starts=starts,
            history_ids=ids,
            history_counts=counts,
            bias_starts=static.bias_starts,
            bias_ids=static.bias_ids,
            bias_values=static.bias_values,
            allowed=self._allowed(rows),
            num_logprobs=static.num_logprobs,
        )

    def _allowed(self, rows: SequenceOf[Sequence | None]) -> NDArray[np.uint32] | None:
        masks = [None if seq is None else seq.mask for seq in rows]
        if all(mask is None for mask in masks):
            return None
        return np.stack([self._all_allowed if mask is None else mask for mask in masks])


def _static_batch(rows: SequenceOf[Sequence | None], vocab_size: int) -> SamplingBatch:
    params = [_GREEDY if seq is None else seq.params for seq in rows]
    temperatures = [p.temperature if p.temperature >= _MIN_TEMPERATURE else 0.0 for p in params]
    biases = [list(p.logit_bias.items()) for p in params]
    return SamplingBatch(
        temperature=np.array(temperatures, dtype=np.float32),
        top_k=np.array([p.top_k for p in params], dtype=np.int32),
        top_p=np.array([max(p.top_p, _MIN_TOP_P) for p in params], dtype=np.float32),
        min_p=np.array([p.min_p for p in params], dtype=np.float32),
        seeds=np.array([0 if seq is None else seq.seed for seq in rows], dtype=np.uint64),
        draws=np.zeros(len(rows), dtype=np.uint64),
        repetition_penalty=np.array([p.repetition_penalty for p in params], dtype=np.float32),
        presence_penalty=np.array([p.presence_penalty for p in params], dtype=np.float32),
        frequency_penalty=np.array([p.frequency_penalty for p in params], dtype=np.float32),
        history_starts=np.zeros(len(rows) + 1, dtype=np.int32),
        history_ids=np.zeros(0, dtype=np.int32),
        history_counts=np.zeros(0, dtype=np.int32),
        bias_starts=_starts([len(b) for b in biases]),
        bias_ids=np.array([token_id for b in biases for token_id, _ in b], dtype=np.int32),
        bias_values=np.array([value for b in biases for _, value in b], dtype=np.float32),
        allowed=None,
        num_logprobs=min(vocab_size, max((p.logprobs or 0 for p in params), default=0)),
    )


def _joined_histories(
    rows: SequenceOf[Sequence | None], drafted: SequenceOf[tuple[int, ...]]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """(starts, ids, counts) of the rows that have penalties; the others have no entries."""
    nothing = np.zeros(0, dtype=np.int32)
    histories = [
        (nothing, nothing) if seq is None or seq.history is None else seq.history.after(token_ids)
        for seq, token_ids in zip(rows, drafted, strict=True)
    ]
    starts = _starts([len(ids) for ids, _ in histories])
    return starts, np.concatenate([ids for ids, _ in histories]), np.concatenate([counts for _, counts in histories])


def _starts(lengths: SequenceOf[int]) -> NDArray[np.int32]:
    starts = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=starts[1:])
    return starts
