"""Figures of a run of EleutherAI's harness: each task's metrics from its samples, with our intervals."""

from collections.abc import Sequence

from wayra.base.errors import RunError
from wayra.lab.runs.stored_run import Run
from wayra.lab.runs.summary import Figure, Summary, with_bounds
from wayra.lab.statistics import bootstrap_mean, mean_of_scores, wilson

DEFINITIONS = {
    "metrics": "Of EleutherAI's harness, by its own definitions: each metric of a task is the mean over its samples, "
    "with Wilson's interval where each is right or wrong, else samples resampled.",
}


def summarise(run: Run) -> Summary:
    """Raises RunError naming a damaged record. Metrics that are no mean over samples are the harness's own value."""
    values: dict[str, dict[str, list[float]]] = {}
    for number, record in enumerate(run.records(), start=1):
        metrics, task = record.get("metrics"), record.get("task")
        if not isinstance(metrics, dict) or not isinstance(task, str):
            raise RunError(f"record {number} of the run is no sample of the harness")
        for name, value in metrics.items():
            label = str(name) if record.get("filter") in (None, "none") else f"{name},{record['filter']}"
            if isinstance(value, int | float):
                values.setdefault(task, {}).setdefault(label, []).append(float(value))
    figures: list[Figure] = []
    for task, by_name in values.items():
        for name, found in by_name.items():
            figures.append(mean_figure(name, found, task))
    terms = {f.name: f"{DEFINITIONS['metrics']} This one: {f.name}." for f in figures}
    own = _own_values(run, values)
    terms |= {f.name: f"The harness's own value of {f.name}, which is no mean over samples." for f in own}
    return Summary((*figures, *own), terms)


def mean_figure(name: str, values: Sequence[float], group: str) -> Figure:
    """A metric's mean: Wilson's interval where each is right or wrong, else resampled; 0 to 1 is a share's bounds."""
    if all(value in (0.0, 1.0) for value in values):
        found = wilson(int(sum(values)), len(values))
    elif all(0 <= value <= 1 for value in values):
        found = mean_of_scores(values)
    else:
        found = bootstrap_mean(values)
    figure = Figure(name, found.value, group=group, count=len(values), higher_is_better=True)
    return with_bounds(figure, found.low, found.high)


def _own_values(run: Run, known: dict[str, dict[str, list[float]]]) -> list[Figure]:
    """What the harness computed otherwise than by averaging (a perplexity of all texts together, a group's mean)."""
    results = run.header.facts.get("results")
    figures: list[Figure] = []
    for task, metrics in results.items() if isinstance(results, dict) else ():
        for name, value in metrics.items() if isinstance(metrics, dict) else ():
            label = str(name).removesuffix(",none")
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if is_number and "_stderr" not in label and label not in known.get(task, {}) and label != "sample_len":
                figures.append(Figure(label, float(value), group=str(task)))
    return figures
