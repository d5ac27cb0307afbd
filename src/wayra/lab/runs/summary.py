"""Figures of a run, always computed from its raw records by the module that made them."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from wayra.base.errors import RunError
from wayra.lab.runs.definitions import definitions_of, used_terms
from wayra.lab.runs.stored_run import Run


@dataclass(frozen=True, slots=True)
class Figure:
    """One number with its 95 % interval (None where there is none) and its unit.

    group: what it belongs to within the run (a stage, a suite). why: there is no value, or no interval.
    count: how many observations it comes from. higher_is_better: None where neither is better.
    """

    name: str
    value: float | None
    unit: str = ""
    low: float | None = None
    high: float | None = None
    group: str = ""
    count: int | None = None
    why: str | None = None
    higher_is_better: bool | None = None


def with_bounds(figure: Figure, low: float, high: float) -> Figure:
    """With its interval; where all resamples were alike there is none, since no width would claim to be exact."""
    if low < high:
        return replace(figure, low=low, high=high)
    return replace(figure, why="one value" if figure.count == 1 else "values too alike for an interval")


@dataclass(frozen=True, slots=True)
class Summary:
    """Every figure of a run. terms: what their names are made of, and what each means."""

    figures: tuple[Figure, ...]
    terms: Mapping[str, str] = field(default_factory=dict[str, str])

    def definitions(self) -> dict[str, str]:
        """What each figure means, by its name."""
        return definitions_of((figure.name for figure in self.figures), self.terms)

    def used_terms(self) -> dict[str, str]:
        """The same for people: each term once, however many figures are made of it."""
        return used_terms((figure.name for figure in self.figures), self.terms)

    def find(self, name: str, group: str = "") -> Figure | None:
        return next((f for f in self.figures if f.name == name and f.group == group), None)


SUMMARISERS: Mapping[str, str] = MappingProxyType(
    {
        "bench": "wayra.lab.bench.summary:summarise",
        "eval": "wayra.lab.scoring.summary:summarise",
        "compare": "wayra.lab.compare.recorded:summarise",
        "lm_eval": "wayra.lab.harness.summary:summarise",
        "inspect": "wayra.lab.harness.inspect_run:summarise",
    }
)
"""Kind of run -> "module:function", a function from Run to Summary; imported when such a run is summarised."""


def summarise(run: Run) -> Summary:
    """The figures of a run from its records. Raises RunError for a kind nobody knows or damaged records."""
    target = SUMMARISERS.get(run.kind)
    if target is None:
        raise RunError(f"run {run.id} is of kind {run.kind!r}; this wayra knows {', '.join(SUMMARISERS)}")
    module, _, name = target.partition(":")
    function: Callable[[Run], Summary] = getattr(importlib.import_module(module), name)
    return function(run)
