"""Percentile bootstrap intervals: of a mean, a quantile, a quantile over clusters, and a paired difference."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wayra.base.errors import InvalidParameter

RESAMPLES = 2000
MAX_CELLS = 40_000_000
"""Resamples times values, above which fewer resamples are drawn."""

BATCH_CELLS = 500_000

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with the bounds of its interval. p_value: two-sided, where there is a hypothesis of zero."""

    value: float
    low: float
    high: float
    p_value: float | None = None


def bootstrap_mean(values: Sequence[float] | Floats, *, confidence: float = 0.95, seed: int = 0) -> Interval:
    """The mean of independent values. Raises InvalidParameter when there are none or one is not finite."""
    found = _checked(values)
    bounds = _bounds(_resampled_means(found, seed), confidence)
    return Interval(float(found.mean()), *bounds)


def bootstrap_quantile(
    values: Sequence[float] | Floats, quantile: float, *, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """A quantile (0 to 1, interpolated linearly) of independent values, at a cost that does not grow with resamples.

    The order statistics of a resample have a known distribution, so they are drawn directly: the k-th smallest of n
    uniform numbers is Beta(k, n - k + 1), and the next one is a minimum of those left.
    """
    found = np.sort(_checked(values))
    _check_quantile(quantile)
    count = len(found)
    place = quantile * (count - 1)
    k, share = int(place) + 1, place - int(place)
    generator = np.random.default_rng(seed)
    lower = generator.beta(k, count - k + 1, RESAMPLES)
    drawn = found[np.minimum((lower * count).astype(np.int64), count - 1)]
    if share > 0:
        upper = lower + (1 - lower) * generator.beta(1, count - k, RESAMPLES)
        following = found[np.minimum((upper * count).astype(np.int64), count - 1)]
        drawn = drawn + share * (following - drawn)
    return Interval(float(np.quantile(found, quantile)), *_bounds(drawn, confidence))


def bootstrap_clustered_quantile(
    clusters: Sequence[Floats], quantile: float, *, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """A quantile over all values, when those of one cluster (a request) depend on each other: clusters are resampled.

    Interpolated linearly, of the values and of each resample, in which a value stands as often as its cluster.
    """
    kept = [cluster for cluster in clusters if len(cluster)]
    found = _checked(np.concatenate(kept) if kept else np.empty(0))
    _check_quantile(quantile)
    owner = np.repeat(np.arange(len(kept)), [len(cluster) for cluster in kept])
    order = np.argsort(found, kind="stable")
    ordered, owner = found[order], owner[order]
    generator = np.random.default_rng(seed)
    resamples = max(200, min(RESAMPLES, MAX_CELLS // len(found)))
    drawn = np.empty(resamples)
    for index in range(resamples):
        weights = np.bincount(generator.integers(0, len(kept), len(kept)), minlength=len(kept))
        reached = np.cumsum(weights[owner])
        place = quantile * (reached[-1] - 1)
        # Of values that stand several times each: the one at a place, counted from 0, and the one after it.
        at, after = np.searchsorted(reached, (int(place), min(int(place) + 1, reached[-1] - 1)), side="right")
        drawn[index] = ordered[at] + (place - int(place)) * (ordered[after] - ordered[at])
    return Interval(float(np.quantile(found, quantile)), *_bounds(drawn, confidence))


def paired_bootstrap(
    first: Sequence[float] | Floats,
    second: Sequence[float] | Floats,
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Mean of second - first over the same items, with a two-sided p-value for no difference.

    p: twice the smaller share of resampled means at or beyond zero, each share with one added above and below.
    Raises InvalidParameter when the lengths differ.
    """
    one, two = _checked(first), _checked(second)
    if len(one) != len(two):
        raise InvalidParameter(f"{len(one)} and {len(two)} items cannot be paired; score the same items with both")
    difference = two - one
    means = _resampled_means(difference, seed)
    below, above = int((means <= 0).sum()), int((means >= 0).sum())
    p_value = min(1.0, 2 * (min(below, above) + 1) / (len(means) + 1))
    return Interval(float(difference.mean()), *_bounds(means, confidence), p_value)


def _resampled_means(values: Floats, seed: int) -> Floats:
    generator = np.random.default_rng(seed)
    resamples = max(200, min(RESAMPLES, MAX_CELLS // len(values)))
    at_once = max(1, BATCH_CELLS // len(values))
    means: list[Floats] = []
    for start in range(0, resamples, at_once):
        shape = (min(at_once, resamples - start), len(values))
        means.append(values[generator.integers(0, len(values), shape)].mean(axis=1))
    return np.concatenate(means)


def _bounds(drawn: Floats, confidence: float) -> tuple[float, float]:
    if not 0 < confidence < 1:
        raise InvalidParameter(f"confidence is {confidence}, expected between 0 and 1")
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def _check_quantile(quantile: float) -> None:
    if not 0 <= quantile <= 1:
        raise InvalidParameter(f"quantile is {quantile}, expected 0 to 1")


def _checked(values: Sequence[float] | Floats) -> Floats:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or not len(found):
        raise InvalidParameter("there are no values to resample; measure some first")
    if not np.isfinite(found).all():
        raise InvalidParameter("a value is not finite; leave failed measurements out")
    return found
