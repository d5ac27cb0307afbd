"""A number that can explain itself: its unit, the formula it came from, what went in, and where the givens are from.

Every number the planner shows is a `Quantity`; the command line and the web page print `explain` of it. A given carries
its source with a date. A derived one is computed from the very text of its formula, so the explanation cannot drift.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from wayra.base.errors import InvalidParameter
from wayra.plan.expression import evaluate


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value with its unit and its reasons.

    name: what it is, an identifier formulas may use ("rent_usd_per_h"). unit: "GB", "tok/s", "USD/Mtok", "" for none.
    formula: arithmetic over the names of `inputs`, or words for what no short formula says; "" for a given.
    source: where a given comes from, with its date. note: what a reader must know besides.
    low, high: an interval the truth is expected in, None for a number that is exact under its inputs.
    """

    name: str
    value: float
    unit: str
    formula: str = ""
    inputs: tuple["Quantity", ...] = ()
    source: str = ""
    note: str = ""
    low: float | None = None
    high: float | None = None

    def named(self, name: str) -> "Quantity":
        """The same quantity under another name, for a formula that calls it so."""
        return replace(self, name=name)

    def noted(self, note: str) -> "Quantity":
        return replace(self, note=note)


def given(name: str, value: float, unit: str, source: str, *, note: str = "") -> Quantity:
    """A number from outside. Raises InvalidParameter when it is not finite."""
    if not math.isfinite(value):
        raise InvalidParameter(f"{name.replace('_', ' ')} is {value}; expected a finite number")
    return Quantity(name, float(value), unit, source=source, note=note)


def derived(name: str, unit: str, formula: str, *inputs: Quantity, note: str = "") -> Quantity:
    """A number computed from `formula` over the names of `inputs`.

    Raises: InvalidParameter when the formula names something that is no input, or its value is not finite.
    """
    return Quantity(name, evaluate(formula, values_of(inputs)), unit, formula, inputs, note=note)


def computed(name: str, value: float, unit: str, how: str, *inputs: Quantity, note: str = "") -> Quantity:
    """A number no one-line formula gives (a sum over a Program, a search); `how` says in words what was done."""
    return Quantity(name, float(value), unit, how, inputs, note=note)


def with_interval(quantity: Quantity, low: float, high: float) -> Quantity:
    """The same quantity with the interval the truth is expected in. Raises InvalidParameter on an inverted one."""
    if not low <= quantity.value <= high:
        raise InvalidParameter(f"{quantity.name} {quantity.value:g} lies outside its interval {low:g} to {high:g}")
    return replace(quantity, low=low, high=high)


def values_of(inputs: tuple[Quantity, ...]) -> Mapping[str, float]:
    """Name to value. Raises InvalidParameter when one name stands for two values."""
    values: dict[str, float] = {}
    for item in inputs:
        if values.setdefault(item.name, item.value) != item.value:
            raise InvalidParameter(f"two inputs are called {item.name}; rename one with .named()")
    return values


def shown(quantity: Quantity) -> str:
    """ "0.5528 USD/Mtok", with the interval when there is one."""
    text = f"{number(quantity.value)} {quantity.unit}".rstrip()
    if quantity.low is not None and quantity.high is not None:
        text += f" ({number(quantity.low)} to {number(quantity.high)})"
    return text


def number(value: float) -> str:
    """Four significant digits, all digits of large whole numbers, no exponent between 1e-4 and 1e15."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.4g}"
    return f"{value:.4g}" if abs(value) >= 1e-4 else f"{value:.3e}"


def explain(quantity: Quantity) -> list[str]:
    """The explanation, one line a number, inputs indented below what they make."""
    return list(_lines(quantity, 0, set()))


def _lines(quantity: Quantity, depth: int, seen: set[int]) -> Iterator[str]:
    reason = f" = {quantity.formula}" if quantity.formula else ""
    origin = f"  [{quantity.source}]" if quantity.source else ""
    note = f"  ({quantity.note})" if quantity.note else ""
    yield f"{'  ' * depth}{quantity.name} = {shown(quantity)}{reason}{origin}{note}"
    if id(quantity) in seen:
        return
    seen.add(id(quantity))
    for item in quantity.inputs:
        yield from _lines(item, depth + 1, seen)
