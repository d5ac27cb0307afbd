"""How fast the models are and what memory they hold: bars, lines over the batch size, and a table with the ratios."""

from collections.abc import Sequence
from html import escape

from wayra.lab.compare.page.charts import Point, bars, lines, steps
from wayra.lab.compare.page.markup import cell_text, key, legend, named, section, table
from wayra.lab.compare.tables import Comparison, Raced, Row
from wayra.lab.runs.shown import shown

CURVES = (
    ("output_rate", "Output tokens a second"),
    ("ttft_p50", "Time to the first token, median, ms"),
    ("tpot_p50", "Time per further token, median, ms"),
)
LOOP = "concurrency "


def speed(found: Comparison) -> str:
    rows = found.tables.get("Speed", ())
    if not rows:
        return ""
    labels = list(found.names)
    rates = [row for row in rows if row.metric == "rate"]
    figures = [_rate_bars(row, labels) for row in rates]
    plots = "".join(_curve(rows, labels, metric, title) for metric, title in CURVES)
    if found.raced:
        lead = (
            "Measured in turns, so that what else the machine did meets all models alike. Values are medians of the "
            "rounds, bounds the slowest and the fastest round."
        )
    else:
        lead = "From separate runs, one after another: what else the machine did is in these figures."
    content = legend(found.names)
    content += f'<div class="plots">{"".join(figures)}</div>' if figures else ""
    content += f'<h3>By batch size: requests at once</h3><div class="plots">{plots}</div>' if plots else ""
    return section("Speed", "speed", content + _table(found, rows, labels), lead)


def memory(found: Comparison) -> str:
    rows = found.tables.get("Memory held while running", ())
    if not rows:
        return ""
    labels = list(found.names)
    figures = "".join(_rate_bars(row, labels) for row in rows)
    lead = "Held by the engine in this process while it was measured; a server's memory is not known."
    return section("Memory", "memory", f'<div class="plots">{figures}</div>', lead)


def _rate_bars(row: Row, labels: Sequence[str]) -> str:
    present = [
        Point(label, cell.value, cell.low, cell.high)
        for label, cell in zip(labels, row.cells, strict=True)
        if cell.value is not None
    ]
    if not present:
        return ""
    axis = steps(0.0, max(point.high or point.value for point in present))
    said = f"{row.name}: " + ", ".join(f"{p.label} {shown(p.value)} {row.unit}" for p in present)
    values = "".join(f"<span>{escape(shown(point.value))} {escape(row.unit)}</span>" for point in present)
    return (
        f'<figure><div class="bar-row"><h3>{escape(row.name)}</h3>{bars(present, axis, said)}'
        f'<div class="values">{values}</div></div></figure>'
    )


def _curve(rows: Sequence[Row], labels: Sequence[str], metric: str, title: str) -> str:
    own = [row for row in rows if row.metric == metric and row.stage.startswith(LOOP)]
    if len(own) < 2:
        return ""
    own.sort(key=lambda row: int(row.stage.removeprefix(LOOP)))
    series = [
        [
            None if (value := row.cells[place].value) is None
            else Point(label, value, row.cells[place].low, row.cells[place].high)
            for row in own
        ]
        for place, label in enumerate(labels)
    ]  # fmt: skip
    said = f"{title} by requests at once; the figures are in the table below"
    columns = [row.stage.removeprefix(LOOP) for row in own]
    return f"<figure><figcaption>{escape(title)}</figcaption>{lines(series, columns, shown, said)}</figure>"


def _table(found: Comparison, rows: Sequence[Row], labels: Sequence[str]) -> str:
    pairs = list(dict.fromkeys((one.first, one.second) for one in found.raced))
    heads = ["speed", *(key(label) for label in labels)]
    heads += [f"{key(second)} / {key(first)}" for first, second in pairs]
    by_name = {(one.name, one.first, one.second): one for one in found.raced}
    body = [
        [
            named(row, found),
            *(cell_text(cell) for cell in row.cells),
            *(_ratio(by_name.get((row.name, *pair))) for pair in pairs),
        ]
        for row in rows
    ]
    title = "All speeds" + (", and the ratio of each two models with its interval of 95 %" if pairs else "")
    return table(title, heads, body)


def _ratio(one: Raced | None) -> str:
    if one is None:
        return '<span class="unknown">not tested</span>'
    tag = ' <span class="tag yes">significant</span>' if one.is_significant else ""
    return f'{one.ratio:.2f}{tag}<span class="spread-text">{one.low:.2f} to {one.high:.2f}</span>'
