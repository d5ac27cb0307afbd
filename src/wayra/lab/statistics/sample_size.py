"""How many items would settle a question: the size of a test that finds a difference if there is one."""

import math
from statistics import NormalDist

from wayra.base.errors import InvalidParameter


def items_for_paired_delta(delta: float, discordant: float, *, level: float = 0.05, power: float = 0.8) -> int:
    """Items both models must answer for McNemar's test to find a difference of `delta` in their shares right.

    discordant: the share of items only one of them gets right, at least |delta|. Source: Miettinen 1968 / Lachin 1992,
    n = (z_level * sqrt(d) + z_power * sqrt(d - delta^2))^2 / delta^2. Raises InvalidParameter.
    """
    delta = abs(delta)
    if not 0 < delta <= discordant <= 1:
        raise InvalidParameter(
            f"delta {delta} and discordant share {discordant}: expected 0 < delta <= discordant <= 1"
        )
    z_level, z_power = _z(level, power)
    root = z_level * math.sqrt(discordant) + z_power * math.sqrt(discordant - delta * delta)
    return math.ceil((root / delta) ** 2)


def items_for_two_proportions(first: float, second: float, *, level: float = 0.05, power: float = 0.8) -> int:
    """Items for each of two models that answer different items. Normal approximation, unpooled under the alternative.

    Raises InvalidParameter when a share is outside 0 to 1 or they are equal.
    """
    if not (0 <= first <= 1 and 0 <= second <= 1) or first == second:
        raise InvalidParameter(f"shares {first} and {second}: expected two different ones from 0 to 1")
    z_level, z_power = _z(level, power)
    pooled = (first + second) / 2
    under_null = z_level * math.sqrt(2 * pooled * (1 - pooled))
    under_other = z_power * math.sqrt(first * (1 - first) + second * (1 - second))
    return math.ceil(((under_null + under_other) / (first - second)) ** 2)


def _z(level: float, power: float) -> tuple[float, float]:
    if not (0 < level < 1 and 0 < power < 1):
        raise InvalidParameter(f"level {level} and power {power}: expected both between 0 and 1")
    return NormalDist().inv_cdf(1 - level / 2), NormalDist().inv_cdf(power)
