"""`wayra ls`: the models on this machine, or the names wayra knows."""

from collections.abc import Sequence

import click

from wayra.base.settings import Settings
from wayra.cli.output import emit, human_bytes, json_option, print_line, printable
from wayra.weights.sources import ALIASES, ModelStore, StoredModel, short_name

EPILOG = """\b
Examples:
  wayra ls                    what is on this machine
  wayra ls --available        the short names wayra knows
  wayra ls --json | jq -r '.models[].path'
"""


@click.command(epilog=EPILOG)
@click.option("--available", is_flag=True, help="List the short names that can be pulled, here or not.")
@json_option
@click.pass_obj
def ls(settings: Settings, available: bool, as_json: bool) -> None:
    """List the models on this machine."""
    models = ModelStore(settings.cache_dir).all()
    if available:
        _print_available({model.record.name for model in models}, as_json)
        return
    rows = [_row(model) for model in models]
    emit({"models": rows}, as_json, lambda: _print_models(models))


def _row(model: StoredModel) -> dict[str, object]:
    record = model.record
    return {
        "name": short_name(record.name),
        "model": record.name,
        "format": record.format,
        "size_bytes": record.size_bytes,
        "source": record.source,
        "fetched_at": record.fetched_at,
        "path": model.path,
    }


def _print_models(models: Sequence[StoredModel]) -> None:
    if not models:
        print_line("no models yet; `wayra pull` fetches the default one, `wayra ls --available` lists names")
        return
    records = [model.record for model in models]
    rows = [(short_name(r.name), human_bytes(r.size_bytes), r.format, r.source, r.fetched_at[:10]) for r in records]
    _print_table(("NAME", "SIZE", "FORMAT", "SOURCE", "FETCHED"), rows)


def _print_available(here: set[str], as_json: bool) -> None:
    rows = [
        {
            "name": alias.name,
            "title": alias.title,
            "parameters": alias.parameters,
            "download_bytes": alias.download_bytes,
            "licence": alias.licence,
            "target": alias.target,
            "here": alias.target in here,
        }
        for alias in ALIASES.values()
    ]
    lines = [
        (a.name, a.title, human_bytes(a.download_bytes), a.licence, "yes" if a.target in here else "")
        for a in ALIASES.values()
    ]
    titles = ("NAME", "MODEL", "DOWNLOAD", "LICENCE", "HERE")
    emit({"available": rows}, as_json, lambda: _print_table(titles, lines))


def _print_table(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    cells = [titles, *(tuple(printable(cell) for cell in row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(titles))]
    for row in cells:
        print_line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
