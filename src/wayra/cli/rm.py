"""`wayra rm`: delete a fetched model and the packed weights made from it, or the computed prompts on disk."""

import sys
from pathlib import Path

import click

from wayra.base.errors import InvalidParameter, ModelNotFound, WayraError
from wayra.base.settings import Settings
from wayra.cli.output import EXIT_USAGE, emit, fail, human_bytes, json_option, print_line
from wayra.weights.packed_cache import default_root, remove_checkpoint
from wayra.weights.sources import StoredModel, remembered, remove, remove_unfinished, short_name, understand

EPILOG = """\b
Examples:
  wayra rm llama3.2:1b            asks first
  wayra rm llama3.2:1b --yes      for scripts
  wayra rm --prefix-cache         the computed prompts of all models
"""


@click.command(epilog=EPILOG)
@click.argument("name", required=False)
@click.option("--prefix-cache", is_flag=True, help="Delete the computed prompts of all models instead of a model.")
@click.option("-y", "--yes", is_flag=True, help="Delete without asking.")
@json_option
@click.pass_obj
def rm(settings: Settings, name: str | None, prefix_cache: bool, yes: bool, as_json: bool) -> None:
    """Delete a model from the cache, with the packed weights made from it.

    A file or folder of your own is never deleted. With --prefix-cache nothing is asked: it is made anew by use.
    """
    if prefix_cache == (name is not None):
        raise click.UsageError("name a model, or --prefix-cache for the computed prompts; one of them")
    if name is None:
        _clear_prefixes(settings, as_json)
        return
    stored = _meant(name, settings)
    if isinstance(stored, int):
        # Nobody is asked: there was nothing yet that could be used.
        size = human_bytes(stored)
        result = {"name": name, "model": None, "freed_bytes": stored}
        emit(result, as_json, lambda: print_line(f"deleted the unfinished download of {name} ({size} freed)"))
        return
    if not yes:
        _ask(stored)
    packed_bytes = _remove_packed(stored, settings)
    freed_bytes = remove(stored, settings) + packed_bytes
    result = {"name": name, "model": stored.record.name, "freed_bytes": freed_bytes}
    emit(result, as_json, lambda: print_line(f"deleted {name} ({human_bytes(freed_bytes)} freed)"))


def _clear_prefixes(settings: Settings, as_json: bool) -> None:
    from wayra.engine.prefix_store import clear
    from wayra.llm.prefixes import prefix_root

    freed_bytes = clear(prefix_root(settings))
    result = {"freed_bytes": freed_bytes}
    emit(result, as_json, lambda: print_line(f"deleted the computed prompts ({human_bytes(freed_bytes)} freed)"))


def _meant(name: str, settings: Settings) -> StoredModel | int:
    """The model to delete; or, where a download was interrupted before there was one, the bytes of it just deleted."""
    reference = understand(name, settings)
    if isinstance(reference, Path):
        raise InvalidParameter(f"{name} is a file of yours, not one wayra fetched; delete it yourself")
    found = remembered(reference, settings)
    if len(found) == 0:
        if freed_bytes := remove_unfinished(reference, settings):
            return freed_bytes
        raise ModelNotFound(f"{name} is not in the cache; `wayra ls` lists what is")
    if len(found) > 1:
        names = ", ".join(short_name(model.record.name) for model in found)
        raise ModelNotFound(f"{name} is here several times: {names}; name one of them")
    return found[0]


def _ask(stored: StoredModel) -> None:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise fail("nobody to ask whether to delete the model; add --yes", EXIT_USAGE)
    shared = ", in the hub's cache, which other programs share" if stored.record.root is not None else ""
    size = human_bytes(stored.record.size_bytes)
    click.confirm(f"Delete {short_name(stored.record.name)} ({size}{shared})?", abort=True, err=True)


def _remove_packed(stored: StoredModel, settings: Settings) -> int:
    from wayra.weights.loader import open_checkpoint

    try:
        checkpoint = open_checkpoint(stored.path)
    except WayraError:
        # A damaged model has no digest to find its packed weights by; they are pruned when the cache grows.
        return 0
    digest = checkpoint.digest
    checkpoint.close()
    return remove_checkpoint(default_root(settings), digest)
