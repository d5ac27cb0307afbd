"""A drafter that asks a second, smaller model of the same vocabulary, with a KV cache of its own.

It samples as the target does, with the same seed for the same position, so that the two agree as often as their
distributions allow. A sequence the cache has no room for is not drafted; nobody waits for a block here.
"""

import time
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf

import numpy as np
from numpy.typing import NDArray

from wayra.backends.api import KV_BLOCK_LEN, Model, StepBatch
from wayra.base.errors import InvalidParameter
from wayra.engine.batch import BatchBuilder
from wayra.engine.scheduler import Chunk
from wayra.engine.sequence import Sequence
from wayra.engine.settings import MAX_DRAFT_TOKENS, blocks_for

_SPEED = 0.1
_KINDS = (0,) * MAX_DRAFT_TOKENS
_MAX_VOCAB_PADDING = 1024
"""Rows of an embedding matrix beyond the tokenizer's tokens: families pad their sizes differently."""


class DraftKv:
    """Blocks and tables of the draft model: a table row and as many blocks as its tokens need, for each sequence."""

    def __init__(self, num_blocks: int, max_seqs: int, max_context: int) -> None:
        self.tables: NDArray[np.int32] = np.full((max_seqs, blocks_for(max_context)), -1, dtype=np.int32)
        self._free_blocks = list(range(num_blocks - 1, -1, -1))
        self._free_slots = list(range(max_seqs - 1, -1, -1))

    @property
    def free_blocks(self) -> int:
        return len(self._free_blocks)

    def take_slot(self) -> int | None:
        """A row of the tables; None when all are taken."""
        return self._free_slots.pop() if self._free_slots else None

    def hold(self, slot: int, num_tokens: int) -> bool:
        """Room for so many tokens in this row, or False and nothing changed."""
        row = self.tables[slot]
        wanted = blocks_for(num_tokens)
        held = int((row >= 0).sum())
        if wanted > len(row) or wanted - held > len(self._free_blocks):
            return False
        for index in range(held, wanted):
            row[index] = self._free_blocks.pop()
        return True

    def release(self, slot: int) -> None:
        """Give back the row and its blocks."""
        row = self.tables[slot]
        self._free_blocks += row[row >= 0].tolist()
        row[:] = -1
        self._free_slots.append(slot)


class _Progress:
    """How far the draft model has read a sequence. num_read: leading tokens of it whose keys and values are stored.

    guessed: tokens read after those, which the sequence did not have then and may have now.
    """

    __slots__ = ("guessed", "num_read", "slot")

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.num_read = 0
        self.guessed: tuple[int, ...] = ()

    def settle(self, token_ids: SequenceOf[int]) -> None:
        """Keep of what was read as a guess what came true."""
        for guess in self.guessed:
            if self.num_read >= len(token_ids) or token_ids[self.num_read] != guess:
                break
            self.num_read += 1
        self.guessed = ()
        # The last token is always read anew: its row gives the first guess.
        self.num_read = min(self.num_read, len(token_ids) - 1)


