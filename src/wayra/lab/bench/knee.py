"""Where more requests at once stop to bring more tokens: found while a sweep runs, and again from its records."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from wayra.lab.latency.metrics import span_s
from wayra.lab.latency.record import RequestRecord

KNEE_GAIN = 0.10
"""A doubling of the concurrency that raises the output rate by less than this is past the knee."""
STAGE = "concurrency "


def knee_of(rates: Sequence[tuple[int, float]]) -> int | None:
    """The level before the first doubling that gains too little. rates: output tokens a second by requests at once.

    None where every doubling still gained, and where the first level has no rate.
    """
    for (width, rate), (_, following) in pairwise(rates):
        if rate <= 0:
            return None
        if following < rate * (1 + KNEE_GAIN):
            return width
    return None


def output_rate_of(records: Sequence[RequestRecord]) -> float:
    """Output tokens per second of one stage; an event stands for a token where the server counts none."""
    good = [record for record in records if record.status == "ok"]
    span = span_s(records) if records else 0.0
    return sum(record.completion_tokens or len(record.event_s) for record in good) / span if span > 0 else 0.0


def levels_of(stages: Mapping[str, Sequence[RequestRecord]]) -> list[tuple[int, float]]:
    """The rate of each level of a sweep, from its measured records."""
    widths = {name: name.removeprefix(STAGE) for name in stages if name.startswith(STAGE)}
    levels = [(int(width), output_rate_of(stages[name])) for name, width in widths.items() if width.isdecimal()]
    return sorted(levels)
