"""Two runs over the same questions, item by item: what comparing two models begins with."""

from collections.abc import Iterator
from dataclasses import dataclass

from wayra.base.errors import RunError
from wayra.lab.runs.stored_run import Run
from wayra.lab.scoring.summary import ItemScores, records_of, scores_of
from wayra.lab.statistics import are_alike, interval_of_alike, mcnemar, paired_bootstrap
from wayra.lab.statistics.bootstrap import Interval
from wayra.lab.statistics.paired import McNemar


@dataclass(frozen=True, slots=True)
class PairedScores:
    """One metric of one suite over the items both runs have, in the same order.

    first, second: each item's score (the mean of its samples). only_first, only_second: items one run alone has.
    """

    suite: str
    metric: str
    items: tuple[str, ...]
    first: tuple[float, ...]
    second: tuple[float, ...]
    only_first: int
    only_second: int

    def is_binary(self) -> bool:
        return all(value in (0.0, 1.0) for value in (*self.first, *self.second))

    def difference(self, *, seed: int = 0) -> Interval:
        """Mean of second - first with its interval, items resampled; of items that all differ alike, see there."""
        differences = [two - one for one, two in zip(self.first, self.second, strict=True)]
        if are_alike(differences):
            return interval_of_alike(differences[0], len(differences), (-1.0, 1.0))
        return paired_bootstrap(self.first, self.second, seed=seed)

    def num_differing(self) -> int:
        """Items on which the two scored differently."""
        return sum(one != two for one, two in zip(self.first, self.second, strict=True))

    def mcnemar(self) -> McNemar | None:
        """The exact test, where every item is right or wrong; None elsewhere."""
        if not self.is_binary():
            return None
        return mcnemar([value == 1.0 for value in self.first], [value == 1.0 for value in self.second])


def paired(first: Run, second: Run) -> list[PairedScores]:
    """Every metric both have. Raises RunError when they asked different questions, or none that both answered."""
    for run in (first, second):
        if run.kind != "eval":
            raise RunError(f"run {run.id} is a {run.kind}, expected an eval")
    found = list(_pairs(first, second))
    if not found:
        raise RunError(f"runs {first.id} and {second.id} have no answered question in common")
    return found


def _pairs(first: Run, second: Run) -> Iterator[PairedScores]:
    one, two = records_of(first), records_of(second)
    for suite in one:
        if suite not in two:
            continue
        name = f"{suite} items"
        hashes = first.header.hashes.get(name), second.header.hashes.get(name)
        if None not in hashes and hashes[0] != hashes[1]:
            raise RunError(
                f"runs {first.id} and {second.id} asked different questions of {suite}; give both the same data"
            )
        yield from _suite_pairs(suite, scores_of(one[suite]), scores_of(two[suite]))


def _suite_pairs(suite: str, first: list[ItemScores], second: list[ItemScores]) -> Iterator[PairedScores]:
    others = {scores.item: scores for scores in second}
    names = dict.fromkeys(name for scores in first for name in scores.values)
    for name in names:
        having = [scores for scores in first if name in scores.values]
        theirs = {item for item, scores in others.items() if name in scores.values}
        both = [scores for scores in having if scores.item in theirs]
        if both:
            yield PairedScores(
                suite,
                name,
                tuple(scores.item for scores in both),
                tuple(scores.mean(name) for scores in both),
                tuple(others[scores.item].mean(name) for scores in both),
                len(having) - len(both),
                len(theirs) - len(both),
            )
