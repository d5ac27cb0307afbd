"""The folder of all runs: makes, finds, resumes and lists them."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from wayra.base.errors import InvalidParameter, RunError
from wayra.base.settings import Settings
from wayra.lab.runs.content import MEANING
from wayra.lab.runs.header import (
    RUN_ID,
    RunFacts,
    RunHeader,
    describe_machine,
    describe_versions,
    new_id,
    utc_now,
)
from wayra.lab.runs.index import IndexEntry, RunIndex
from wayra.lab.runs.stored_run import Run
from wayra.lab.runs.writer import HEADER_NAME, RunWriter

LATEST = "latest"


class RunStore:
    """Runs below one folder. The folders are the truth; the index beside them only makes listing fast."""

    def __init__(self, root: Path | Settings) -> None:
        """root: the folder, or settings that say where it is. It is made when the first run is."""
        if isinstance(root, Settings):
            root = root.runs_dir or root.cache_dir / "runs"
        self.root = root
        self._index = RunIndex(root)

    def create(self, kind: str, config: Mapping[str, object], facts: RunFacts | None = None) -> RunWriter:
        """Begin a run. kind: "bench", "eval", ...; config: everything needed to do it again, as JSON.

        Raises RunError when the folder cannot be written, InvalidParameter when the config is no JSON.
        """
        facts = facts or RunFacts()
        header = RunHeader(
            id=new_id(kind),
            kind=kind,
            name=facts.name,
            config=_plain(config),
            definitions={**facts.definitions, "hashes": MEANING},
            seeds=dict(facts.seeds),
            hashes=dict(facts.hashes),
            machine=describe_machine(),
            versions=describe_versions(facts.packages),
            started_utc=utc_now(),
        )
        folder = self.root / header.id
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise RunError(f"{folder} cannot be made: {error.strerror}; set WAYRA_RUNS to a writable folder") from error
        return RunWriter(folder, header)

    def resume(self, run_id: str, config: Mapping[str, object] | None = None) -> RunWriter:
        """Go on with a run that was interrupted. config: when given, it must be the run's own.

        Raises RunError when there is none, when it is done, being written, or was another measurement.
        """
        run = self.open(run_id)
        if run.status == "done":
            raise RunError(f"run {run.id} is done; begin a new one")
        if config is not None and (changed := _changed_keys(run.config, _plain(config))):
            raise RunError(f"run {run.id} was made with other settings ({', '.join(changed)}); begin a new one")
        now = utc_now()
        header = replace(
            run.header, status="running", error=None, finished_utc=None, resumed_utc=(*run.header.resumed_utc, now)
        )
        return RunWriter(run.path, header)

    def open(self, run_id: str) -> Run:
        """By id, its beginning or end, by path, or "latest". Raises RunError when that is no run or several."""
        if os.sep in run_id and (Path(run_id) / HEADER_NAME).is_file():
            return Run(Path(run_id))
        ids = self.ids()
        if run_id == LATEST and ids:
            return Run(self.root / ids[-1])
        found = [run for run in ids if run_id and (run == run_id or run.startswith(run_id) or run.endswith(run_id))]
        if run_id in found:
            found = [run_id]
        if len(found) == 1:
            return Run(self.root / found[0])
        if found:
            raise RunError(f"{run_id!r} could be {len(found)} runs ({', '.join(found[:4])}); write more of the id")
        raise RunError(f"there is no run {run_id[:80]!r} in {self.root}; `wayra runs ls` lists them")

    def ids(self) -> list[str]:
        """Ids of all runs, the oldest first."""
        try:
            names = [entry.name for entry in self.root.iterdir() if RUN_ID.match(entry.name)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunError(f"{self.root} cannot be read: {error.strerror}") from error
        return sorted(name for name in names if (self.root / name / HEADER_NAME).is_file())

    def entries(self, kind: str | None = None) -> list[IndexEntry]:
        """What is known of every run without reading its records, the oldest first; damaged ones say so."""
        entries = self._index.refreshed(self.ids())
        return [entry for entry in entries if kind is None or entry.kind == kind]

    def rebuild_index(self) -> int:
        """Throw the index away and make it again from the folders; the number of runs."""
        self._index.discard()
        return len(self.entries())

    def remove(self, run_id: str) -> Path:
        """Delete a run's folder. Raises RunError when it is being written or cannot be deleted."""
        run = self.open(run_id)
        if run.status == "running":
            raise RunError(f"run {run.id} is being written; stop it first")
        try:
            shutil.rmtree(run.path)
        except OSError as error:
            raise RunError(f"{run.path} cannot be deleted: {error.strerror}") from error
        return run.path


def _plain(config: Mapping[str, object]) -> dict[str, object]:
    """The config as JSON gives it back, so that comparing it with a stored one compares like with like."""
    try:
        plain: dict[str, object] = msgspec.json.decode(msgspec.json.encode(config), type=dict[str, object])
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidParameter(f"a run's config must be JSON: {error}") from error
    return plain


def _changed_keys(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    def text(value: object) -> str:
        return json.dumps(value, sort_keys=True)

    return [key for key in sorted({*old, *new}) if text(old.get(key)) != text(new.get(key))]
