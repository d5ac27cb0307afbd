"""A recorded bench as a page: rates and latencies of its stages as plots, and every figure with its definition."""

from collections.abc import Sequence
from html import escape

from wayra.lab.compare.page.charts import Point, axis_strip, bars, lines, steps, strip
from wayra.lab.compare.page.markup import meanings, section, table
from wayra.lab.compare.page.shell import document
from wayra.lab.runs import Figure, Run, Summary
from wayra.lab.runs.shown import shown

QUANTILES = (("A", "p50", "P50"), ("B", "p95", "P95"), ("C", "p99", "P99"))
"""Each with the letter whose colour it has."""
LATENCIES = (
    ("ttft", "Time to the first token"),
    ("tpot", "Time per further token"),
    ("itl", "Between tokens"),
    ("icl", "Between chunks"),
    ("e2e", "End to end"),
    ("queue", "Sent after its time"),
)
LOOP = "concurrency "


def page(run: Run, summary: Summary) -> str:
    """The whole document."""
    stages = list(dict.fromkeys(figure.group for figure in summary.figures if figure.group))
    target = run.header.name or str(run.config.get("target"))
    machine = run.header.machine
    where = (
        f"{run.header.started_utc[:16].replace('T', ' ')} UTC, {machine.get('processor')}, {machine.get('cores')} cores"
    )
    header = f'<h1>{escape(target)}</h1><p class="soft">{escape(where)}, run {escape(run.id)}, {run.status}</p>'
    content = [_rates(summary, stages), _latencies(summary, stages), _table(summary, stages), _meaning(run, summary)]
    return document(f"{target}: measured by wayra", header, "".join(content))


def _rates(summary: Summary, stages: Sequence[str]) -> str:
    name = "rate" if summary.find("rate", stages[0] if stages else "") else "output_rate"
    known = [(stage, figure) for stage in stages if (figure := summary.find(name, stage)) is not None]
    found = [(stage, Point("A", figure.value, figure.low, figure.high)) for stage, figure in known if figure.value]
    if not found:
        return ""
    columns = [stage.removeprefix(LOOP) for stage, _ in found]
    if len(found) > 1 and all(stage.startswith(LOOP) for stage, _ in found):
        plot = lines([[point for _, point in found]], columns, shown, "output tokens a second by requests at once")
        figure = f"<figure><figcaption>Output tokens a second, by requests at once</figcaption>{plot}</figure>"
        return section("Rate", "rate", f'<div class="plots">{figure}</div>')
    axis = steps(0.0, max(point.high or point.value for _, point in found))
    rows = "".join(
        f'<figure><div class="bar-row"><h3>{escape(stage)}</h3>{bars([point], axis, f"{shown(point.value)} tok/s")}'
        f'<div class="values"><span>{escape(shown(point.value))} tok/s</span></div></div></figure>'
        for stage, point in found
    )
    return section("Rate", "rate", f'<div class="plots">{rows}</div>')


def _latencies(summary: Summary, stages: Sequence[str]) -> str:
    blocks = [_latency(summary, stages, name, title) for name, title in LATENCIES]
    if not any(blocks):
        return ""
    items = "".join(f'<li><span class="key m{letter}">{text}</span></li>' for letter, _, text in QUANTILES)
    lead = "Milliseconds. Each dot is a quantile over the requests of a stage, each line its interval of 95 %."
    return section(
        "Latency", "latency", f'<ul class="legend">{items}</ul><div class="plots">{"".join(blocks)}</div>', lead
    )


def _latency(summary: Summary, stages: Sequence[str], name: str, title: str) -> str:
    rows: list[tuple[str, list[Point]]] = []
    for stage in stages:
        found = [(letter, summary.find(f"{name}_{label}", stage)) for letter, label, _ in QUANTILES]
        points = [
            Point(letter, figure.value, figure.low, figure.high)
            for letter, figure in found
            if figure is not None and figure.value is not None
        ]
        if points:
            rows.append((stage, points))
    if not rows:
        return ""
    axis = steps(0.0, max(point.high or point.value for _, points in rows for point in points))
    strips = "".join(
        f"<h3>{escape(stage)}</h3>{strip(points, axis, _said(points))}"
        f'<span class="numbers">{escape(_said(points))}</span>'
        for stage, points in rows
    )
    return f"<figure><figcaption>{escape(title)}</figcaption>{strips}{axis_strip(axis, shown)}</figure>"


def _said(points: Sequence[Point]) -> str:
    names = {letter: text for letter, _, text in QUANTILES}
    return ", ".join(f"{names[point.label]} {shown(point.value)} ms" for point in points)


def _table(summary: Summary, stages: Sequence[str]) -> str:
    names = dict.fromkeys(figure.name for figure in summary.figures if figure.group)
    rows = [
        [f'{escape(name)} <span class="soft">{escape(_unit(summary, name))}</span>',
         *(_cell(summary.find(name, stage)) for stage in stages)]
        for name in names
    ]  # fmt: skip
    heads = ["figure", *(escape(stage) for stage in stages)]
    return section("All figures", "figures", table("Every figure of every stage", heads, rows))


def _unit(summary: Summary, name: str) -> str:
    return next((figure.unit for figure in summary.figures if figure.name == name), "")


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return ""
    if figure.value is None:
        return f'<span class="unknown">{escape(figure.why or "unknown")}</span>'
    text = escape(shown(figure.value))
    if figure.low is None or figure.high is None:
        return text + (f'<span class="spread-text">{escape(figure.why)}</span>' if figure.why else "")
    return f'{text}<span class="spread-text">{escape(shown(figure.low))} to {escape(shown(figure.high))}</span>'


def _meaning(run: Run, summary: Summary) -> str:
    whole = [f for f in summary.figures if not f.group]
    facts = "".join(f"<li>{escape(f.name)}: {escape(shown(f.value))} {escape(f.unit)}</li>" for f in whole)
    notes = "".join(f"<li>{escape(note)}</li>" for note in run.header.notes)
    content = f'<ul class="notes">{facts}{notes}</ul>' if facts or notes else ""
    return section("What each figure means", "definitions", content + meanings(list(summary.used_terms().items())))
