"""Figures of a recorded eval: each suite's metrics with their intervals, computed from the raw records."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from wayra.lab.runs.stored_run import Run
from wayra.lab.runs.summary import Figure, Summary
from wayra.lab.scoring.grade import DEFINITIONS, found_answer, instruction_counts, metrics_of
from wayra.lab.scoring.pass_at_k import pass_at_k, reported_ks
from wayra.lab.scoring.record import EvalRecord, record_from
from wayra.lab.statistics import interval_of_alike, mean_of_scores, wilson
from wayra.lab.statistics.bootstrap import RESAMPLES
from wayra.lab.suites.task_suites import PREFIX, task_of

MAX_GROUPS = 200


@dataclass(frozen=True, slots=True)
class ItemScores:
    """What one item's samples scored. values: by metric, one a sample."""

    item: str
    group: str
    values: Mapping[str, tuple[float, ...]]

    def mean(self, metric: str) -> float:
        found = self.values[metric]
        return sum(found) / len(found)


def records_of(run: Run) -> dict[str, list[EvalRecord]]:
    """The answers by suite, in the order first asked; of one asked again the last. Raises RunError."""
    kept: dict[str, EvalRecord] = {}
    for number, line in enumerate(run.records(), start=1):
        record = record_from(line, number)
        kept[record.key] = record
    suites: dict[str, list[EvalRecord]] = {}
    for record in kept.values():
        suites.setdefault(record.suite, []).append(record)
    return suites


def scores_of(records: Iterable[EvalRecord]) -> list[ItemScores]:
    """The scored items of one suite; questions that failed are left out."""
    by_item: dict[str, list[EvalRecord]] = {}
    for record in records:
        if record.status == "ok":
            by_item.setdefault(record.item, []).append(record)
    found: list[ItemScores] = []
    for item, samples in by_item.items():
        graded = [metrics_of(sample) for sample in samples]
        names = [name for name in graded[0] if all(name in one for one in graded)]
        values = {name: tuple(one[name] for one in graded) for name in names}
        found.append(ItemScores(item, samples[0].group, values))
    return found


def summarise(run: Run) -> Summary:
    """Raises RunError naming a damaged record."""
    figures: list[Figure] = []
    for suite, records in records_of(run).items():
        figures += [_labelled(figure, suite, run) for figure in suite_figures(suite, records)]
    return Summary(tuple(figures), DEFINITIONS)


def _labelled(figure: Figure, suite: str, run: Run) -> Figure:
    """With who judged, where that was no program."""
    judge = run.config.get("judge")
    if not (isinstance(judge, str) and figure.name == "score" and figure.value is not None):
        return figure
    if not suite.startswith(PREFIX) or task_of(suite).mark_by_judge is None:
        return figure
    return replace(figure, why=f"the opinion of a language model, {judge}")


def suite_figures(suite: str, records: Sequence[EvalRecord]) -> list[Figure]:
    """The metrics of one suite, then what was left out of them."""
    scored = scores_of(records)
    figures: list[Figure] = []
    # A task may give some of its items other metrics than the rest.
    names = list(dict.fromkeys(name for one in scored for name in one.values))
    is_code = any(record.how == "code" for record in records)
    for name in names:
        having = [one for one in scored if name in one.values]
        shown = {"strict": "pass@1", "flexible": "pass@1_flexible"}.get(name, name) if is_code else name
        figures.append(_mean_figure(shown, [one.values[name] for one in having], suite))
        figures += _pass_figures(name, having, suite) if name in ("strict", "flexible") else []
        figures += _group_figures(shown, name, having, suite)
    if any(record.how == "instructions" for record in records):
        figures += _instruction_figures(records, suite)
    if not scored:
        figures.append(Figure("score", None, group=suite, why="no question was answered"))
    figures.append(Figure("items", len(scored), "questions", group=suite, count=len(scored)))
    return [*figures, *_left_out(records, suite)]


