"""Figures of an eval for people and programs, and its progress on a terminal."""

import sys
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from wayra.base.errors import WayraError
from wayra.base.settings import Settings
from wayra.cli.output import emit, make_console, print_line, printable

if TYPE_CHECKING:
    from wayra.lab.runs import Figure, Run, Summary
    from wayra.lab.scoring.record import EvalRecord

COUNTS = ("items", "failed", "truncated", "cut", "unanswered")


class LiveEval:
    """A bar on the terminal's stderr: the suite, answers so far, the time left."""

    def __init__(self, settings: Settings, is_shown: bool) -> None:
        self._settings = settings
        self._is_shown = is_shown and sys.stderr.isatty()
        self._done = self._failed = 0

    def __enter__(self) -> Self:
        if self._is_shown:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=make_console(self._settings, stderr=True), transient=True)
            self._task = self._bar.add_task("loading", total=None)
            self._bar.start()
        return self

    def told(self, suite: str, record: "EvalRecord | None", total: int) -> None:
        """A suite that begins, or an answer that came."""
        if not self._is_shown:
            return
        if record is None:
            self._done = self._failed = 0
            self._bar.reset(self._task)
        else:
            self._done += 1
            self._failed += record.status == "failed"
        failed = f", {self._failed} failed" if self._failed else ""
        self._bar.update(self._task, completed=self._done, total=total, description=f"{printable(suite)}{failed}")

    def counted(self, done: int, total: int) -> None:
        """Answers that another harness has, of those it asks for now."""
        if self._is_shown:
            self._bar.update(self._task, completed=done, total=total, description="lm-eval")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_shown:
            self._bar.stop()


def report(settings: Settings, run: "Run", summary: "Summary", *, as_json: bool, definitions: bool) -> None:
    """An eval's figures on stdout: one table, or one JSON object with everything."""
    from wayra.cli.bench_report import run_json

    emit(run_json(run, summary), as_json, lambda: _print(settings, run, summary, definitions))


def write_json(path: Path, run: "Run", summary: "Summary") -> None:
    """What --json prints, to a file. Raises WayraError when it cannot be written."""
    import msgspec

    from wayra.cli.bench_report import run_json

    content = msgspec.json.format(msgspec.json.encode(run_json(run, summary)), indent=2)
    try:
        path.write_bytes(content + b"\n")
    except OSError as error:
        raise WayraError(f"{path} cannot be written: {error.strerror}; the run itself is {run.id}") from error


def _print(settings: Settings, run: "Run", summary: "Summary", definitions: bool) -> None:
    from rich.table import Table

    from wayra.cli.bench_report import print_definitions

    groups = dict.fromkeys(figure.group for figure in summary.figures)
    # Subjects are left to --json; Inspect's tasks have such names too (inspect_evals/apps), and belong to no suite.
    suites = [group for group in groups if "/" not in group or group.partition("/")[0] not in groups]
    table = Table("suite", "metric", "value", "95 % interval", "of", box=None)
    for suite in suites:
        figures = [figure for figure in summary.figures if figure.group == suite and figure.name not in COUNTS]
        for place, figure in enumerate(figures):
            table.add_row(printable(suite) if place == 0 else "", figure.name, *_cells(figure))
    make_console(settings).print(table)
    for suite in suites:
        opinions = [f for f in summary.figures if f.group == suite and f.name not in COUNTS and f.value is not None]
        for figure in (one for one in opinions if one.why is not None):
            print_line(printable(f"{suite}: {figure.name} is {figure.why}"))
        left_out = [figure for figure in summary.figures if figure.group == suite and figure.name in COUNTS[1:]]
        for figure in left_out:
            why = "" if figure.why is None else f"; {figure.why}"
            print_line(printable(f"{suite}: {figure.value:,.0f} {summary.terms.get(figure.name, figure.name)}{why}"))
    for note in run.header.notes:
        print_line(f"note: {printable(note)}")
    print_line(f"run {run.id} ({run.status})")
    if definitions:
        print_definitions(summary.used_terms())


def _cells(figure: "Figure") -> tuple[str, str, str]:
    if figure.value is None:
        return "unknown", figure.why or "", ""
    bounds = figure.why or ""
    if figure.low is not None and figure.high is not None:
        bounds = f"{100 * figure.low:.1f} to {100 * figure.high:.1f}"
    return f"{100 * figure.value:.1f} %", bounds, str(figure.count or "")
