"""What guesses tokens: the one interface between the step loop and everything that can look ahead.

A drafter may be wrong, slow or broken: the target's own choice is compared with every guess, so that nothing a drafter
does can change an answer.
"""

from collections.abc import Sequence as SequenceOf
from typing import Protocol

from wayra.engine.sequence import Sequence


class Drafter(Protocol):
    """Guesses how sequences go on. Keeps what it must know of each until told to forget it; changes no sequence."""

    @property
    def priors(self) -> SequenceOf[float]:
        """For each kind of guess, how likely such a guess is right before anything was measured, 0 to 1."""
        ...

    @property
    def depth_s(self) -> float:
        """Seconds that one token more takes, for all asked sequences together."""
        ...

    def prospects(self, seqs: SequenceOf[Sequence]) -> list[SequenceOf[int]]:
        """What could be guessed now: of each sequence the kinds of its guesses, in order; empty for none.

        Cheap. The kind of a guess stands for its chance to be right given that those before it are.
        """
        ...

    def draft(self, asked: SequenceOf[tuple[Sequence, int]]) -> list[list[int]]:
        """Guess at most so many tokens after the last one of each of these sequences, whose prospects were not empty.

        May give fewer, or none.
        """
        ...

    def forget(self, seq: Sequence) -> None:
        """The sequence has ended; it may never have been seen."""
        ...
