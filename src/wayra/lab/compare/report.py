"""A comparison from recorded runs: tables side by side, and what may be said of them. Nothing is measured here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import msgspec

from wayra.base.errors import InvalidParameter, RunError
from wayra.lab.compare.quality import LEVEL, Asked, Tested, judged, primary
from wayra.lab.runs import Figure, Run, summarise
from wayra.lab.scoring.paired import paired
from wayra.plan.cost import blended_usd_per_mtok, usd_per_mtok, utilisation
from wayra.plan.memory import weights_bytes
from wayra.plan.models import Architecture, architecture
from wayra.plan.quantity import given
from wayra.plan.stored import stored_as

PRECISIONS = ("fp16", "q8_0", "q4_k", "q4_0")
LATENCIES = ("output_rate", "ttft_p50", "ttft_p95", "tpot_p50")


@dataclass(frozen=True, slots=True)
class Side:
    """One model of a comparison. runs: what was recorded of it. price: USD of a million prompt and output tokens.

    rent: USD an hour of the machine that answers.
    """

    label: str
    target: str
    runs: tuple[Run, ...]
    price: tuple[float, float] | None = None
    rent: float | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """value None: not known. low, high: 95 % interval."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table, a cell for each model. higher_is_better: None where neither is."""

    name: str
    unit: str
    cells: tuple[Cell, ...]
    higher_is_better: bool | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """names: of the models, by label. tables: by title. verdict: sentences, only of what is significant or open."""

    names: Mapping[str, str]
    tables: Mapping[str, tuple[Row, ...]]
    tested: tuple[Tested, ...]
    verdict: tuple[str, ...]
    notes: tuple[str, ...]


def compared(sides: Sequence[Side]) -> Comparison:
    """What two runs cannot be compared in (other questions, none answered by both) is a note.

    Raises RunError when there are fewer than two models.
    """
    if len(sides) < 2:
        raise RunError("there is one model in these runs; a comparison needs runs of two")
    asked, problems = _asked(sides)
    tested = judged(asked)
    figures = [_figures(side) for side in sides]
    tables = {
        "Specification": _specification(sides),
        "Speed": _speed(figures),
        "Memory held while running": _memory(sides),
        "Cost": _cost(sides, figures),
    }
    names = {side.label: _name(side) for side in sides}
    kept = {title: rows for title, rows in tables.items() if rows}
    return Comparison(names, kept, tuple(tested), tuple(_verdict(tested)), (*problems, *_notes(sides, tested)))


def _asked(sides: Sequence[Side]) -> tuple[list[Asked], list[str]]:
    """The benchmarks of every two models, and why there are none of some."""
    evals = [(side.label, [run for run in side.runs if run.kind == "eval"]) for side in sides]
    asked: list[Asked] = []
    problems: list[str] = []
    for (first, ones), (second, others) in combinations(evals, 2):
        if not (ones and others):
            continue
        try:
            asked += [Asked(first, second, scores) for scores in primary(paired(ones[-1], others[-1]))]
        except RunError as error:
            problems.append(f"{first} and {second} are not compared in their answers: {error}")
    return asked, problems


def _figures(side: Side) -> dict[tuple[str, str], Figure]:
    benches = [run for run in side.runs if run.kind == "bench"]
    return {(figure.group, figure.name): figure for run in benches for figure in summarise(run).figures}


def _name(side: Side) -> str:
    for run in side.runs:
        target = run.header.facts.get("target")
        if isinstance(target, Mapping) and isinstance(name := target.get("model"), str):
            return name
    return side.target


def _shape(side: Side) -> Architecture | None:
    """As the model's file has it; of a server's model, what the planner knows under its name."""
    for run in side.runs:
        found = run.header.facts.get("architecture")
        if found is not None:
            try:
                return msgspec.convert(found, Architecture)
            except msgspec.ValidationError as error:
                raise RunError(f"run {run.id} describes no model: {error}") from error
    try:
        return architecture(_name(side))
    except InvalidParameter:
        return None


def _specification(sides: Sequence[Side]) -> tuple[Row, ...]:
    shapes = [_shape(side) for side in sides]

    def row(name: str, unit: str, values: Sequence[float | None]) -> Row:
        return Row(name, unit, tuple(Cell(value) for value in values))

    def of(name: str, attribute: str) -> Row:
        return row(name, "", [None if one is None else float(getattr(one, attribute)) for one in shapes])

    rows = [
        of("parameters", "parameters"),
        of("active parameters", "active_parameters"),
        of("layers", "num_layers"),
        of("hidden size", "hidden_size"),
        of("heads", "num_heads"),
        of("KV heads", "num_kv_heads"),
        of("context", "context_len"),
        of("vocabulary", "vocab_size"),
        row("experts", "", [None if s is None else float(s.experts.count if s.experts else 0) for s in shapes]),
    ]
    for name in PRECISIONS:
        sizes = [None if shape is None else weights_bytes(shape, stored_as(name)).value / 1e6 for shape in shapes]
        rows.append(row(f"weights in {name}", "MB", sizes))
    return tuple(rows)


