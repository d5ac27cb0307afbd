"""`wayra verify`: hash models again, compare with what was recorded when they were fetched, and parse them fully."""

from dataclasses import dataclass
from pathlib import Path

import click

from wayra.base.errors import IntegrityError, ModelNotFound, UnsupportedModel, WayraError
from wayra.base.settings import Settings
from wayra.cli.output import emit, human_bytes, json_option, print_line, printable
from wayra.cli.progress import make_progress
from wayra.weights.sources import (
    ModelStore,
    Progress,
    StoredModel,
    check_files,
    remembered,
    sha256_of,
    short_name,
    understand,
)

EPILOG = """\b
Examples:
  wayra verify                    every model in the cache
  wayra verify llama3.2:1b        one of them
  wayra verify ./model.gguf       a file of your own: prints its SHA-256 and parses it
"""


@dataclass(frozen=True, slots=True)
class VerifiedFile:
    """sha256: what the file hashes to now, None when it cannot be read. expected: None where nothing was recorded."""

    path: Path
    size_bytes: int
    sha256: str | None
    expected: str | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """problem: None when the model is sound, else what is damaged. unsupported: why wayra cannot run a sound one."""

    name: str
    files: tuple[VerifiedFile, ...]
    problem: str | None
    unsupported: str | None = None

    @property
    def is_recorded(self) -> bool:
        return any(file.expected is not None for file in self.files)


@click.command(epilog=EPILOG)
@click.argument("names", metavar="[NAME]...", nargs=-1)
@json_option
@click.pass_obj
def verify(settings: Settings, names: tuple[str, ...], as_json: bool) -> None:
    """Check models: their bytes against the recorded hashes, and their structure by a full parse.

    Exits with 1 when anything is damaged. A path without a record is parsed, and its SHA-256 printed.
    """
    progress = make_progress(settings)
    wanted = names or tuple(short_name(model.record.name) for model in ModelStore(settings.cache_dir).all())
    verdicts = [_verdict(name, settings, progress) for name in wanted]
    damaged = [verdict for verdict in verdicts if verdict.problem is not None]
    emit({"ok": not damaged, "models": verdicts}, as_json, lambda: _print(verdicts))
    if damaged:
        what = damaged[0].problem if len(verdicts) == 1 else f"{len(damaged)} of {len(verdicts)} models are damaged"
        # The readers' own sentences say what to do; a hash that differs does not.
        remedy = f"; `wayra pull {damaged[0].name}` fetches it again" if damaged[0].is_recorded else ""
        raise IntegrityError(f"{what}{remedy}")


def _verdict(name: str, settings: Settings, progress: Progress) -> Verdict:
    reference = understand(name, settings)
    if isinstance(reference, Path):
        recorded = [m for m in ModelStore(settings.cache_dir).all() if m.path.absolute() == reference.absolute()]
        return _check_record(name, recorded[0], progress) if recorded else _check_path(name, reference)
    found = remembered(reference, settings)
    if len(found) == 0:
        raise ModelNotFound(f"{name} is not in the cache; `wayra ls` lists what is, `wayra pull {name}` fetches it")
    if len(found) > 1:
        several = ", ".join(short_name(model.record.name) for model in found)
        raise ModelNotFound(f"{name} is here several times: {several}; name one of them")
    return _check_record(name, found[0], progress)


def _check_record(name: str, stored: StoredModel, progress: Progress) -> Verdict:
    checks = check_files(stored, progress)
    files = tuple(VerifiedFile(stored.root / c.file.path, c.file.size, c.found, c.file.sha256) for c in checks)
    bad = [check for check in checks if not check.is_intact]
    if bad:
        seen = f"has SHA-256 {bad[0].found}, expected {bad[0].file.sha256}" if bad[0].found else "cannot be read"
        return Verdict(name, files, f"{bad[0].file.path} {seen}")
    return _parsed(name, files, stored.path)


def _check_path(name: str, path: Path) -> Verdict:
    from wayra.weights.loader import open_checkpoint

    try:
        checkpoint = open_checkpoint(path)
    except UnsupportedModel as error:
        file = VerifiedFile(path, path.stat().st_size, sha256_of(path), None)
        return Verdict(name, (file,), None, str(error))
    except WayraError as error:
        return Verdict(name, (), str(error))
    paths = checkpoint.paths
    checkpoint.close()
    files = tuple(VerifiedFile(file, file.stat().st_size, sha256_of(file), None) for file in paths)
    return _parsed(name, files, path)


def _parsed(name: str, files: tuple[VerifiedFile, ...], path: Path) -> Verdict:
    """What a full parse says: every tensor is assigned to its slot, no weight is computed with."""
    from wayra.weights.loader import load_weights, model_spec, open_checkpoint

    try:
        checkpoint = open_checkpoint(path)
        try:
            load_weights(checkpoint, model_spec(checkpoint))
        finally:
            checkpoint.close()
    except UnsupportedModel as error:
        return Verdict(name, files, None, str(error))
    except WayraError as error:
        return Verdict(name, files, str(error))
    return Verdict(name, files, None)


def _print(verdicts: list[Verdict]) -> None:
    if not verdicts:
        print_line("no models to check; `wayra pull` fetches the default one")
    for verdict in verdicts:
        state = "intact" if verdict.problem is None else f"DAMAGED: {verdict.problem}"
        if verdict.unsupported is not None:
            state = f"intact, but wayra cannot run it: {verdict.unsupported}"
        print_line(printable(f"{verdict.name}: {state}"))
        for file in verdict.files:
            against = (
                "as recorded" if file.expected == file.sha256 else "no record" if file.expected is None else "differs"
            )
            line = f"  {file.sha256 or 'unreadable'}  {file.path.name} ({human_bytes(file.size_bytes)}, {against})"
            print_line(printable(line))
