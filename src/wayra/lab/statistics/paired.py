"""McNemar's exact test: did two models that answered the same items get different ones right more often?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from wayra.base.errors import InvalidParameter


@dataclass(frozen=True, slots=True)
class McNemar:
    """only_first, only_second: items only one of the two got right. difference: second's share right minus first's."""

    count: int
    only_first: int
    only_second: int
    difference: float
    p_value: float


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> McNemar:
    """The exact two-sided test on paired right/wrong answers. Raises InvalidParameter when lengths differ or are 0."""
    if len(first) != len(second) or not first:
        raise InvalidParameter(
            f"{len(first)} and {len(second)} answers cannot be paired; score the same items with both"
        )
    only_first = sum(bool(a) and not b for a, b in zip(first, second, strict=True))
    only_second = sum(bool(b) and not a for a, b in zip(first, second, strict=True))
    difference = (only_second - only_first) / len(first)
    return McNemar(len(first), only_first, only_second, difference, discordant_p_value(only_first, only_second))


def discordant_p_value(only_first: int, only_second: int) -> float:
    """Two-sided: how likely a fair coin is to split the discordant items at least so unevenly."""
    total, fewer = only_first + only_second, min(only_first, only_second)
    tail = sum(math.exp(_log_binomial(total, k)) for k in range(fewer + 1))
    return min(1.0, 2 * tail)


def _log_binomial(total: int, k: int) -> float:
    ways = math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1)
    return ways - total * math.log(2)
