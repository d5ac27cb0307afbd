"""Figures as they are told: medians with their spread, ratios pair by pair, sections of a document."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of repeated measurements with the lowest and the highest."""

    median: float
    low: float
    high: float

    def shown(self, digits: int = 1) -> str:
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f}–{self.high:,.{digits}f})"

    def as_json(self) -> dict[str, float]:
        return {name: round(value, 4) for name, value in asdict(self).items()}


def spread(values: Sequence[float]) -> Spread:
    """Raises StatisticsError for no values."""
    return Spread(statistics.median(values), min(values), max(values))


def paired_ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Ratios of measurements made one after the other, so that a slow minute of the machine slows both."""
    return spread([a / b for a, b in zip(ours, theirs, strict=True)])


def robust_slope(at: Sequence[float], values: Sequence[float]) -> Spread:
    """The median slope of all pairs (Theil and Sen), with the 95 % interval that their ranks give.

    A few steps or outliers do not move it. Raises ValueError for fewer than three different places.
    """
    places = sorted(zip(at, values, strict=True))
    slopes = sorted((w - v) / (b - a) for i, (a, v) in enumerate(places) for b, w in places[i + 1 :] if b > a)
    if len(slopes) < 3:
        raise ValueError("a slope needs at least three different places")
    count = len(places)
    # Sen 1968: the number of concordant pairs less the discordant ones varies so much by chance.
    reach = 1.96 * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    low, high = (len(slopes) - reach) / 2, (len(slopes) + reach) / 2
    return Spread(
        statistics.median(slopes), slopes[max(0, math.floor(low))], slopes[min(len(slopes) - 1, math.ceil(high))]
    )


def settled_from(values: Sequence[float], least_rise: float, rests: int) -> int:
    """Where the warm-up ends: the first index from which no value of the next `rests` is higher by least_rise.

    At most the middle: what grows all the time has none, and its growth must be seen.
    """
    most = len(values) // 2
    for index in range(most):
        if max(values[index : index + rests + 1]) - values[index] < least_rise:
            return index
    return most


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def write_section(document: Path, name: str, body: str) -> None:
    """Replace what stands between `<!-- NAME: begin -->` and `<!-- NAME: end -->`. Raises ValueError without them."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    text = document.read_text()
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"{document} needs {begin} and, after it, {end}, once each")
    before, after = text[: text.index(begin)], text[text.index(end) :]
    document.write_text(f"{before}{begin}\n{body.strip()}\n{after}")


def write_parts(document: Path, name: str, parts: Mapping[str, str]) -> None:
    """Writes the bodies under their `### TITLE` in the section of that name; parts of other titles stay as they are."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    inside = document.read_text().partition(begin)[2].partition(end)[0]
    kept: dict[str, str] = {}
    for part in inside.split("\n### ")[1:]:
        title, _, body = part.partition("\n")
        kept[title] = body.strip()
    kept |= parts
    write_section(document, name, "\n\n".join(f"### {title}\n\n{body}" for title, body in kept.items()))
