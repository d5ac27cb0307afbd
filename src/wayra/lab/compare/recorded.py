"""A recorded comparison read back: the runs of each of its models, and its figures for `wayra runs`."""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from wayra.base.errors import RunError
from wayra.lab.compare.measure import children
from wayra.lab.compare.report import Side, compared
from wayra.lab.compare.settings import CompareSettings
from wayra.lab.runs import Figure, Run, RunStore, Summary

DEFINITIONS: Mapping[str, str] = MappingProxyType(
    {"adjusted_p": "chance of such a difference between equal models, corrected by Holm for all tests"}
)


def settings_of(run: Run) -> CompareSettings:
    """Raises RunError when it is no comparison."""
    try:
        return msgspec.convert(run.config, CompareSettings)
    except msgspec.ValidationError as error:
        raise RunError(f"run {run.id} is no comparison: {error}") from error


def sides_of(store: RunStore, run: Run) -> list[Side]:
    """Its models with the runs that were made for them, in the order they began. Raises RunError when one is gone."""
    chosen, known = settings_of(run), children(run)
    return [
        Side(
            label,
            target,
            tuple(store.open(child) for (whose, _), child in known.items() if whose == label),
            chosen.prices.get(label),
            chosen.rents.get(label),
        )
        for label, target in chosen.labelled()
    ]


def summarise(run: Run) -> Summary:
    """The difference of each benchmark and its corrected p-value; the runs are looked for beside this one."""
    figures: list[Figure] = []
    for one in compared(sides_of(RunStore(run.path.parent), run)).tested:
        group = f"{one.suite}: {one.second} - {one.first}"
        figures.append(Figure(f"difference_{one.metric}", one.difference, "", one.low, one.high, group, one.count))
        figures.append(Figure("adjusted_p", one.adjusted_p, "", group=group))
    return Summary(tuple(figures), DEFINITIONS)
