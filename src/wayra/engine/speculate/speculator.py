"""Guesses added to a planned step: how many for whom, whether they pay, and what was learned from them.

Two things bound what a wrong guess may cost. Lengths follow from measured acceptance and measured step times, so that
guessing stops where it does not pay. And each sequence has an account, in tokens: it may lose about one token for
every 130 it generates, and less than one to begin with, whatever its guesses promise. Times decide only how much is
guessed, and a guess never decides a token.
"""

import logging
import time
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import NamedTuple

from wayra.backends.api import KV_BLOCK_LEN
from wayra.engine.kv_cache import KvCache
from wayra.engine.scheduler import Chunk
from wayra.engine.sequence import Sequence
from wayra.engine.settings import Limits
from wayra.engine.speculate.acceptance import Acceptance, SharedAcceptance
from wayra.engine.speculate.drafter import Drafter
from wayra.engine.speculate.lengths import choose_lengths, least_chance
from wayra.engine.speculate.step_times import StepTimes

_log = logging.getLogger(__name__)

_FIRST_CREDIT = 0.75
_CREDIT_RATE = 0.0075
# What is known well is not measured, and not computed, in every step.
_PLAIN_STEPS = 4
_QUOTE_USES = 8
# So that what one part of an answer gained is not lost in the next.
_MOST_SAVED = 4.0


class Candidate(NamedTuple):
    """The sequence of one of the plan's chunks. most: guesses that its limits leave room for."""

    chunk: int
    seq: Sequence
    most: int


@dataclass(slots=True)
class _Quote:
    """step_s: seconds of a step with 0, 1, ... `room` guesses. least_chance: below it no guess pays."""

    room: int
    step_s: SequenceOf[float]
    least_chance: float
    num_uses: int = 0


class _Account:
    """What is known of one sequence. balance: tokens gained by guesses less tokens their time would have given."""

    def __init__(self, shared: SharedAcceptance) -> None:
        self.acceptance = Acceptance(shared)
        self.balance = 0.0
        self.kinds: SequenceOf[int] = ()
        self.cost = 0.0

    def credit(self, seq: Sequence) -> float:
        return self.balance + _FIRST_CREDIT + _CREDIT_RATE * (len(seq.token_ids) - seq.prompt_len)