class DraftModel:
    """A Drafter. The model stays the caller's to close.

    target_vocab_size: of the model it guesses for. num_blocks: KV blocks of the draft model, allocated here.
    max_seqs: sequences it keeps track of. max_context: tokens of a sequence it can read; longer ones are not drafted.
    Raises: InvalidParameter when the vocabularies cannot be the same, OutOfMemory.
    """

    priors: SequenceOf[float] = (0.7,)

    def __init__(
        self,
        model: Model,
        target_vocab_size: int,
        num_blocks: int,
        max_seqs: int,
        max_context: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        _check_vocabulary(target_vocab_size, model.spec.vocab_size)
        self._model = model
        self._options = model.options
        self._max_seqs = min(max_seqs, self._options.max_step_seqs, self._options.max_step_tokens)
        self._max_context = min(max_context, model.spec.context_len, num_blocks * KV_BLOCK_LEN)
        model.allocate_kv(num_blocks)
        self._kv = DraftKv(num_blocks, self._max_seqs, self._max_context)
        self._progress: dict[Sequence, _Progress] = {}
        self._builder = BatchBuilder(self._kv.tables, model.spec.vocab_size, lambda seq: self._progress[seq].slot)
        self._clock = clock
        # Measured before the first guess, so that a model too slow to help is never asked for one.
        self.depth_s = sorted(self._timed(_any_step()) for _ in range(3))[1]

    @property
    def free_blocks(self) -> int:
        """KV blocks that no sequence holds."""
        return self._kv.free_blocks

    def prospects(self, seqs: SequenceOf[Sequence]) -> list[SequenceOf[int]]:
        """Any sequence that fits the model's context and cache can be guessed."""
        return [self._prospect(seq) for seq in seqs]

    def draft(self, asked: SequenceOf[tuple[Sequence, int]]) -> list[list[int]]:
        """One step of the draft model a guess, for all sequences together; before that it reads what it has missed.

        A prompt is read in pieces, one a call, so that nobody else waits long for it; until then there is no guess.
        """
        tokens_left = self._options.max_step_tokens
        guesses: dict[Sequence, tuple[int, ...]] = {}
        plan: list[Chunk] = []
        for seq, num_tokens in asked[: self._max_seqs]:
            missing = len(seq.token_ids) - self._progress[seq].num_read
            count = min(missing, tokens_left)
            if count == 0 or not self._fits(seq, num_tokens):
                continue
            plan.append(Chunk(seq, self._progress[seq].num_read, count, int(count == missing)))
            tokens_left -= count
        wanted = dict(asked)
        while plan:
            self._step(plan, guesses)
            plan = [
                Chunk(seq, len(seq.token_ids) + len(guessed) - 1, 1, 1, guessed)
                for seq, guessed in guesses.items()
                if len(guessed) < wanted[seq] and self._is_known(guessed[-1])
            ]
        return [list(guesses.get(seq, ())) for seq, _ in asked]

    def forget(self, seq: Sequence) -> None:
        """Gives its KV blocks back."""
        if (progress := self._progress.pop(seq, None)) is not None:
            self._kv.release(progress.slot)

    def _prospect(self, seq: Sequence) -> SequenceOf[int]:
        if len(seq.token_ids) >= self._max_context or not all(map(self._is_known, seq.params.logit_bias)):
            return ()
        progress = self._progress.get(seq)
        if progress is None:
            slot = self._kv.take_slot()
            if slot is None:
                return ()
            progress = self._progress[seq] = _Progress(slot)
        progress.settle(seq.token_ids)
        return _KINDS[: self._max_context - len(seq.token_ids)]

    def _fits(self, seq: Sequence, num_tokens: int) -> bool:
        """Whether the model knows all tokens it has to read, and the cache has room for them and the guesses."""
        num_read = self._progress[seq].num_read
        if not self._is_known(max(seq.token_ids[num_read:])):
            return False
        return self._kv.hold(self._progress[seq].slot, len(seq.token_ids) + num_tokens - 1)

    def _is_known(self, token_id: int) -> bool:
        return token_id < self._model.spec.vocab_size

    def _timed(self, batch: StepBatch) -> float:
        started_s = self._clock()
        self._model.step(batch)
        return self._clock() - started_s

    def _step(self, plan: list[Chunk], guesses: dict[Sequence, tuple[int, ...]]) -> None:
        """Run one step and take over what it read and guessed."""
        batch = self._builder.build(plan)
        started_s = self._clock()
        result = self._model.step(batch)
        if all(chunk.num_tokens == 1 for chunk in plan):
            self.depth_s += _SPEED * (self._clock() - started_s - self.depth_s)
        row = 0
        for chunk in plan:
            progress = self._progress[chunk.seq]
            if chunk.drafted:
                progress.guessed = chunk.drafted
            else:
                progress.num_read += chunk.num_tokens
            if chunk.num_rows:
                guesses[chunk.seq] = (*chunk.drafted, int(result.token_ids[row]))
                row += 1


def _any_step() -> StepBatch:
    """One token at the beginning of block 0."""
    one, zero = np.ones(1, dtype=np.int32), np.zeros(1, dtype=np.int32)
    return StepBatch(zero, zero, np.array([0, 1], dtype=np.int32), one, zero.reshape(1, 1), zero)


def _check_vocabulary(target_size: int, draft_size: int) -> None:
    """Raises InvalidParameter when the sizes cannot be those of one tokenizer, however its embeddings are padded."""
    if abs(target_size - draft_size) > _MAX_VOCAB_PADDING:
        raise InvalidParameter(
            f"the draft model has a vocabulary of {draft_size:,} tokens, the model one of {target_size:,}; "
            "take a draft model with the same tokenizer, a smaller one of the same family"
        )
