"""What wayra is to reach beside the best of its peers, as data; a comparison says for each whether it is met."""

from collections.abc import Mapping

FLOORS: Mapping[str, Mapping[str, float]] = {
    "smollm2": {
        "pp512": 1.15, "pp2048": 1.3, "d0": 1.25, "d2048": 2.0, "d4096": 2.0, "b4": 1.3, "b16": 1.3, "b32": 1.3,
    },
    "1b": {"pp512": 1.25, "d0": 1.2, "d2048": 1.35, "d4096": 1.6, "b4": 1.2, "b16": 1.2, "b32": 1.2},
    "w8a8": {"pp512": 1.0},
    "8b": {"pp512": 2.0, "d0": 1.15},
    "format": {"pp512": 2.0, "pp2048": 2.0, "d0": 1.0, "d2048": 1.0, "d4096": 1.0},
    "narrow": {"pp512": 1.3, "pp2048": 1.3, "d0": 1.15, "d2048": 1.15, "d4096": 1.15},
}  # fmt: skip
"""Ratios to the fastest peer. w8a8: of the 1B shape. format: other formats than the main ones. narrow: one thread, or
AVX2 only."""


def verdict(floors: str, workload: str, ratio: float) -> str:
    """ "met (1.15)", "not met (1.15)", or "" where no floor is set."""
    least = FLOORS.get(floors, {}).get(workload)
    if least is None:
        return ""
    return f"{'met' if ratio >= least else 'not met'} ({least:g})"
