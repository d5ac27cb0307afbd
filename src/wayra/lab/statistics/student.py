"""Student's t for a handful of paired measurements, in closed form: degrees of freedom are whole numbers here."""

import math
from collections.abc import Sequence

from wayra.base.errors import InvalidParameter
from wayra.lab.statistics.bootstrap import Interval

HIGHEST_T = 1e9


def two_sided_p(t: float, freedom: int) -> float:
    """The chance of |T| >= |t| with `freedom` degrees of freedom. Raises InvalidParameter below one.

    Source: Abramowitz and Stegun, 26.7.3 and 26.7.4.
    """
    if freedom < 1:
        raise InvalidParameter(f"{freedom} degrees of freedom, expected at least 1")
    angle = math.atan2(abs(t), math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    is_odd = freedom % 2 == 1
    term, total = (cosine, cosine) if is_odd else (1.0, 1.0)
    for k in range(3 if is_odd else 2, freedom - 1, 2):
        term *= (k - 1) / k * cosine * cosine
        total += term
    if freedom == 1:
        total = 0.0
    inside = (angle + sine * total) * 2 / math.pi if is_odd else sine * total
    return min(1.0, max(0.0, 1.0 - inside))


def critical_t(level: float, freedom: int) -> float:
    """The t whose two-sided p is `level`, by bisection."""
    low, high = 0.0, HIGHEST_T
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided_p(middle, freedom) > level else (low, middle)
    return (low + high) / 2


def paired_ratio(first: Sequence[float], second: Sequence[float], *, confidence: float = 0.95) -> Interval | None:
    """second / first, measured in turns: the geometric mean with its interval and the p-value of no difference.

    None where a number is not above zero. With one pair the bounds are the ratio and there is no p-value.
    """
    if len(first) != len(second) or not first or min(*first, *second) <= 0:
        return None
    logs = [math.log(b / a) for a, b in zip(first, second, strict=True)]
    count = len(logs)
    mean = sum(logs) / count
    if count == 1:
        return Interval(math.exp(mean), math.exp(mean), math.exp(mean))
    error = math.sqrt(sum((one - mean) ** 2 for one in logs) / (count - 1) / count)
    margin = critical_t(1 - confidence, count - 1) * error
    p_value = two_sided_p(mean / error, count - 1) if error > 0 else float(mean == 0)
    return Interval(math.exp(mean), math.exp(mean - margin), math.exp(mean + margin), p_value)
