"""Pieces of HTML. Names come from files and servers, so every text is escaped where it becomes markup."""

from collections.abc import Mapping, Sequence
from html import escape

from wayra.lab.compare.tables import Cell, Comparison, Row
from wayra.lab.runs.shown import shown

NOT_KNOWN = '<span class="unknown">not known</span>'
PER_MILLE = 0.0005


def key(label: str) -> str:
    """A model's letter in its colour."""
    return f'<span class="key m{escape(label)}">{escape(label)}</span>'


def section(title: str, name: str, content: str, lead: str = "") -> str:
    """name: what the page's menu links to."""
    told = f'<p class="soft">{escape(lead)}</p>' if lead else ""
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{escape(title)}</h2>{told}{content}</section>'


def legend(names: Mapping[str, str]) -> str:
    items = "".join(f"<li>{key(label)} {escape(name)}</li>" for label, name in names.items())
    return f'<ul class="legend">{items}</ul>'


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """heads and cells are markup; the first cell heads its row. left: columns that are words."""
    head = "".join(f'<th scope="col"{_numeric(place, left)}>{one}</th>' for place, one in enumerate(heads))
    body = "".join(
        "<tr>"
        + "".join(
            f'<th scope="row">{cell}</th>' if place == 0 else f"<td{_numeric(place, left)}>{cell}</td>"
            for place, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    name = escape(title)
    return (
        f'<div class="scroll" role="region" aria-label="{name}" tabindex="0"><table><caption>{name}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def rows_table(title: str, rows: Sequence[Row], found: Comparison) -> str:
    """A comparison's rows, a column for each model."""
    labels = list(found.names)
    cells = [[named(row, found), *(cell_text(cell) for cell in row.cells)] for row in rows]
    return table(title, ["<span>what</span>", *(key(label) for label in labels)], cells)


def cell_text(cell: Cell) -> str:
    if cell.value is None:
        return NOT_KNOWN
    text = escape(shown(cell.value))
    if cell.low is None or cell.high is None or cell.low == cell.high:
        return text
    return f'{text}<span class="spread-text">{escape(shown(cell.low))} to {escape(shown(cell.high))}</span>'


def points(value: float) -> str:
    """A share in per cent, one figure after the point."""
    return f"{100 * value:.1f}"


def difference(value: float) -> str:
    """With its sign, and none for zero."""
    return "0.0" if abs(value) < PER_MILLE else f"{100 * value:+.1f}".replace("-", "\u2212")


def named(row: Row, found: Comparison) -> str:
    """What a row is of, with its unit; its definition shows under the pointer, and at the page's end for everybody."""
    unit = f' <span class="soft">{escape(row.unit)}</span>' if row.unit else ""
    return f'<abbr title="{escape(found.definitions.get(row.metric, ""))}">{escape(row.name)}</abbr>{unit}'


def meanings(terms: Sequence[tuple[str, str]]) -> str:
    """A list of names and what each means."""
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in terms)
    return f'<dl class="meanings">{listed}</dl>'


def _numeric(place: int, left: int) -> str:
    return "" if place < left else ' class="n"'
