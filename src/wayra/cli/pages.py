"""Writes the pages of recorded runs: `--html FILE`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wayra.base.errors import InvalidParameter, WayraError

if TYPE_CHECKING:
    from wayra.lab.runs import Run, Summary

html_option = click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write a page with plots, complete in itself.",
)


def check_writable(path: Path | None) -> None:
    """Before what takes minutes. Raises WayraError."""
    if path is None:
        return
    if not path.parent.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise WayraError(f"{path} cannot be written: its folder does not exist or is read-only")


def write_page(path: Path, text: str) -> None:
    """Raises WayraError when the disk refuses."""
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise WayraError(f"{path} cannot be written: {error.strerror}") from error


def write_run_page(path: Path, run: "Run", summary: "Summary") -> None:
    """Of a bench or a comparison. Raises InvalidParameter for other kinds of runs."""
    if run.kind == "bench":
        from wayra.lab.bench.page import page as bench_page

        write_page(path, bench_page(run, summary))
    elif run.kind == "compare":
        from wayra.lab.compare.page import page as compare_page
        from wayra.lab.compare.recorded import comparison_of
        from wayra.lab.runs import RunStore

        write_page(path, compare_page(comparison_of(RunStore(run.path.parent), run), run.id))
    else:
        raise InvalidParameter(f"run {run.id} is a {run.kind}; pages are of bench and compare")
