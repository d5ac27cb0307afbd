"""Who computes what in the next step: decoding sequences first, then chunks of prompts, in one budget of tokens."""

import time
from collections.abc import Collection
from collections.abc import Sequence as SequenceOf
from itertools import islice
from typing import NamedTuple

from wayra.backends.api import KV_BLOCK_LEN
from wayra.base.errors import IntegrityError
from wayra.engine.fair_queue import FairQueue
from wayra.engine.kv_cache import KvCache
from wayra.engine.sequence import Sequence
from wayra.engine.settings import Limits

_MAX_OVERTAKEN = 16


class Chunk(NamedTuple):
    """Tokens start .. start + num_tokens of a sequence; the logits of its last `num_rows` tokens are wanted.

    drafted: the last of these tokens, which the sequence does not have yet: guesses, to be checked against what the
    row before each of them chooses.
    """

    seq: Sequence
    start: int
    num_tokens: int
    num_rows: int
    drafted: tuple[int, ...] = ()

    @property
    def samples(self) -> bool:
        """Whether its last row chooses the sequence's next token."""
        return self.start + self.num_tokens - len(self.drafted) == len(self.seq.token_ids)

    def with_drafted(self, token_ids: SequenceOf[int]) -> "Chunk":
        """The same with these guesses instead of those it has."""
        num_more = len(token_ids) - len(self.drafted)
        return Chunk(self.seq, self.start, self.num_tokens + num_more, self.num_rows + num_more, tuple(token_ids))


class Scheduler:
    """First come, first served; between shares by their weights.

    A sequence once admitted is advanced until it ends; it may pause, it is never undone. A prompt whose beginning is
    just being computed for another sequence waits for it (and may be overtaken meanwhile).
    """

    def __init__(self, limits: Limits, kv: KvCache) -> None:
        self._limits = limits
        self._kv = kv
        self._waiting = FairQueue[Sequence]()
        self._running: list[Sequence] = []
        self._blocked: Sequence | None = None
        self.num_paused = 0

    @property
    def running(self) -> SequenceOf[Sequence]:
        """Oldest first."""
        return self._running

    @property
    def waiting(self) -> Collection[Sequence]:
        return self._waiting

    def add(self, seq: Sequence) -> None:
        self._waiting.add(seq, seq.share, seq.max_len)

    def remove(self, seq: Sequence) -> None:
        """Drop a sequence, waiting or running, and free its blocks."""
        self._blocked = None
        if seq.slot == -1:
            self._waiting.remove(seq)
        else:
            self._running.remove(seq)
            self._kv.release(seq)
            self._waiting.give_back(seq.share, seq.max_len - seq.num_computed)
        if not self._running and not self._waiting:
            self._waiting.forget()

    def plan(self) -> list[Chunk]:
        """The next step. Not empty while a sequence is running or waiting. Changes nothing but block tables."""
        plan: list[Chunk] = []
        partial: list[Sequence] = []
        self.num_paused = 0
        for index, seq in enumerate(self._running):
            start = seq.num_computed
            if len(seq.token_ids) - start > 1 or seq.pool is not None:
                partial.append(seq)
            elif self._kv.grow(seq, self._running[:index] if self._needs_block(seq) else ()):
                plan.append(Chunk(seq, start, 1, 1))
            else:
                self.num_paused += 1
        if partial or self._waiting:
            self._plan_prompts(plan, partial)
        if not plan and (self._running or self._waiting):
            raise IntegrityError("no sequence can proceed; this is a bug in wayra")
        return plan

    def check(self, live: SequenceOf[Sequence]) -> None:
        """Raises IntegrityError unless the live sequences are exactly those waiting or running, each once."""
        known = [id(seq) for seq in self._running] + [id(seq) for seq in self._waiting]
        if sorted(known) != sorted(id(seq) for seq in live):
            raise IntegrityError("the scheduler's sequences are not the live ones")
        if any(seq.slot == -1 for seq in self._running):
            raise IntegrityError("a running sequence has no row in the block table array")

    def _needs_block(self, seq: Sequence) -> bool:
        return len(seq.token_ids) > len(seq.blocks) * KV_BLOCK_LEN

    def _plan_prompts(self, plan: list[Chunk], partial: SequenceOf[Sequence]) -> None:
        tokens_left = self._limits.step_tokens - len(plan)
        rows_left = self._limits.max_rows - len(plan)
        for seq in partial:
            tokens_left, rows_left = _plan_prompt(plan, seq, tokens_left, rows_left)
        # Admitted only when there is budget to begin with it: the later, the more of its prompt is cached.
        while tokens_left > 0 and (seq := self._admit()) is not None:
            tokens_left, rows_left = _plan_prompt(plan, seq, tokens_left, rows_left)

    def _admit(self) -> Sequence | None:
        """Move the first waiting sequence that can start to the running ones."""
        if len(self._running) == self._limits.max_running:
            return None
        for seq in islice(self._waiting, _MAX_OVERTAKEN + 1):
            if seq is self._blocked:
                return None
            if self._kv.is_under_way(seq):
                continue
            if not self._kv.admit(seq, self._running):
                # Only a sequence that ends gives blocks back; until then asking again is in vain.
                self._blocked = seq
                return None
            self._waiting.take(seq)
            seq.admitted_s = time.perf_counter()
            self._running.append(seq)
            return seq
        return None


def _plan_prompt(plan: list[Chunk], seq: Sequence, tokens_left: int, rows_left: int) -> tuple[int, int]:
    """Add as much of a prompt as fits. Returns the tokens and rows left."""
    start = seq.num_computed
    count = min(len(seq.token_ids) - start, tokens_left)
    if seq.pool is not None:
        # Its rows are not sampled, and run in a step of their own.
        num_rows = count if seq.pool.takes_all else int(start + count == len(seq.token_ids))
        if count > 0:
            plan.append(Chunk(seq, start, count, num_rows))
        return tokens_left - count, rows_left
    if seq.prompt_logprobs is not None:
        count = min(count, rows_left)
        num_rows = count
    else:
        num_rows = int(start + count == len(seq.token_ids))
        if num_rows > rows_left:
            count, num_rows = count - 1, 0
    if count > 0:
        plan.append(Chunk(seq, start, count, num_rows))
        return tokens_left - count, rows_left - num_rows
    return tokens_left, rows_left
