"""How well the models answer: each benchmark's scores and difference as plots, and what would settle the open ones."""

from html import escape

from wayra.lab.compare.page.charts import Axis, Point, axis_strip, steps, strip
from wayra.lab.compare.page.markup import difference, key, legend, points, section, table
from wayra.lab.compare.quality import ASSUMED_DELTA, Tested
from wayra.lab.compare.tables import Cell, Comparison

SHARES = Axis(0.0, 1.0, (0.0, 0.25, 0.5, 0.75, 1.0))


def answers(found: Comparison) -> str:
    """Nothing where no benchmark was asked."""
    if not found.tested:
        return ""
    pairs = list(dict.fromkeys((one.first, one.second) for one in found.tested))
    blocks = [_pair(found, first, second, is_only=len(pairs) == 1) for first, second in pairs]
    lead = (
        "Each dot is a mean score, each line its interval of 95 %. A difference is tested item by item, as both "
        "answered the same questions, and all tests are corrected together: a difference whose line is clear of zero "
        "may still be chance among so many."
    )
    judged = ""
    if found.judge is not None and "task:writing" in {one.suite for one in found.tested}:
        judged = (
            f'<p class="soft">Creative writing is judged by a language model, {escape(found.judge)}, in both orders; '
            "everything else by programs.</p>"
        )
    return section("Answers", "answers", judged + legend(found.names) + "".join(blocks), lead)


def open_questions(found: Comparison) -> str:
    """What was not settled, with the number of items that would."""
    unsettled = [one for one in found.tested if not one.is_significant]
    if not unsettled:
        return ""
    has_pairs = len(found.names) > 2
    rows = [_open(found, one, has_pairs=has_pairs) for one in unsettled]
    lead = (
        "How many questions would show the difference that was seen, if it is real, four times in five. Where none was "
        f"seen, one of {100 * ASSUMED_DELTA:.0f} points is meant."
    )
    heads = ["benchmark", *(["models"] if has_pairs else []), "asked", "difference", "would settle it"]
    shown = table("Benchmarks that are not settled", heads, rows, 2 if has_pairs else 1)
    return section("Open questions", "open", shown, lead)


def _pair(found: Comparison, first: str, second: str, *, is_only: bool) -> str:
    tested = [one for one in found.tested if (one.first, one.second) == (first, second)]
    widest = max(0.05, *(abs(bound) for one in tested for bound in (one.low, one.high)))
    half = steps(0.0, min(1.0, widest), 2)
    axis = Axis(-half.high, half.high, (-half.high, -half.high / 2, 0.0, half.high / 2, half.high), zero=0.0)
    heads = ("benchmark", "score", f"difference, {second} \u2212 {first}, points", "p after Holm")
    head = "".join(f'<span role="columnheader"{" class=last" if place == 3 else ""}>{escape(text)}</span>'
                   for place, text in enumerate(heads))  # fmt: skip
    rows = "".join(_line(found, one, axis) for one in tested)
    feet = ("", axis_strip(SHARES, _whole), axis_strip(axis, _signed), "")
    foot = "".join(f'<span role="cell">{text}</span>' for text in feet)
    title = "" if is_only else f"<h3>{key(first)} and {key(second)}</h3>"
    name = escape(f"Scores of {first} and {second}")
    return (
        f'{title}<div class="answers" role="table" aria-label="{name}"><div class="head" role="row">{head}</div>{rows}'
        f'<div class="foot" role="row" aria-hidden="true">{foot}</div></div>'
    )


def _line(found: Comparison, one: Tested, axis: Axis) -> str:
    own = _own(found, one)
    shown = [
        Point(label, value, cell.low, cell.high)
        for label, value, cell in zip((one.first, one.second), (one.first_value, one.second_value), own, strict=True)
    ]
    numbers = " against ".join(points(point.value) for point in shown)
    scores = strip(shown, SHARES, f"{one.first} {numbers} {one.second} of 100")
    better = one.second if one.difference > 0 else one.first
    tone = better if one.difference else ""
    mark = Point(tone, one.difference, one.low, one.high)
    bounds = f"{difference(one.low)} to {difference(one.high)}"
    told = f"{difference(one.difference)} ({'' if one.differing else 'no item differs; '}{bounds})"
    tag = (
        f'<span class="tag yes">{escape(better)} is better</span>'
        if one.is_significant
        else '<span class="tag">open</span>'
    )
    title = found.titles.get(one.suite, one.suite)
    return (
        f'<div role="row"><span role="rowheader">{escape(title)}<span class="numbers">{_metric(found, one)}, '
        f"{one.count:,} items</span></span>"
        f'<span role="cell" data-what="score">{scores}<span class="numbers">{_numbers(shown)}</span></span>'
        f'<span role="cell" data-what="difference, points">'
        f"{strip([mark], axis, told, is_quiet=not one.is_significant)}"
        f'<span class="numbers">{escape(told)}</span></span>'
        f'<span role="cell" class="last">{tag}<span class="numbers">p = {one.adjusted_p:.2g}</span></span></div>'
    )


def _whole(value: float) -> str:
    return f"{100 * value:g}"


def _signed(value: float) -> str:
    return f"{100 * value:+g}".replace("-", "\u2212") if value else "0"


def _metric(found: Comparison, one: Tested) -> str:
    is_judged = found.judge is not None and one.suite == "task:writing" and one.metric == "score"
    return "judged" if is_judged else escape(one.metric.replace("_", " "))


def _numbers(shown: list[Point]) -> str:
    return " &nbsp; ".join(f"{escape(point.label)} {points(point.value)}" for point in shown)


def _own(found: Comparison, one: Tested) -> tuple[Cell, Cell]:
    """Each model's own interval of this benchmark."""
    labels = list(found.names)
    row = next((row for row in found.scores if row.name == one.suite), None)
    if row is None:
        return Cell(), Cell()
    return row.cells[labels.index(one.first)], row.cells[labels.index(one.second)]


def _open(found: Comparison, one: Tested, *, has_pairs: bool) -> list[str]:
    items = "no number: every answer scored alike" if one.settling_items is None else ""
    if one.settling_items is not None and one.settling_delta is not None:
        items = f"{max(one.settling_items, one.count):,} items for {100 * one.settling_delta:.1f} points"
    title = found.titles.get(one.suite, one.suite)
    models = [f"{key(one.first)} {key(one.second)}"] if has_pairs else []
    return [escape(title), *models, f"{one.count:,}", difference(one.difference), escape(items)]
