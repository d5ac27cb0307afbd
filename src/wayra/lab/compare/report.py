"""A comparison from recorded runs: tables side by side, and what may be said of them. Nothing is measured here."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from types import MappingProxyType

import msgspec

from wayra.base.errors import FileFormatError, InvalidParameter, RunError
from wayra.lab.compare.cost import cost_notes, cost_rows
from wayra.lab.compare.definitions import defined
from wayra.lab.compare.quality import LEVEL, Asked, judged, primary
from wayra.lab.compare.speed import races, speed_rows, speeds_of
from wayra.lab.compare.tables import Cell, Comparison, Origin, Race, Raced, Row, Side
from wayra.lab.compare.verdict import verdict
from wayra.lab.runs import summarise
from wayra.lab.scoring.paired import paired
from wayra.plan.memory import kv_bytes_per_token, weights_bytes
from wayra.plan.models import Architecture, architecture
from wayra.plan.stored import stored_as

PRECISIONS = ("fp16", "q8_0", "q4_k", "q4_0")
KV_BITS = 16
WRITING = "task:writing"
CODE_NAMES: Mapping[str, str] = MappingProxyType({"strict": "pass@1"})
LEFT_OUT: Mapping[str, str] = MappingProxyType(
    {
        "cut": "answers reached the limit of their length and were judged as they were",
        "failed": "questions have no answer (the server failed, or the prompt did not fit) and are left out",
    }
)


def compared(sides: Sequence[Side], judge: str | None = None) -> Comparison:
    """What two runs cannot be compared in (other questions, none answered by both) is a note. judge: who judged.

    Raises RunError when there are fewer than two models.
    """
    if len(sides) < 2:
        raise RunError("there is one model in these runs; a comparison needs runs of two")
    asked, problems = _asked(sides)
    shapes, unread = _shapes(sides)
    speeds = [speeds_of(side) for side in sides]
    raced = races(sides, speeds)
    tested, corrected = judged(asked, [race.p_value for race in raced])
    settled = [_settled(race, p_value) for race, p_value in zip(raced, corrected, strict=True)]
    tables = {
        "Specification": specification(shapes),
        "Speed": speed_rows(speeds),
        "Memory held while running": _memory(sides),
        "Cost": cost_rows(sides, speeds),
    }
    found = Comparison(
        names={side.label: _name(side) for side in sides},
        tables={title: rows for title, rows in tables.items() if rows},
        scores=_scores(sides, {one.suite: one.metric for one in tested}),
        titles=_titles(sides),
        tested=tuple(tested),
        raced=tuple(settled),
        verdict=tuple(verdict(tested, settled)),
        notes=(*problems, *unread, *_notes(sides, len(tested), settled, judge)),
        origins=tuple(_origin(side) for side in sides),
        judge=judge,
    )
    return replace(found, definitions=defined(found))


def _settled(race: Race, adjusted_p: float) -> Raced:
    return Raced(**asdict(race), adjusted_p=adjusted_p, is_significant=adjusted_p < LEVEL)


def _scores(sides: Sequence[Side], metrics: Mapping[str, str]) -> tuple[Row, ...]:
    """The tested metric of each suite, each model over all that it answered."""
    found = [
        {(figure.group, figure.name): figure for run in side.runs if run.kind == "eval"
         for figure in summarise(run).figures}
        for side in sides
    ]  # fmt: skip
    rows: list[Row] = []
    for suite, metric in metrics.items():
        figures = [one.get((suite, metric)) or one.get((suite, CODE_NAMES.get(metric, ""))) for one in found]
        cells = tuple(Cell() if one is None else Cell(one.value, one.low, one.high) for one in figures)
        rows.append(Row(suite, metric, cells, higher_is_better=True, metric=metric))
    return tuple(rows)


def _titles(sides: Sequence[Side]) -> dict[str, str]:
    found: dict[str, str] = {}
    for run in (run for side in sides for run in side.runs):
        suites = run.header.facts.get("suites")
        for name, facts in suites.items() if isinstance(suites, Mapping) else ():
            if isinstance(facts, Mapping) and isinstance(title := facts.get("title"), str):
                found[str(name)] = title
    return found


def _origin(side: Side) -> Origin:
    if not side.runs:
        return Origin(side.label, side.target, (), "", "")
    header = side.runs[0].header
    machine = f"{header.machine.get('processor') or 'unknown processor'}, {header.machine.get('cores')} cores"
    ids = tuple(run.id for run in side.runs)
    return Origin(side.label, side.target, ids, header.started_utc, machine, dict(header.versions))


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


def _name(side: Side) -> str:
    for run in side.runs:
        target = run.header.facts.get("target")
        if isinstance(target, Mapping) and isinstance(name := target.get("model"), str):
            # A model's own name may have slashes; where a file lies is told among the origins.
            return Path(name).name if name == side.target and name.startswith(("/", "./", "../", "~/")) else name
    return side.target


def _shapes(sides: Sequence[Side]) -> tuple[list[Architecture | None], list[str]]:
    """Of each model, and what could not be read: a run outlives the version of wayra that described its model."""
    shapes: list[Architecture | None] = []
    unread: list[str] = []
    for side in sides:
        try:
            shapes.append(_shape(side))
        except RunError as error:
            shapes.append(None)
            unread.append(f"{side.label} has no specification: {error}")
    return shapes, unread


def _shape(side: Side) -> Architecture | None:
    """As the model's file has it; of a server's model, what the planner knows under its name. Raises RunError."""
    for run in side.runs:
        found = run.header.facts.get("architecture")
        if found is not None:
            try:
                return msgspec.convert(found, Architecture)
            except (msgspec.ValidationError, FileFormatError) as error:
                raise RunError(f"run {run.id} describes it in a way that this version cannot read: {error}") from error
    try:
        return architecture(_name(side))
    except InvalidParameter:
        return None


def specification(shapes: Sequence[Architecture | None]) -> tuple[Row, ...]:
    """What is known of models without running them, a column each; None where nothing is."""

    def row(named: tuple[str, str, str], values: Sequence[float | None]) -> Row:
        name, unit, metric = named
        return Row(name, unit, tuple(Cell(value) for value in values), metric=metric)

    def of(name: str, attribute: str) -> Row:
        return row((name, "", attribute), [None if one is None else float(getattr(one, attribute)) for one in shapes])

    rows = [
        of("parameters", "parameters"),
        of("active parameters", "active_parameters"),
        of("layers", "num_layers"),
        of("hidden size", "hidden_size"),
        of("heads", "num_heads"),
        of("KV heads", "num_kv_heads"),
        of("context", "context_len"),
        of("vocabulary", "vocab_size"),
        row(
            ("experts", "", "experts"),
            [None if s is None else float(s.experts.count if s.experts else 0) for s in shapes],
        ),
    ]
    for name in PRECISIONS:
        sizes = [None if shape is None else weights_bytes(shape, stored_as(name)).value / 1e6 for shape in shapes]
        rows.append(row((f"weights in {name}", "MB", "weights_mb"), sizes))
    per_token = [None if shape is None else kv_bytes_per_token(shape, KV_BITS).value / 1e3 for shape in shapes]
    rows.append(row(("keys and values of a token, 16 bit", "kB", "kv_kb_per_token"), per_token))
    if any(shape is not None and shape.state_bytes for shape in shapes):
        states = [None if shape is None else shape.state_bytes / 1e6 for shape in shapes]
        rows.append(row(("state of a sequence", "MB", "state_mb"), states))
    return tuple(rows)


def _memory(sides: Sequence[Side]) -> tuple[Row, ...]:
    facts = [
        next(
            (t for run in side.runs if isinstance(t := run.header.facts.get("target"), Mapping) and "kv_bytes" in t), {}
        )
        for side in sides
    ]
    rows: list[Row] = []
    for name, key, metric in (
        ("weights", "weights_bytes", "held_weights_mb"),
        ("KV cache, reserved", "kv_bytes", "held_kv_mb"),
    ):
        values = [one.get(key) for one in facts]
        cells = tuple(Cell(value / 1e6) if isinstance(value, int | float) else Cell() for value in values)
        rows.append(Row(name, "MB", cells, higher_is_better=False, metric=metric))
    return tuple(rows) if any(cell.value is not None for row in rows for cell in row.cells) else ()


def _failed_requests(side: Side) -> list[str]:
    """Of those that were timed, with the first one's words."""
    figures = [f for run in side.runs if run.kind == "bench" for f in summarise(run).figures]
    count = sum(int(f.value or 0) for f in figures if f.name == "failed")
    why = next((f.why for f in figures if f.name.startswith("failed: ") and f.why), "their words were not kept")
    return [f"{side.label}: {count:,} timed requests failed ({why}); a round with one has no speed."] if count else []


def _notes(sides: Sequence[Side], num_answers: int, raced: Sequence[Raced], judge: str | None) -> list[str]:
    notes = [f"{side.label}, run {run.id}: {note}" for side in sides for run in side.runs for note in run.header.notes]
    for side in sides:
        figures = [f for run in side.runs if run.kind == "eval" for f in summarise(run).figures]
        for name, said in LEFT_OUT.items():
            count = sum(int(f.value or 0) for f in figures if f.name == name)
            why = next((f" {f.why[0].upper()}{f.why[1:]}." for f in figures if f.name == name and f.why), "")
            if count:
                notes.append(f"{side.label}: {count:,} {said}.{why}")
        notes += _failed_requests(side)
    notes += cost_notes(sides)
    if judge is not None:
        notes.append(
            f"{WRITING}: judged by a language model, {judge}, against a plain text of its own, each pair in both "
            "orders; a pair whose order decides counts half. It is an opinion; all else is judged by programs."
        )
    if num_answers + len(raced):
        notes.append(
            f"Tests: McNemar's exact one for right and wrong, sign flips for graded answers, Student's t on the ratio "
            f"of each round for speed; {num_answers + len(raced)} tests, corrected by Holm together, level {LEVEL}. "
            "Intervals are of 95 % and of one test alone."
        )
    if raced:
        notes.append(
            "Speed was measured in turns (A, B, B, A, ...): the value is the median of the rounds, in brackets the "
            "slowest and the fastest. It is of this machine as loaded as it was."
        )
    else:
        notes.append(
            "Speed is of separate runs: what the machine did meanwhile is in it, and no verdict is made of it."
        )
    return notes
