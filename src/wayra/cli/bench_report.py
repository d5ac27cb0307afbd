"""How runs are shown: progress while one goes on, tables of its figures, plain bars."""

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from wayra.base.settings import Settings
from wayra.cli.output import emit, make_console, print_line, printable
from wayra.lab.latency.record import RequestRecord
from wayra.lab.runs.shown import shown

if TYPE_CHECKING:
    from wayra.lab.runs import Figure, Run, Summary

LATENCIES = ("ttft", "tpot", "itl", "icl", "e2e", "queue")
BAR_WIDTH = 40
LEAST_WIDTH = 100


class LiveProgress:
    """A line on the terminal's stderr with what has ended so far; nothing where there is no terminal."""

    def __init__(self, settings: Settings, is_shown: bool) -> None:
        self._settings = settings
        self._is_shown = is_shown and sys.stderr.isatty()
        self._done = self._failed = self._tokens = 0

    def __enter__(self) -> Self:
        if self._is_shown:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=make_console(self._settings, stderr=True), transient=True)
            self._task = self._bar.add_task("connecting", total=None)
            self._bar.start()
        return self

    def told(self, stage: str, record: RequestRecord | None, total: int) -> None:
        """What the bench reports: a stage that begins, or a record that ended."""
        if not self._is_shown:
            return
        if record is None:
            self._done = self._failed = self._tokens = 0
        else:
            self._done += 1
            self._failed += record.status == "failed"
            self._tokens += record.completion_tokens or 0
        described = f"{stage}: {self._tokens:,} tokens" + (f", {self._failed} failed" if self._failed else "")
        self._bar.update(self._task, completed=self._done, total=total, description=described)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_shown:
            self._bar.stop()


def report(settings: Settings, run: "Run", summary: "Summary", *, as_json: bool, definitions: bool) -> None:
    """A run's figures on stdout: tables and bars, or one JSON object with everything."""
    emit(run_json(run, summary), as_json, lambda: _print(settings, run, summary, definitions))


def run_json(run: "Run", summary: "Summary") -> dict[str, object]:
    """The run as `--json` gives it: header, figures, and what each figure and each number among the facts means."""
    from wayra.lab.runs.definitions import facts_in

    header = run.header
    return {
        "run": run.id,
        "kind": run.kind,
        "status": run.status,
        "path": str(run.path),
        "config": header.config,
        "machine": header.machine,
        "versions": header.versions,
        "seeds": header.seeds,
        "hashes": header.hashes,
        "started_utc": header.started_utc,
        "finished_utc": header.finished_utc,
        "resumed_utc": header.resumed_utc,
        "facts": header.facts,
        "notes": header.notes,
        "figures": summary.figures,
        "definitions": {**facts_in(header.facts), **summary.definitions()},
    }


def print_definitions(definitions: Mapping[str, str]) -> None:
    """One paragraph a number."""
    for name, meaning in definitions.items():
        print_line(f"{name}: {meaning}")


def _print(settings: Settings, run: "Run", summary: "Summary", definitions: bool) -> None:
    stages = list(dict.fromkeys(figure.group for figure in summary.figures if figure.group))
    if run.config.get("mode") == "model":
        _print_model(settings, summary, stages)
    else:
        for stage in stages:
            _print_stage(settings, stage, [f for f in summary.figures if f.group == stage])
        _print_bars(summary, stages)
    for figure in summary.figures:
        if not figure.group:
            print_line(f"{figure.name}: {shown(figure.value)} {figure.unit}")
    for note in run.header.notes:
        print_line(f"note: {printable(note)}")
    print_line(f"run {run.id} ({run.status})")
    if definitions:
        print_definitions(summary.used_terms())


def _print_model(settings: Settings, summary: "Summary", stages: list[str]) -> None:
    from rich.table import Table

    table = Table("test", "tokens/s", "95 % interval", "deviation", "repeats", "% of limit", box=None)
    for stage in stages:
        rate, spread = summary.find("rate", stage), summary.find("deviation", stage)
        share = summary.find("limit_share", stage)
        if rate is None:
            continue
        table.add_row(
            stage,
            shown(rate.value),
            _interval(rate) or rate.why or "",
            shown(spread.value if spread else None),
            str(rate.count or 0),
            "unknown" if share is None or share.value is None else f"{100 * share.value:.0f} %",
        )
    make_console(settings).print(table)


def _print_stage(settings: Settings, stage: str, figures: "list[Figure]") -> None:
    from rich.table import Table

    by_name = {figure.name: figure for figure in figures}
    print_line(printable(stage))
    told = [f for f in figures if not f.name.startswith(tuple(f"{name}_p" for name in LATENCIES))]
    for figure in told:
        bounds = f"  ({_interval(figure)})" if figure.low is not None else ""
        print_line(f"  {figure.name:<18} {shown(figure.value)} {figure.unit}{bounds}{_why(figure)}")
    table = Table("ms", "P50", "P95", "P99", box=None, padding=(0, 2))
    unknown: list[str] = []
    for name in LATENCIES:
        found = [by_name.get(f"{name}_{label}") for label in ("p50", "p95", "p99")]
        present = [figure for figure in found if figure is not None]
        if len(present) < 3:
            continue
        if present[0].value is None:
            unknown.append(f"  {name} unknown: {present[0].why or ''}")
        else:
            table.add_row(name, *(_with_interval(figure) for figure in present))
    if table.row_count:
        console = make_console(settings)
        # Into a pipe or a narrow window whole cells are worth more than folded ones.
        console.width = max(console.width, LEAST_WIDTH)
        console.print(table)
    for line in unknown:
        print_line(line)


def _print_bars(summary: "Summary", stages: list[str]) -> None:
    """Output rate of each stage as a bar, when there are several."""
    rates = {stage: figure.value or 0.0 for stage in stages if (figure := summary.find("output_rate", stage))}
    if len(rates) < 2 or max(rates.values()) <= 0:
        return
    print_line("output tokens/s")
    for stage, rate in rates.items():
        bar = "█" * round(BAR_WIDTH * rate / max(rates.values()))
        print_line(f"  {stage:<18} {bar} {shown(rate)}")


def _interval(figure: "Figure") -> str:
    return "" if figure.low is None or figure.high is None else f"{shown(figure.low)} to {shown(figure.high)}"


def _with_interval(figure: "Figure") -> str:
    bounds = _interval(figure) or figure.why
    return shown(figure.value) + (f" ({bounds})" if bounds else "")


def _why(figure: "Figure") -> str:
    return f" ({figure.why})" if figure.why else ""