class Speculator:
    """Called by the engine around each step: `draft`, then `learn` for each chunk with drafts, then `end_step`."""

    def __init__(
        self,
        drafter: Drafter,
        limits: Limits,
        kv: KvCache,
        times: StepTimes,
        vocab_size: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._drafter: Drafter | None = drafter
        self._limits = limits
        self._kv = kv
        self._times = times
        self._vocab_size = vocab_size
        self._clock = clock
        self._shared = SharedAcceptance(drafter.priors)
        self._accounts: dict[Sequence, _Account] = {}
        self._quotes: dict[int, _Quote] = {}
        # What the step in progress holds, (tokens, keys), when it is one that teaches how long steps take.
        self._timed: tuple[int, int] | None = None
        self._started_s = 0.0
        self._num_guessed = 0
        self._num_steps = 0

    def draft(self, plan: list[Chunk], running: SequenceOf[Sequence]) -> list[Chunk]:
        """The plan with guesses added to some of its chunks. running: oldest first. Takes KV blocks only."""
        self._timed = None
        if not plan:
            return plan
        num_keys = 0
        for chunk in plan:
            # As `Chunk.samples`, without a call for each sequence of each step.
            if chunk.num_tokens != 1 or chunk.start + 1 != len(chunk.seq.token_ids):
                return plan
            num_keys += chunk.start + 1
        started_s = self._clock()
        self._num_guessed = 0
        is_known = self._times.is_known(len(plan))
        if self._drafter is not None and is_known:
            try:
                plan = self._with_guesses(plan, running, num_keys, self._drafter)
            except Exception as cause:
                _log.warning("speculation is off from here on: the drafter failed (%s)", cause)
                self._drafter = None
        self._num_steps += 1
        if is_known and not self._num_guessed and self._num_steps % _PLAIN_STEPS:
            return plan
        num_tokens = len(plan) + self._num_guessed
        self._timed = (num_tokens, num_keys * num_tokens // len(plan))
        # Guessing itself is not part of the model's time: it costs nothing by the token, or `depth_s` counts it.
        self._started_s = self._clock()
        if num_tokens == len(plan):
            self._started_s = started_s
        return plan

    def learn(self, chunk: Chunk, num_matches: int) -> None:
        """The first `num_matches` guesses of a chunk were what the model chose."""
        account = self._accounts.get(chunk.seq)
        if account is None or not chunk.drafted:
            return
        account.acceptance.learn(account.kinds[: len(chunk.drafted)], num_matches)
        account.balance = min(_MOST_SAVED, account.balance + num_matches - account.cost)

    def end_step(self) -> None:
        """The step is done and committed."""
        if self._timed is not None:
            self._times.observe(*self._timed, self._clock() - self._started_s)

    def forget(self, seq: Sequence) -> None:
        """The sequence has ended."""
        self._accounts.pop(seq, None)
        if self._drafter is not None:
            self._drafter.forget(seq)

    def _with_guesses(
        self, plan: list[Chunk], running: SequenceOf[Sequence], num_keys: int, drafter: Drafter
    ) -> list[Chunk]:
        quote = self._quotes.get(len(plan))
        if quote is not None and quote.least_chance >= 1.0 and quote.num_uses < _QUOTE_USES:
            quote.num_uses += 1
            return plan
        candidates = [c for i, chunk in enumerate(plan) if (c := self._candidate(i, chunk.seq)).most > 0]
        # A chunk that decodes has one token and one row, and a guess one more of each.
        room = min(self._limits.step_tokens, self._limits.max_rows) - len(plan)
        room = min(room, sum(candidate.most for candidate in candidates))
        # Far beyond what was measured a step may cost anything, so the first guesses are few.
        room = min(room, 2 * self._times.largest - len(plan))
        if room <= 0:
            return plan
        quote = self._quote(len(plan), num_keys, room)
        if quote.least_chance >= 1.0:
            return plan
        step_s = quote.step_s
        lengths = self._lengths(candidates, len(plan), quote, drafter)
        asked = [
            (candidate, self._room(candidate.seq, length, running))
            for candidate, length in zip(candidates, lengths, strict=True)
            if length
        ]
        asked = [(candidate, length) for candidate, length in asked if length]
        if not asked:
            return plan
        guesses = drafter.draft([(candidate.seq, length) for candidate, length in asked])
        drafted = [self._sound(g, length) for g, (_, length) in zip(guesses, asked, strict=True)]
        return self._added(plan, [candidate for candidate, _ in asked], drafted, step_s)

    def _candidate(self, index: int, seq: Sequence) -> Candidate:
        # The mask of a later row would depend on the guesses before it.
        if seq.needs_mask:
            return Candidate(index, seq, 0)
        return Candidate(index, seq, min(self._limits.draft_tokens, seq.max_len - len(seq.token_ids) - 1))

    def _quote(self, num_seqs: int, num_keys: int, room: int) -> _Quote:
        """What guesses add to a step of this size: asked in every step, so computed anew in some only."""
        quote = self._quotes.get(num_seqs)
        if quote is None or quote.room != room or quote.num_uses == _QUOTE_USES:
            step_s = self._times.curve(num_seqs, num_keys, room)
            quote = self._quotes[num_seqs] = _Quote(room, step_s, least_chance(num_seqs, step_s))
        quote.num_uses += 1
        return quote

    def _lengths(self, candidates: SequenceOf[Candidate], num_seqs: int, quote: _Quote, drafter: Drafter) -> list[int]:
        """How many guesses each candidate gets: by what they are expected to give, as far as its account allows."""
        accounts = [self._account(candidate.seq) for candidate in candidates]
        prospects = drafter.prospects([candidate.seq for candidate in candidates])
        chances: list[list[float]] = []
        for candidate, account, kinds in zip(candidates, accounts, prospects, strict=True):
            account.kinds = kinds[: candidate.most]
            is_likely = account.kinds and account.acceptance.chance(account.kinds[0]) >= quote.least_chance
            chances.append(account.acceptance.reach(account.kinds) if is_likely else [])
        lengths = [0] * len(candidates)
        if any(chances):
            lengths = choose_lengths(chances, num_seqs, quote.step_s, drafter.depth_s)
        for index, (candidate, account) in enumerate(zip(candidates, accounts, strict=True)):
            if lengths[index] == 0:
                if account.kinds:
                    account.acceptance.pass_over(account.kinds[0])
                continue
            credit = account.credit(candidate.seq)
            while lengths[index] and self._cost(lengths, index, num_seqs, quote.step_s) > credit:
                lengths[index] -= 1
        return lengths

    def _cost(self, lengths: SequenceOf[int], index: int, num_seqs: int, step_s: SequenceOf[float]) -> float:
        """Tokens that all sequences could have had in the time which the guesses for one of them add to the step."""
        total = sum(lengths)
        longer_s = step_s[total] - step_s[0]
        if self._drafter is not None:
            longer_s += max(lengths) * self._drafter.depth_s
        return max(0.0, longer_s / step_s[0]) * num_seqs * lengths[index] / total

    def _room(self, seq: Sequence, length: int, running: SequenceOf[Sequence]) -> int:
        """How many of so many guesses there are KV slots for."""
        if len(seq.token_ids) + length <= len(seq.blocks) * KV_BLOCK_LEN:
            return length
        return self._kv.room_for_drafts(seq, running[: running.index(seq)], length)

    def _sound(self, guesses: SequenceOf[int], length: int) -> tuple[int, ...]:
        """The guesses up to the first that is no token of this vocabulary."""
        for index, token_id in enumerate(guesses[:length]):
            if not 0 <= token_id < self._vocab_size:
                return tuple(guesses[:index])
        return tuple(guesses[:length])

    def _added(
        self,
        plan: list[Chunk],
        candidates: SequenceOf[Candidate],
        drafted: SequenceOf[tuple[int, ...]],
        step_s: SequenceOf[float],
    ) -> list[Chunk]:
        plan = list(plan)
        lengths = [len(token_ids) for token_ids in drafted]
        num_seqs = len(plan)
        for index, (candidate, token_ids) in enumerate(zip(candidates, drafted, strict=True)):
            if token_ids:
                self._account(candidate.seq).cost = self._cost(lengths, index, num_seqs, step_s)
                plan[candidate.chunk] = plan[candidate.chunk].with_drafted(token_ids)
        self._num_guessed = sum(lengths)
        return plan

    def _account(self, seq: Sequence) -> _Account:
        account = self._accounts.get(seq)
        if account is None:
            account = self._accounts[seq] = _Account(self._shared)
        return account
