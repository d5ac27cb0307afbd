"""Figures as they are told: medians with their spread, ratios pair by pair, sections of a document."""

import statistics
from collections.abc import Sequence
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