def _mean_figure(name: str, values: Sequence[tuple[float, ...]], group: str) -> Figure:
    """Wilson's interval for one right or wrong answer an item, else items resampled."""
    means = [sum(one) / len(one) for one in values]
    if all(len(one) == 1 and one[0] in (0.0, 1.0) for one in values):
        found = wilson(int(sum(means)), len(means))
    else:
        found = mean_of_scores(means)
    return Figure(name, found.value, "", found.low, found.high, group, len(means), higher_is_better=True)


def _pass_figures(name: str, scored: Sequence[ItemScores], suite: str) -> list[Figure]:
    counts = {len(one.values[name]) for one in scored}
    least = min(counts, default=1)
    figures: list[Figure] = []
    for k in reported_ks(least):
        values = [pass_at_k(len(one.values[name]), sum(value >= 1 for value in one.values[name]), k) for one in scored]
        found = mean_of_scores(values)
        shown = f"pass@{k}" if name == "strict" else f"pass@{k}_{name}"
        figures.append(Figure(shown, found.value, "", found.low, found.high, suite, len(values), higher_is_better=True))
    return figures


def _group_figures(shown: str, name: str, scored: Sequence[ItemScores], suite: str) -> list[Figure]:
    groups: dict[str, list[ItemScores]] = {}
    for one in scored:
        groups.setdefault(one.group, []).append(one)
    if not 1 < len(groups) <= MAX_GROUPS:
        return []
    means = [sum(one.mean(name) for one in members) / len(members) for members in groups.values()]
    macro = Figure(f"macro_{shown}", sum(means) / len(means), group=suite, count=len(means), higher_is_better=True)
    # The groups of a task are ways of writing questions, all of one size.
    figures = [] if suite.startswith(PREFIX) else [macro]
    for group, members in sorted(groups.items()):
        values = [one.values[name] for one in members]
        figures.append(_mean_figure(shown, values, f"{suite}/{group or 'other'}"))
    return figures


def _instruction_figures(records: Sequence[EvalRecord], suite: str) -> list[Figure]:
    """Shares of all instructions; prompts are resampled, since those of one prompt depend on each other."""
    counts = [instruction_counts(record) for record in records if record.status == "ok"]
    figures: list[Figure] = []
    for name in ("instruction_strict", "instruction_loose"):
        pairs = np.array([one[name] for one in counts], dtype=np.float64).reshape(-1, 2)
        total = float(pairs[:, 1].sum())
        if not total:
            figures.append(Figure(name, None, group=suite, why="no instruction was judged"))
            continue
        drawn = np.random.default_rng(0).integers(0, len(pairs), (RESAMPLES, len(pairs)))
        sums = pairs[drawn].sum(axis=1)
        low, high = np.quantile(sums[:, 0] / np.maximum(sums[:, 1], 1), [0.025, 0.975])
        value = float(pairs[:, 0].sum()) / total
        if low == high:
            bounds = interval_of_alike(value, len(pairs))
            low, high = bounds.low, bounds.high
        figures.append(Figure(name, value, "", float(low), float(high), suite, int(total), higher_is_better=True))
    return figures


def _left_out(records: Sequence[EvalRecord], suite: str) -> list[Figure]:
    """Counts of what makes a figure less than it seems; none when there is nothing to say."""
    answered = [record for record in records if record.status == "ok"]
    counts = {
        "failed": len(records) - len(answered),
        "truncated": sum(record.is_truncated for record in answered),
        "cut": sum(record.finish_reason == "length" for record in answered),
        "unanswered": sum(found_answer(record) is None for record in answered),
    }
    failure = next((record.failure for record in records if record.status == "failed" and record.failure), None)
    return [
        Figure(name, count, group=suite, higher_is_better=False, why=_first(failure) if name == "failed" else None)
        for name, count in counts.items()
        if count
    ]


def _first(failure: str | None) -> str | None:
    return None if failure is None else f"the first: {failure}"
