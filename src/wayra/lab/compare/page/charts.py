"""Plots as SVG, drawn in per cents of their width and pixels of their height, so that letters keep their size on any
screen. Colours and strokes are classes of the page's style sheet; nothing here needs a script.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

ROW_HEIGHT = 34
LANE = 9
"""Between the marks of two models on one line."""
PLOT_HEIGHT = 220
TOP, BOTTOM = 14, 30
SIDE = 1.2
"""Per cent between the marks of two models in one column."""


@dataclass(frozen=True, slots=True)
class Point:
    """One model's value with its bounds, None where there are none. label: the model's letter, "" of none."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Axis:
    """From low to high; zero: a value that a line marks."""

    low: float
    high: float
    ticks: tuple[float, ...]
    zero: float | None = None

    def at(self, value: float) -> float:
        """Per cent of the width, inside the plot."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(1.0, max(0.0, share)), 3)


def steps(low: float, high: float, count: int = 4) -> Axis:
    """An axis of round numbers that holds low and high."""
    width = max(high - low, abs(high) * 1e-6, 1e-9)
    rough = width / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(number * step for number in range(first, max(last, first + 1) + 1))
    return Axis(ticks[0], ticks[-1], ticks)


def strip(points: Sequence[Point], axis: Axis, said: str, *, is_quiet: bool = False) -> str:
    """Values on one line of a table: a dot each, with its interval. said: the same in words."""
    middle = ROW_HEIGHT / 2
    first = middle - LANE * (len(points) - 1) / 2
    marks = [_grid(axis, ROW_HEIGHT)]
    for number, point in enumerate(points):
        y = first + LANE * number
        kind = f"m{point.label}" + (" quiet" if is_quiet else "")
        if point.low is not None and point.high is not None:
            marks.append(_line(axis.at(point.low), y, axis.at(point.high), y, f"whisker {kind}"))
        marks.append(f'<circle cx="{axis.at(point.value)}%" cy="{y:g}" r="4.5" class="dot {kind}"/>')
    return _svg("strip", ROW_HEIGHT, "".join(marks), said)


def axis_strip(axis: Axis, shown: Callable[[float], str]) -> str:
    """The numbers below strips."""
    return _svg("strip axis", 20, "".join(_tick(axis.at(tick), 14, shown(tick)) for tick in axis.ticks), None)


def bars(points: Sequence[Point], axis: Axis, said: str) -> str:
    """A bar from zero for each model, with its spread."""
    height = 20
    marks: list[str] = []
    for number, point in enumerate(points):
        y = number * (height + 6) + 3
        width = axis.at(point.value)
        marks.append(f'<rect x="0" y="{y}" width="{width}%" height="{height}" rx="3" class="bar m{point.label}"/>')
        if point.low is not None and point.high is not None:
            middle = y + height / 2
            marks.append(_line(axis.at(point.low), middle, axis.at(point.high), middle, "spread"))
            marks += [
                _line(axis.at(at), middle - 4, axis.at(at), middle + 4, "spread") for at in (point.low, point.high)
            ]
    return _svg("bars", len(points) * (height + 6), "".join(marks), said)


def lines(
    series: Sequence[Sequence[Point | None]], columns: Sequence[str], shown: Callable[[float], str], said: str
) -> str:
    """One line a model over columns at equal distances, from zero up, with the spread of each point.

    series: of each model, a point a column, None where nothing was measured.
    """
    present = [point for one in series for point in one if point is not None]
    vertical = steps(0.0, max((point.high or point.value for point in present), default=1.0))
    marks: list[str] = []

    def y_at(value: float) -> float:
        return round(TOP + (PLOT_HEIGHT - TOP - BOTTOM) * (1 - vertical.at(value) / 100), 2)

    for tick in vertical.ticks:
        marks.append(_line(0, y_at(tick), 100, y_at(tick), "zero" if tick == 0 else "grid"))
        marks.append(f'<text x="0" y="{y_at(tick) - 4:g}" class="tick">{escape(shown(tick))}</text>')
    places = [round(100 * (number + 1) / (len(columns) + 0.5), 3) for number in range(len(columns))]
    marks += [_tick(x, PLOT_HEIGHT - 10, column) for x, column in zip(places, columns, strict=True)]
    for number, one in enumerate(series):
        # Side by side, so that spreads of models that are alike can be told apart.
        aside = SIDE * (number - (len(series) - 1) / 2)
        known = [(x + aside, point) for x, point in zip(places, one, strict=True) if point is not None]
        for (x1, before), (x2, after) in pairwise(known):
            marks.append(_line(x1, y_at(before.value), x2, y_at(after.value), f"line m{before.label}"))
        for x, point in known:
            if point.low is not None and point.high is not None:
                marks.append(_line(x, y_at(point.low), x, y_at(point.high), f"whisker m{point.label}"))
            marks.append(f'<circle cx="{x:g}%" cy="{y_at(point.value):g}" r="4.5" class="dot m{point.label}"/>')
    return _svg("lines", PLOT_HEIGHT, "".join(marks), said)


def _grid(axis: Axis, height: float) -> str:
    found = [_line(axis.at(tick), 0, axis.at(tick), height, "grid") for tick in axis.ticks]
    if axis.zero is not None:
        found.append(_line(axis.at(axis.zero), 0, axis.at(axis.zero), height, "zero"))
    return "".join(found)


def _tick(x: float, y: float, text: str) -> str:
    anchor = "start" if x < 4 else "end" if x > 96 else "middle"
    return f'<text x="{x:g}%" y="{y:g}" class="tick {anchor}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:g}%" y1="{y1:g}" x2="{x2:g}%" y2="{y2:g}" class="{kind}"/>'


def _svg(kind: str, height: float, content: str, said: str | None) -> str:
    role = 'aria-hidden="true"' if said is None else f'role="img" aria-label="{escape(said)}"'
    return f'<svg class="{kind}" width="100%" height="{height:g}" {role}>{content}</svg>'
