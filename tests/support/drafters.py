"""Drafters for tests: oracles, liars and broken ones. None of them may change an answer."""

import random
from collections.abc import Mapping, Sequence

from wayra.engine.sequence import Sequence as EngineSequence


class Oracle:
    """Knows the answers, and tells them with some probability; else it guesses anything.

    answers: by request id. wrong_share: of the guesses that are drawn at random. With a small vocabulary even those
    are right at times.
    """

    priors: Sequence[float] = (0.95,)
    depth_s = 0.0

    def __init__(
        self, answers: Mapping[str, Sequence[int]], vocab_size: int, wrong_share: float, seed: int = 0
    ) -> None:
        self._answers = answers
        self._vocab_size = vocab_size
        self._wrong_share = wrong_share
        self._rng = random.Random(seed)
        self.num_forgotten = 0

    def prospects(self, seqs: Sequence[EngineSequence]) -> list[Sequence[int]]:
        return [(0,) * 31 for _ in seqs]

    def draft(self, asked: Sequence[tuple[EngineSequence, int]]) -> list[list[int]]:
        return [self._guesses(seq, num_tokens) for seq, num_tokens in asked]

    def forget(self, seq: EngineSequence) -> None:
        self.num_forgotten += 1

    def _guesses(self, seq: EngineSequence, num_tokens: int) -> list[int]:
        done = len(seq.token_ids) - seq.prompt_len
        known = list(self._answers[seq.id][done : done + num_tokens])
        known += [self._rng.randrange(self._vocab_size) for _ in range(num_tokens - len(known))]
        for index in range(num_tokens):
            if self._rng.random() < self._wrong_share:
                known[index] = self._rng.randrange(self._vocab_size)
        return known


class Liar(Oracle):
    """Gives too many tokens, too few, none at all, or numbers that are no tokens."""

    def _guesses(self, seq: EngineSequence, num_tokens: int) -> list[int]:
        guesses = super()._guesses(seq, num_tokens)
        kind = self._rng.randrange(4)
        if kind == 0:
            return guesses + guesses
        if kind == 1:
            return guesses[: self._rng.randrange(num_tokens)]
        if kind == 2:
            return [self._rng.choice([-1, self._vocab_size, 1 << 40]), *guesses]
        return []


class Broken(Oracle):
    """Works for a while, and must not be asked once it has failed."""

    is_broken = False

    def draft(self, asked: Sequence[tuple[EngineSequence, int]]) -> list[list[int]]:
        assert not self.is_broken
        if self._rng.random() < 0.3:
            self.is_broken = True
            raise RuntimeError("out of ink")
        return super().draft(asked)
