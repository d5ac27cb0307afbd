"""A bar on the terminal for whatever a fetch reports; nothing at all where stderr is not a terminal."""

import sys
from typing import TYPE_CHECKING

from wayra.base.settings import Settings
from wayra.cli.output import make_console, printable
from wayra.weights.sources import Progress, Silent

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress


def make_progress(settings: Settings) -> Progress:
    """What to hand to `resolve` or `pull`. rich is imported only once something is fetched."""
    return Bar(settings) if sys.stderr.isatty() else Silent()


class Bar:
    """One line on stderr, gone when the step is over."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._display: RichProgress | None = None
        self._total_bytes: int | None = None

    def began(self, what: str, total_bytes: int | None) -> None:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        self.ended()
        columns = [TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn()]
        self._total_bytes = total_bytes
        self._display = Progress(*columns, console=make_console(self._settings, stderr=True), transient=True)
        self._display.add_task(printable(what), total=total_bytes)
        self._display.start()

    def moved(self, done_bytes: int) -> None:
        if self._display is not None and self._display.task_ids:
            done = done_bytes if self._total_bytes is None else min(done_bytes, self._total_bytes)
            self._display.update(self._display.task_ids[0], completed=done)

    def ended(self) -> None:
        if self._display is not None:
            self._display.stop()
            self._display = None
