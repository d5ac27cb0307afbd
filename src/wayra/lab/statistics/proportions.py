"""Intervals of a share: Wilson's for reporting, Clopper and Pearson's where the coverage must be guaranteed."""

import math
from collections.abc import Callable
from statistics import NormalDist

from wayra.base.errors import InvalidParameter
from wayra.lab.statistics.bootstrap import Interval


def wilson(successes: int, count: int, confidence: float = 0.95) -> Interval:
    """Source: Wilson 1927. Raises InvalidParameter unless 0 <= successes <= count and count > 0."""
    _check(successes, count)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / count
    scale = 1 + z * z / count
    middle = (share + z * z / (2 * count)) / scale
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / scale
    # Rounding must not exclude the share itself at its ends.
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    high = 1.0 if successes == count else min(1.0, middle + half)
    return Interval(share, low, high)


def clopper_pearson(successes: int, count: int, confidence: float = 0.95) -> Interval:
    """Exact bounds by bisection on the binomial tails. Raises as wilson."""
    _check(successes, count)
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else _solve(lambda p: 1 - _cdf(successes - 1, count, p) < tail)
    high = 1.0 if successes == count else _solve(lambda p: _cdf(successes, count, p) > tail)
    return Interval(successes / count, low, high)


def _solve(is_below: Callable[[float], bool]) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return (low + high) / 2


def _cdf(most: int, count: int, p: float) -> float:
    """The chance of at most so many successes."""
    log_p, log_q = math.log(p), math.log1p(-p)
    terms = (
        math.exp(
            math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) + k * log_p + (count - k) * log_q
        )
        for k in range(most + 1)
    )
    return min(1.0, math.fsum(terms))


def _check(successes: int, count: int) -> None:
    if not 0 <= successes <= count or count < 1:
        raise InvalidParameter(f"{successes} successes of {count}; expected 0 to the count, and a count above 0")