def _speed(figures: Sequence[Mapping[tuple[str, str], Figure]]) -> tuple[Row, ...]:
    rows: list[Row] = []
    for key in dict.fromkeys(key for one in figures for key in one):
        if key[1] != "rate" and key[1] not in LATENCIES:
            continue
        found = [one.get(key) for one in figures]
        example = next(figure for figure in found if figure is not None)
        cells = tuple(Cell() if one is None else Cell(one.value, one.low, one.high) for one in found)
        name = key[0] if key[1] == "rate" else f"{key[0]}: {key[1].replace('_', ' ')}"
        rows.append(Row(name, example.unit, cells, example.higher_is_better))
    return tuple(rows)


def _memory(sides: Sequence[Side]) -> tuple[Row, ...]:
    facts = [
        next(
            (t for run in side.runs if isinstance(t := run.header.facts.get("target"), Mapping) and "kv_bytes" in t), {}
        )
        for side in sides
    ]
    rows: list[Row] = []
    for name, key in (("weights", "weights_bytes"), ("KV cache, reserved", "kv_bytes")):
        values = [one.get(key) for one in facts]
        cells = tuple(Cell(value / 1e6) if isinstance(value, int | float) else Cell() for value in values)
        rows.append(Row(name, "MB", cells, higher_is_better=False))
    return tuple(rows) if any(cell.value is not None for row in rows for cell in row.cells) else ()


def _cost(sides: Sequence[Side], figures: Sequence[Mapping[tuple[str, str], Figure]]) -> tuple[Row, ...]:
    found = [_usd_per_mtok(side, one) for side, one in zip(sides, figures, strict=True)]
    return (
        Row("3 prompt tokens to 1 of answers, price list", "USD/Mtok", tuple(c[0] for c in found), False),
        Row("output at the best measured rate, rented machine", "USD/Mtok", tuple(c[1] for c in found), False),
    )


def _usd_per_mtok(side: Side, figures: Mapping[tuple[str, str], Figure]) -> tuple[Cell, Cell]:
    listed, rented = Cell(), Cell()
    if side.price is not None:
        prices = [
            given(name, usd, "USD/Mtok", "stated") for name, usd in zip(("input", "output"), side.price, strict=True)
        ]
        listed = Cell(blended_usd_per_mtok(prices[0], prices[1], 3, 1).value)
    best = max((f.value or 0.0 for (_, name), f in figures.items() if name == "output_rate"), default=0.0)
    if side.rent is not None and best > 0:
        rent, rate = given("rent", side.rent, "USD/h", "stated"), given("rate", best, "tok/s", "measured")
        rented = Cell(usd_per_mtok(rent, rate, utilisation(1.0)).value)
    return listed, rented


def _verdict(tested: Sequence[Tested]) -> list[str]:
    said: list[str] = []
    for one in (one for one in tested if one.is_significant):
        better, worse = (one.second, one.first) if one.difference > 0 else (one.first, one.second)
        high, low = max(one.first_value, one.second_value), min(one.first_value, one.second_value)
        sign = 1 if one.difference > 0 else -1
        bounds = sorted((100 * sign * one.low, 100 * sign * one.high))
        said.append(
            f"{better} is better than {worse} on {one.suite} ({one.metric}): {100 * high:.1f} against {100 * low:.1f}, "
            f"a difference of {bounds[0]:.1f} to {bounds[1]:.1f} points (p = {one.adjusted_p:.2g} after Holm)."
        )
    unsettled = [one for one in tested if not one.is_significant]
    if tested and not said:
        said.append("No benchmark shows a significant difference. That is not proof that there is none.")
    for one in unsettled:
        said.append(_open(one))
    return said or ["No benchmark was asked of two models, so nothing is said of which answers better."]


def _open(one: Tested) -> str:
    between = f"{one.suite} ({one.metric}), {one.first} and {one.second}: open after {one.count} items"
    if one.settling_items is None or one.settling_delta is None:
        return f"{between}; the answers scored alike on every one."
    what = f"{100 * one.settling_delta:.1f} points"
    seen = "as large as the one seen" if abs(one.difference) > 1e-9 else "where none was seen"
    return f"{between}; about {max(one.settling_items, one.count):,} would settle a difference of {what}, {seen}."


def _notes(sides: Sequence[Side], tested: Sequence[Tested]) -> list[str]:
    notes = [f"{side.label}, run {run.id}: {note}" for side in sides for run in side.runs for note in run.header.notes]
    for side in sides:
        figures = [f for run in side.runs if run.kind == "eval" for f in summarise(run).figures]
        cut = sum(int(f.value or 0) for f in figures if f.name == "cut")
        if cut:
            notes.append(
                f"{side.label}: {cut:,} answers reached the limit of their length and were judged as they were."
            )
    if tested:
        notes.append(
            f"Tests: McNemar's exact one for right and wrong, sign flips for graded answers; {len(tested)} tests, "
            f"corrected by Holm, level {LEVEL}. Intervals are of 95 % and of one benchmark alone."
        )
    notes.append(
        "Speed is of this comparison's runs, one model after another: a machine that was busy meanwhile shows in it, "
        "and no verdict is made of it."
    )
    return notes
