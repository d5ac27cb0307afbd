"""`wayra runs`: what was measured, shown, compared and handed on."""

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wayra.base.errors import WayraError
from wayra.base.settings import Settings
from wayra.cli.output import emit, human_bytes, json_option, make_console, print_line, printable, write_text
from wayra.cli.pages import html_option, write_run_page

if TYPE_CHECKING:
    from wayra.lab.runs.diff import RunDiff
    from wayra.lab.runs.index import IndexEntry

LEAST_WIDTH = 150
MAX_ERROR_CHARS = 60
EPILOG = """\b
Examples:
  wayra runs ls
  wayra runs show latest --definitions
  wayra runs diff 20261121T0754 latest
  wayra runs export latest --format csv
  wayra runs import benchmarks.json
"""


@click.group(epilog=EPILOG)
def runs() -> None:
    """List, show, compare and export recorded runs.

    A run is named by its id, the beginning or the end of it, its folder, or "latest".
    """


@runs.command("ls")
@click.option("--kind", metavar="KIND", help="Only runs of this kind: bench, eval, compare, lm_eval, inspect.")
@click.option("--rebuild", is_flag=True, help="Make the index again from the folders first.")
@json_option
@click.pass_obj
def ls(settings: Settings, kind: str | None, rebuild: bool, as_json: bool) -> None:
    """List the runs, the newest last."""
    from wayra.lab.runs import RunStore

    store = RunStore(settings)
    if rebuild:
        store.rebuild_index()
    entries = store.entries(kind)
    emit(entries, as_json, lambda: _print_entries(settings, entries))


def _print_entries(settings: Settings, entries: "list[IndexEntry]") -> None:
    from rich.table import Table

    if not entries:
        print_line("no runs yet; `wayra bench` makes one")
        return
    table = Table(box=None)
    for column in ("run", "of", "status", "requests", "size", "error"):
        table.add_column(column, no_wrap=column in ("run", "status"))
    for entry in entries:
        size = human_bytes(entry.size_bytes)
        error = printable(entry.error or "")
        error = error if len(error) <= MAX_ERROR_CHARS else error[: MAX_ERROR_CHARS - 1] + "…"
        table.add_row(entry.id, printable(entry.name), entry.status, f"{entry.num_records:,}", size, error)
    console = make_console(settings)
    console.width = max(console.width, LEAST_WIDTH)
    console.print(table)


@runs.command("show")
@click.argument("run", default="latest")
@click.option("--definitions", is_flag=True, help="Print what each number means.")
@html_option
@json_option
@click.pass_obj
def show(settings: Settings, run: str, definitions: bool, html: Path | None, as_json: bool) -> None:
    """Compute the figures of RUN from its raw records."""
    from wayra.cli import bench_report, eval_report
    from wayra.lab.runs import RunStore, summarise

    store = RunStore(settings)
    stored = store.open(run)
    summary = summarise(stored)
    if html is not None:
        write_run_page(html, stored, summary)
    if stored.kind == "compare" and not as_json:
        from wayra.cli.compare_report import print_comparison
        from wayra.lab.compare.recorded import comparison_of

        print_comparison(settings, comparison_of(store, stored), stored.id)
        return
    report = bench_report.report if stored.kind == "bench" else eval_report.report
    report(settings, stored, summary, as_json=as_json, definitions=definitions)


@runs.command("diff")
@click.argument("first")
@click.argument("second", default="latest")
@json_option
@click.pass_obj
def diff_runs(settings: Settings, first: str, second: str, as_json: bool) -> None:
    """Compare two runs: settings, machine, versions and every figure both have."""
    from wayra.lab.runs import RunStore
    from wayra.lab.runs.diff import diff

    store = RunStore(settings)
    found = diff(store.open(first), store.open(second))
    emit(found, as_json, lambda: _print_diff(settings, found))


def _print_diff(settings: Settings, found: "RunDiff") -> None:
    from rich.table import Table

    from wayra.lab.runs.shown import shown

    for field in found.fields:
        print_line(printable(f"{field.what}: {field.first} -> {field.second}"))
    table = Table("figure", "of", "first", "second", "ratio", "intervals", box=None)
    for pair in found.figures:
        apart = "" if pair.is_apart is None else "apart" if pair.is_apart else "overlap"
        ratio = "" if pair.ratio is None else f"{pair.ratio:.3f}"
        one, two = shown(pair.first.value), shown(pair.second.value)
        table.add_row(pair.first.name, printable(pair.first.group), one, two, ratio, apart)
    make_console(settings).print(table)


@runs.command("export")
@click.argument("run", default="latest")
@click.option("--format", "form", type=click.Choice(["json", "jsonl", "csv"]), default="json", show_default=True,
              help="json: everything; jsonl: the raw records; csv: the figures.")  # fmt: skip
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="A file; default: stdout.")
@click.pass_obj
def export_run(settings: Settings, run: str, form: str, output: Path | None) -> None:
    """Write RUN for other programs."""
    from wayra.lab.runs import RunStore
    from wayra.lab.runs.export import export

    pieces = export(RunStore(settings).open(run), form)
    if output is None:
        for piece in pieces:
            write_text(piece)
        sys.stdout.flush()
        return
    # A run that is damaged in the middle leaves no half of a file; a device or a pipe is written as it comes.
    is_file = output.is_file() or not output.exists()
    written = output.with_name(output.name + ".partial") if is_file else output
    try:
        with written.open("w", encoding="utf-8") as file:
            file.writelines(pieces)
        if is_file:
            written.replace(output)
    except OSError as error:
        raise WayraError(f"{output} cannot be written: {error.strerror}") from error
    finally:
        if is_file:
            with contextlib.suppress(OSError):
                written.unlink()


@runs.command("import")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@json_option
@click.pass_obj
def import_run(settings: Settings, file: Path, as_json: bool) -> None:
    """Make a run of a result FILE of guidellm or `vllm bench serve --save-detailed`."""
    from wayra.lab.importers import import_file
    from wayra.lab.runs import RunStore

    run = import_file(RunStore(settings), file)
    emit({"run": run.id, "path": run.path}, as_json, lambda: print_line(f"run {run.id}"))


@runs.command("rm")
@click.argument("run")
@json_option
@click.pass_obj
def remove(settings: Settings, run: str, as_json: bool) -> None:
    """Delete RUN."""
    from wayra.lab.runs import RunStore

    path = RunStore(settings).remove(run)
    emit({"removed": path}, as_json, lambda: print_line(f"deleted {path}"))
