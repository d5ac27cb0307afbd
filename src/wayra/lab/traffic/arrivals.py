"""When requests are sent: as soon as one ends (closed loop), or at times that do not wait for answers (open loop)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from wayra.base.errors import InvalidParameter


@dataclass(frozen=True, slots=True)
class Arrivals:
    """kind: "closed" keeps `concurrency` requests under way; "fixed" and "poisson" send `rate` a second; "trace" sends
    at given times. An open loop never waits for answers: that is what makes overload visible."""

    kind: Literal["closed", "fixed", "poisson", "trace"] = "closed"
    concurrency: int = 1
    rate: float = 0.0
    times_s: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.kind == "closed" and not 1 <= self.concurrency <= 100_000:
            raise InvalidParameter(f"concurrency is {self.concurrency}, expected 1 to 100,000")
        if self.kind in ("fixed", "poisson") and not 1e-6 <= self.rate <= 1e6:
            raise InvalidParameter(f"rate is {self.rate}, expected requests per second up to a million")


def due_times(arrivals: Arrivals, indices: Sequence[int], seed: int) -> list[float] | None:
    """Seconds from the stage's begin for each request number; None in a closed loop.

    What is left of an interrupted stage keeps its gaps and begins at once.
    """
    if arrivals.kind == "closed" or not indices:
        return None
    if arrivals.kind == "trace":
        times = [arrivals.times_s[index] for index in indices]
    elif arrivals.kind == "fixed":
        times = [index / arrivals.rate for index in indices]
    else:
        gaps = np.random.default_rng([seed, 1]).exponential(1 / arrivals.rate, max(indices) + 1)
        at = np.cumsum(gaps)
        times = [float(at[index]) for index in indices]
    first = times[0] if indices[0] > 0 else 0.0
    return [max(0.0, time - first) for time in times]
