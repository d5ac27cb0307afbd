"""What differs between two runs: settings, machine, versions, and every figure they share."""

from collections.abc import Mapping
from dataclasses import dataclass

from wayra.lab.runs.stored_run import Run
from wayra.lab.runs.summary import Figure, summarise


@dataclass(frozen=True, slots=True)
class Difference:
    """A field that is not the same in both; what: e.g. "config.rate"."""

    what: str
    first: object
    second: object


@dataclass(frozen=True, slots=True)
class FigurePair:
    """A figure both have. ratio: second over first. is_apart: their intervals do not overlap (None without any).

    Intervals apart is a sign, not a test: machines drift between runs, which no interval of one run contains.
    """

    first: Figure
    second: Figure
    ratio: float | None
    is_apart: bool | None


@dataclass(frozen=True, slots=True)
class RunDiff:
    fields: tuple[Difference, ...]
    figures: tuple[FigurePair, ...]


def diff(first: Run, second: Run) -> RunDiff:
    """Raises RunError when one of them cannot be summarised."""
    fields: list[Difference] = []
    for part in ("kind", "config", "seeds", "hashes", "machine", "versions"):
        one, two = getattr(first.header, part), getattr(second.header, part)
        if isinstance(one, Mapping) and isinstance(two, Mapping):
            keys = sorted({*one, *two} - {"load_average", "available_bytes"})
            fields += [
                Difference(f"{part}.{key}", one.get(key), two.get(key)) for key in keys if one.get(key) != two.get(key)
            ]
        elif one != two:
            fields.append(Difference(part, one, two))
    others = {(figure.name, figure.group): figure for figure in summarise(second).figures}
    pairs = [
        _pair(figure, others[figure.name, figure.group])
        for figure in summarise(first).figures
        if (figure.name, figure.group) in others
    ]
    return RunDiff(tuple(fields), tuple(pairs))


def _pair(first: Figure, second: Figure) -> FigurePair:
    ratio = second.value / first.value if first.value and second.value is not None else None
    bounds = (first.low, first.high, second.low, second.high)
    apart = None
    if None not in bounds:
        low, high, other_low, other_high = (float(bound or 0) for bound in bounds)
        apart = high < other_low or other_high < low
    return FigurePair(first, second, ratio, apart)
