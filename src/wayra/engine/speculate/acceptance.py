"""How likely a guess is right: counted for each kind of guess, of one sequence and of all, the recent counting more."""

from collections.abc import Sequence as SequenceOf

_PRIOR_WEIGHT = 3.0
_SHARED_WEIGHT = 2.0
_SHARED_MEMORY = 0.98
_MEMORY = 0.9
# Per chance not taken: what was learned long ago counts less and less, until it is worth one more try.
_FADING = 0.997


class SharedAcceptance:
    """Over all sequences: where a new one starts from. priors: for each kind, before anything was seen."""

    def __init__(self, priors: SequenceOf[float]) -> None:
        self._priors = list(priors)
        self._hits = [0.0] * len(self._priors)
        self._tries = [0.0] * len(self._priors)

    def chance(self, kind: int) -> float:
        """0 to 1."""
        return (self._hits[kind] + _PRIOR_WEIGHT * self._priors[kind]) / (self._tries[kind] + _PRIOR_WEIGHT)

    def count(self, kind: int, is_hit: bool) -> None:
        self._hits[kind] = self._hits[kind] * _SHARED_MEMORY + is_hit
        self._tries[kind] = self._tries[kind] * _SHARED_MEMORY + 1.0

    @property
    def num_kinds(self) -> int:
        return len(self._priors)


class Acceptance:
    """Of one sequence."""

    def __init__(self, shared: SharedAcceptance) -> None:
        self._shared = shared
        self._hits = [0.0] * shared.num_kinds
        self._tries = [0.0] * shared.num_kinds

    def reach(self, kinds: SequenceOf[int]) -> list[float]:
        """For guesses of these kinds in a row, the chance that each and all before it are right; falling."""
        chances: list[float] = []
        reached = 1.0
        for kind in kinds:
            reached *= self.chance(kind)
            chances.append(reached)
        return chances

    def chance(self, kind: int) -> float:
        """The chance of a single guess of this kind."""
        hits = self._hits[kind] + _SHARED_WEIGHT * self._shared.chance(kind)
        return hits / (self._tries[kind] + _SHARED_WEIGHT)

    def learn(self, kinds: SequenceOf[int], num_right: int) -> None:
        """The first `num_right` guesses of these kinds were right, the next one, if there was one, was not."""
        for index, kind in enumerate(kinds[: num_right + 1]):
            is_hit = index < num_right
            self._hits[kind] = self._hits[kind] * _MEMORY + is_hit
            self._tries[kind] = self._tries[kind] * _MEMORY + 1.0
            self._shared.count(kind, is_hit)

    def pass_over(self, kind: int) -> None:
        """A guess of this kind was not worth trying."""
        self._hits[kind] *= _FADING
        self._tries[kind] *= _FADING
