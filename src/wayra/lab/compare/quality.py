"""Which of two models answers better: each benchmark tested item by item, all tests corrected together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from wayra.lab.scoring.paired import PairedScores
from wayra.lab.statistics import holm, items_for_paired_delta

LEVEL = 0.05
POWER = 0.8
ASSUMED_DELTA = 0.05
"""The difference asked about where none was seen."""
FLIPS = 10_000
BATCH_CELLS = 500_000
PRIMARY = ("score", "checks", "acc", "strict", "prompt_strict")
"""Of the metrics a suite has, the first of these is tested; one a suite, so that none counts twice."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The scores of two models, by their labels, on the same items of one suite."""

    first: str
    second: str
    scores: PairedScores


@dataclass(frozen=True, slots=True)
class Tested:
    """One benchmark of two models. first_value, second_value: mean scores over the items both answered (0 to 1).

    count: items that both answered. differing: those of them that the two scored differently.

    difference: second - first, with its 95 % interval (low, high), which is of this benchmark alone. p_value: of the
    test named in `test`; adjusted_p: after Holm's correction over all tests of the comparison. is_significant: below
    LEVEL after it. settling_items: items that would show a difference of settling_delta at the corrected level with a
    power of POWER; None where the question is settled, or no number of items would do.
    """

    suite: str
    metric: str
    first: str
    second: str
    count: int
    differing: int
    first_value: float
    second_value: float
    difference: float
    low: float
    high: float
    test: str
    p_value: float
    adjusted_p: float
    is_significant: bool
    settling_delta: float | None
    settling_items: int | None


def primary(found: Sequence[PairedScores]) -> list[PairedScores]:
    """The metric of each suite that is tested."""
    by_suite: dict[str, list[PairedScores]] = {}
    for scores in found:
        by_suite.setdefault(scores.suite, []).append(scores)
    return [min(several, key=_rank) for several in by_suite.values()]


def judged(asked: Sequence[Asked], others: Sequence[float] = (), *, seed: int = 0) -> tuple[list[Tested], list[float]]:
    """Every benchmark of every two models, tested and corrected as one family, in the order given.

    others: p-values of the comparison's other tests, which are of the same family and come back corrected.
    """
    found = [_p_value(one.scores, seed) for one in asked]
    adjusted = holm([*(p_value for _, p_value in found), *others])
    tested = [
        _tested(one, test, (p_value, corrected), (len(adjusted), seed))
        for one, (test, p_value), corrected in zip(asked, found, adjusted, strict=False)
    ]
    return tested, list(adjusted[len(asked) :])


def sign_flip_p_value(first: Sequence[float], second: Sequence[float], *, seed: int = 0) -> float:
    """Two-sided, for scores of any size on the same items: how often the mean difference is as large when each item's
    models change places at random. Unlike a bootstrap's, it holds for a handful of items too.
    """
    difference = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    difference = difference[difference != 0]
    if not len(difference):
        return 1.0
    seen = abs(float(difference.sum()))
    generator = np.random.default_rng(seed)
    at_once = max(1, BATCH_CELLS // len(difference))
    reached = 0
    for start in range(0, FLIPS, at_once):
        signs = generator.integers(0, 2, (min(at_once, FLIPS - start), len(difference))) * 2 - 1
        # Sums of the same numbers in another order may differ in the last bits.
        reached += int((np.abs(signs @ difference) >= seen * (1 - 1e-12)).sum())
    return (reached + 1) / (FLIPS + 1)


def _rank(scores: PairedScores) -> int:
    return PRIMARY.index(scores.metric) if scores.metric in PRIMARY else len(PRIMARY)


def _p_value(scores: PairedScores, seed: int) -> tuple[str, float]:
    exact = scores.mcnemar()
    if exact is not None:
        return "McNemar", exact.p_value
    return "sign flips", sign_flip_p_value(scores.first, scores.second, seed=seed)


def _tested(one: Asked, test: str, p_values: tuple[float, float], family: tuple[int, int]) -> Tested:
    scores, (num_tests, seed) = one.scores, family
    count = len(scores.items)
    found = scores.difference(seed=seed)
    is_significant = p_values[1] < LEVEL
    delta, items = (None, None) if is_significant else _settling(scores, found.value, LEVEL / num_tests)
    return Tested(
        suite=scores.suite,
        metric=scores.metric,
        first=one.first,
        second=one.second,
        count=count,
        differing=scores.num_differing(),
        first_value=sum(scores.first) / count,
        second_value=sum(scores.second) / count,
        difference=found.value,
        low=found.low,
        high=found.high,
        test=test,
        p_value=p_values[0],
        adjusted_p=p_values[1],
        is_significant=is_significant,
        settling_delta=delta,
        settling_items=items,
    )


def _settling(scores: PairedScores, seen: float, level: float) -> tuple[float, int | None]:
    """The difference that is asked about (the one seen, or ASSUMED_DELTA) and the items that would show it."""
    differences = np.asarray(scores.second) - np.asarray(scores.first)
    delta = abs(seen) if abs(seen) > 1e-9 else ASSUMED_DELTA
    if scores.is_binary():
        discordant = float(np.count_nonzero(differences)) / len(differences)
        return delta, items_for_paired_delta(delta, max(delta, discordant), level=level, power=POWER)
    deviation = float(np.std(differences, ddof=1)) if len(differences) > 1 else 0.0
    if deviation == 0:
        return delta, None
    z = NormalDist().inv_cdf(1 - level / 2) + NormalDist().inv_cdf(POWER)
    return delta, math.ceil((z * deviation / delta) ** 2)
