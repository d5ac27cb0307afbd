"""Values that are all the same: there is nothing to resample, and an interval of no width would claim to be exact."""

from collections.abc import Sequence

from wayra.base.errors import InvalidParameter
from wayra.lab.statistics.bootstrap import Interval, bootstrap_mean
from wayra.lab.statistics.proportions import wilson

ROUNDING = 1e-12


def interval_of_alike(
    value: float, count: int, bounds: tuple[float, float] = (0.0, 1.0), *, confidence: float = 0.95
) -> Interval:
    """The mean of `count` values that are all `value`, where any could have been from bounds[0] to bounds[1].

    A share of others that is small enough goes unseen: at most Wilson's upper bound for none of `count`, near 4 / count
    (the "rule of three" has 3 / count, of one side). They move the mean at most that far towards either end, so that
    all right or all wrong gets Wilson's own interval. Raises InvalidParameter for a value outside the bounds.
    """
    low, high = bounds
    if not low <= value <= high:
        raise InvalidParameter(f"a value is {value:g}, expected {low:g} to {high:g}")
    unseen = wilson(0, count, confidence).high
    return Interval(value, value - unseen * (value - low), value + unseen * (high - value))


def mean_of_scores(values: Sequence[float], bounds: tuple[float, float] = (0.0, 1.0)) -> Interval:
    """The mean of bounded values with its 95 % interval: resampled, or of values that are all alike.

    Raises InvalidParameter when there are none.
    """
    if are_alike(values) and bounds[0] <= values[0] <= bounds[1]:
        return interval_of_alike(values[0], len(values), bounds)
    return bootstrap_mean(values)


def are_alike(values: Sequence[float]) -> bool:
    """Whether there is nothing but rounding between them."""
    return bool(values) and max(values) - min(values) <= ROUNDING
