"""`wayra pull`: fetch a model, or check the one that is here."""

import click

from wayra.base.settings import Settings
from wayra.cli.output import emit, human_bytes, json_option, print_line
from wayra.cli.progress import make_progress
from wayra.weights.sources import DEFAULT_MODEL
from wayra.weights.sources import pull as fetch

EPILOG = """\b
Examples:
  wayra pull                                      the default model
  wayra pull llama3.2:1b                          an alias, see `wayra ls --available`
  wayra pull bartowski/Llama-3.2-1B-Instruct-GGUF:Q8_0
  wayra pull hf://org/repo/file.gguf              one file of a repository
  HF_TOKEN=... wayra pull meta-llama/Llama-3.2-1B-Instruct
"""


@click.command(epilog=EPILOG)
@click.argument("name", default=DEFAULT_MODEL)
@json_option
@click.pass_obj
def pull(settings: Settings, name: str, as_json: bool) -> None:
    """Fetch a model into the cache.

    An interrupted download is resumed where the source allows it. A model that is here already is hashed again, and
    fetched again if it is damaged.
    """
    stored, fetched = fetch(name, settings, progress=make_progress(settings))
    result = {
        "name": name,
        "model": stored.record.name,
        "source": stored.record.source,
        "format": stored.record.format,
        "path": stored.path,
        "size_bytes": stored.record.size_bytes,
        "fetched": fetched,
    }
    what = "fetched and checked" if fetched else "already here, and intact"
    size = human_bytes(stored.record.size_bytes)
    emit(result, as_json, lambda: print_line(f"{name}: {what} ({stored.record.format}, {size})\n{stored.path}"))
