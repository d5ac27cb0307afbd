"""The page's sections in order: verdict, models at a glance, answers, speed, memory, cost, sizes, method, meanings."""

from collections.abc import Sequence
from html import escape

from wayra.lab.compare.definitions import glossary
from wayra.lab.compare.page.answers import answers, open_questions
from wayra.lab.compare.page.markup import key, legend, meanings, rows_table, section, table
from wayra.lab.compare.page.shell import document
from wayra.lab.compare.page.speed import memory, speed
from wayra.lab.compare.tables import Comparison, Row
from wayra.lab.runs.shown import shown

GLANCE = (
    ("Specification", "parameters", "parameters"),
    ("Specification", "active parameters", "of them active"),
    ("Specification", "context", "context"),
    ("Memory held while running", "weights", "weights"),
    ("Cost", "3 prompt tokens to 1 of output", "3 prompt tokens to 1 of output"),
)
MENU = (
    ("verdict", "Verdict"),
    ("answers", "Answers"),
    ("open", "Open questions"),
    ("speed", "Speed"),
    ("memory", "Memory"),
    ("cost", "Cost"),
    ("specification", "Specification"),
    ("method", "How it was measured"),
    ("definitions", "What the figures mean"),
)


def page(found: Comparison, run_id: str | None) -> str:
    """The whole document. run_id: of the comparison, None when it was made of recorded runs."""
    title = " / ".join(dict.fromkeys(found.names.values()))
    sections = [
        _verdict(found),
        _glance(found),
        answers(found),
        open_questions(found),
        speed(found),
        memory(found),
        _cost(found),
        _specification(found),
        _method(found, run_id),
        section("What the figures mean", "definitions", meanings(glossary(found))),
    ]
    content = "".join(sections)
    menu = "".join(f'<a href="#{name}">{escape(text)}</a>' for name, text in MENU if f'id="{name}"' in content)
    header = (
        f'<h1>{_heading(found)}</h1><p class="soft">{escape(_where(found))}</p><nav aria-label="Sections">{menu}</nav>'
    )
    return document(f"{title}: compared by wayra", header, content)


def _heading(found: Comparison) -> str:
    parts = [f"{key(label)} {escape(name)}" for label, name in found.names.items()]
    return '<span class="versus">against</span>'.join(parts)


def _where(found: Comparison) -> str:
    machines = list(dict.fromkeys(one.machine for one in found.origins if one.machine))
    dates = sorted({one.started_utc[:10] for one in found.origins if one.started_utc})
    span = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}" if dates else ""
    return ", ".join(text for text in (span, "; ".join(machines)) if text)


def _verdict(found: Comparison) -> str:
    num_open = sum(not one.is_significant for one in found.tested)
    settled = found.verdict[: len(found.verdict) - num_open]
    is_any = any(one.is_significant for one in (*found.tested, *found.raced))
    sentences = "".join(f"<li>{escape(_titled(found, text))}</li>" for text in settled)
    rest = ""
    if num_open:
        counted = "All" if num_open == len(found.tested) else f"{num_open} of"
        rest = (
            f'<p>{counted} {len(found.tested)} benchmarks are open: <a href="#open">the open questions</a> say '
            "how many items it would take to settle each.</p>"
        )
    kind = "verdict" if is_any else "verdict open"
    head = f'<section class="{kind}" aria-labelledby="verdict"><h2 id="verdict">Verdict</h2>'
    return f"{head}<ul>{sentences}</ul>{rest}</section>"


def _titled(found: Comparison, text: str) -> str:
    """Suites by their titles: `task:maths` is a name for the command line."""
    for suite, title in found.titles.items():
        text = text.replace(f" on {suite} (", f" on {title} (")
    return text


def _glance(found: Comparison) -> str:
    cards: list[str] = []
    for place, (label, name) in enumerate(found.names.items()):
        lines = [
            (what, row.cells[place], row.unit)
            for table, row_name, what in GLANCE
            if (row := _row(found.tables.get(table, ()), row_name)) is not None
        ]
        for row in found.tables.get("Speed", ()):
            if row.metric in ("rate", "output_rate"):
                lines.append((row.name, row.cells[place], row.unit))
        terms = "".join(
            f"<dt>{escape(what)}</dt><dd>{escape(shown(cell.value))} {escape(unit)}</dd>"
            for what, cell, unit in lines
            if cell.value is not None
        )
        cards.append(f'<div class="card m{label}"><h3>{key(label)} {escape(name)}</h3><dl>{terms}</dl></div>')
    return f'<div class="cards">{"".join(cards)}</div>'


def _row(rows: Sequence[Row], name: str) -> Row | None:
    return next((row for row in rows if row.name == name), None)


def _cost(found: Comparison) -> str:
    rows = found.tables.get("Cost", ())
    if not any(cell.value is not None for row in rows for cell in row.cells):
        told = "No price or machine is known of these models; --price, --rent and --own give them."
        return section("Cost", "cost", f"<p>{escape(told)}</p>")
    known = [row for row in rows if any(cell.value is not None for cell in row.cells)]
    lead = "In US dollars. A machine paid by the hour is counted as busy all the time."
    return section("Cost", "cost", rows_table("Cost of the machine and of a million tokens", known, found), lead)


def _specification(found: Comparison) -> str:
    rows = found.tables.get("Specification", ())
    lead = "From the models' own files, or what the planner knows under a server's name of its model."
    known = [row for row in rows if any(cell.value is not None for cell in row.cells)]
    if not known:
        return ""
    shared = rows_table("Architecture, and memory of the weights at each precision", known, found)
    return section("Specification", "specification", shared, lead)


def _method(found: Comparison, run_id: str | None) -> str:
    notes = "".join(f"<li>{escape(text)}</li>" for text in found.notes)
    rows = [
        [
            key(one.label),
            f"<code>{escape(one.target)}</code>",
            escape(one.machine),
            escape(one.started_utc[:16].replace("T", " ")),
            " ".join(f"<code>{escape(run)}</code>" for run in one.runs),
        ]
        for one in found.origins
    ]
    runs = table(
        "What was asked, and the recorded runs", ["model", "target", "machine", "began (UTC)", "runs"], rows, 5
    )
    versions = found.origins[0].versions if found.origins else {}
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    comparison = (
        f"<p>Comparison <code>{escape(run_id)}</code>; <code>wayra runs show</code> has its raw figures.</p>"
        if run_id
        else ""
    )
    content = f'{legend(found.names)}<ul class="notes">{notes}</ul>{runs}{comparison}<p class="soft">{escape(told)}</p>'
    return section("How it was measured", "method", content)
