"""A recorded comparison read back: the runs of each of its models, and its figures for `wayra runs`."""

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from wayra.base.errors import RunError
from wayra.lab.compare.definitions import TERMS
from wayra.lab.compare.measure import PRICES, children
from wayra.lab.compare.report import compared
from wayra.lab.compare.settings import CompareSettings
from wayra.lab.compare.tables import Comparison, Price, Side
from wayra.lab.runs import Figure, Run, RunStore, Summary


def settings_of(run: Run) -> CompareSettings:
    """Raises RunError when it is no comparison."""
    try:
        return msgspec.convert(run.config, CompareSettings)
    except msgspec.ValidationError as error:
        raise RunError(f"run {run.id} is no comparison: {error}") from error


def sides_of(store: RunStore, run: Run) -> list[Side]:
    """Its models with the runs that were made for them, in the order they began. Raises RunError when one is gone."""
    chosen, known = settings_of(run), children(run)
    machines = chosen.machines()
    listed = run.header.facts.get(PRICES)
    prices = msgspec.convert(listed, dict[str, Price]) if isinstance(listed, Mapping) else {}
    prices |= {label: Price(*pair) for label, pair in chosen.prices.items()}
    return [
        Side(
            label,
            target,
            tuple(store.open(child) for (whose, _), child in known.items() if whose == label),
            prices.get(label),
            machines.get(label),
        )
        for label, target in chosen.labelled()
    ]


def comparison_of(store: RunStore, run: Run) -> Comparison:
    """Everything a recorded comparison shows. Raises RunError when it is none, or a run of it is gone."""
    found = compared(sides_of(store, run), judge_of(run))
    return replace(found, notes=(*run.header.notes, *found.notes))


def judge_of(run: Run) -> str | None:
    chosen = settings_of(run)
    return chosen.judge if chosen.judge_model is None else f"{chosen.judge_model} at {chosen.judge}"


def summarise(run: Run) -> Summary:
    """The difference of each benchmark and its corrected p-value; the runs are looked for beside this one."""
    figures: list[Figure] = []
    found = comparison_of(RunStore(run.path.parent), run)
    for one in found.tested:
        group = f"{one.suite}: {one.second} - {one.first}"
        figures.append(Figure(f"difference_{one.metric}", one.difference, "", one.low, one.high, group, one.count))
        figures.append(Figure("adjusted_p", one.adjusted_p, "", group=group))
    for race in found.raced:
        group = f"{race.name}: {race.second} / {race.first}"
        figures.append(Figure("ratio", race.ratio, "", race.low, race.high, group, race.rounds))
        figures.append(Figure("adjusted_p", race.adjusted_p, "", group=group))
    return Summary(tuple(figures), TERMS)
