"""Many tests at once: Holm's correction keeps the chance of any false claim below the level."""

from collections.abc import Sequence

from wayra.base.errors import InvalidParameter


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the order given; compare each with the level itself. Source: Holm 1979.

    Raises InvalidParameter for a value outside 0 to 1.
    """
    if any(not 0 <= p <= 1 for p in p_values):
        raise InvalidParameter("a p-value is outside 0 to 1")
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted
