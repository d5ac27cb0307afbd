"""A comparison for people and programs: tables on a terminal, Markdown, JSON."""

import dataclasses
from typing import TYPE_CHECKING

from wayra.base.settings import Settings
from wayra.cli.output import make_console, print_line, printable

if TYPE_CHECKING:
    from wayra.lab.compare.quality import Tested
    from wayra.lab.compare.tables import Cell, Comparison, Raced

Table = tuple[str, list[str], list[list[str]]]
NOT_KNOWN = "not known"
LEAST_WIDTH = 132


def as_document(found: "Comparison", run_id: str | None) -> dict[str, object]:
    """Everything there is, for --json."""
    return {"run": run_id, **dataclasses.asdict(found)}


def print_comparison(settings: Settings, found: "Comparison", run_id: str | None) -> None:
    import rich.table

    from wayra.lab.compare.definitions import glossary

    console = make_console(settings)
    # Into a pipe or a narrow window whole lines are worth more than folded cells.
    console.width = max(console.width, LEAST_WIDTH)
    for label, name in found.names.items():
        print_line(f"{label}  {printable(name)}")
    for title, heads, rows in _tables(found):
        print_line()
        print_line(title)
        table = rich.table.Table(*heads, box=None, padding=(0, 2, 0, 0))
        for row in rows:
            table.add_row(*(printable(cell) for cell in row))
        console.print(table)
    print_line()
    print_line("Verdict")
    for sentence in found.verdict:
        print_line(f"  {printable(sentence)}")
    for text in found.notes:
        print_line(f"note: {printable(text)}")
    print_line()
    print_line("What the figures mean")
    for name, text in glossary(found):
        print_line(f"  {name}: {text}")
    if run_id is not None:
        print_line(f"run {run_id}")


def markdown(found: "Comparison") -> str:
    """The same as a document of its own."""
    from wayra.lab.compare.definitions import glossary

    lines = [
        "# " + _escaped(" and ".join(f"{label}: {name}" for label, name in found.names.items())),
        "",
        "## Verdict",
        "",
    ]
    lines += [f"- {_escaped(sentence)}" for sentence in found.verdict]
    for title, heads, rows in _tables(found):
        lines += ["", f"## {title}", ""]
        lines.append("| " + " | ".join(_escaped(head) for head in heads) + " |")
        lines.append("| " + " | ".join("---" for _ in heads) + " |")
        lines += ["| " + " | ".join(_escaped(cell) for cell in row) + " |" for row in rows]
    lines += ["", "## Notes", "", *(f"- {_escaped(text)}" for text in found.notes)]
    lines += ["", "## What the figures mean", ""]
    lines += [f"- **{_escaped(name)}**: {_escaped(text)}" for name, text in glossary(found)]
    return "\n".join(lines) + "\n"


def _tables(found: "Comparison") -> list[Table]:
    labels = list(found.names)
    tables: list[Table] = []
    for title, rows in found.tables.items():
        cells = [[row.name, row.unit, *(_shown(cell) for cell in row.cells)] for row in rows]
        tables.append((title, ["", "unit", *labels], cells))
    if found.tested:
        heads = ["suite", "metric", "models", "items", "first", "second", "difference (95 %)", "p after Holm", "test"]
        cells = [
            [
                one.suite,
                one.metric,
                f"{one.first}, {one.second}",
                str(one.count),
                f"{100 * one.first_value:.1f}",
                f"{100 * one.second_value:.1f}",
                _difference(one),
                f"{one.adjusted_p:.2g}" + (" *" if one.is_significant else ""),
                one.test,
            ]
            for one in found.tested
        ]
        tables.append(("Answers", heads, cells))
    if found.raced:
        heads = ["speed", "models", "rounds", "ratio (95 %)", "better", "p after Holm"]
        tables.append(("Speed in turns, second / first", heads, [_race(one) for one in found.raced]))
    return tables


def _race(one: "Raced") -> list[str]:
    return [
        one.name,
        f"{one.first}, {one.second}",
        str(one.rounds),
        f"{one.ratio:.3f} ({one.low:.3f} to {one.high:.3f})",
        "higher" if one.higher_is_better else "lower",
        f"{one.adjusted_p:.2g}" + (" *" if one.is_significant else ""),
    ]


def _difference(one: "Tested") -> str:
    """In points."""
    bounds = f"{100 * one.low:+.1f} to {100 * one.high:+.1f}"
    if not one.differing:
        return f"0.0 (no item differs; {bounds})"
    return f"{100 * one.difference:+.1f} ({bounds})"


def _shown(cell: "Cell") -> str:
    from wayra.lab.runs.shown import shown

    if cell.value is None:
        return NOT_KNOWN
    if cell.low is None or cell.high is None:
        return shown(cell.value)
    return f"{shown(cell.value)} ({shown(cell.low)} to {shown(cell.high)})"


def _escaped(text: str) -> str:
    """Names come from files and servers: nothing of them may become a table's border, a link or HTML."""
    return "".join(f"\\{char}" if char in "\\|<>[]`*_" else char for char in printable(text))
