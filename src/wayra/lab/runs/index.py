"""A small SQLite file beside the runs, so that listing a thousand reads one file; it can always be made again."""

import contextlib
import sqlite3
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from wayra.base.errors import RunError
from wayra.lab.runs.stored_run import Run
from wayra.lab.runs.writer import HEADER_NAME, RECORDS_NAME

INDEX_NAME = "index.sqlite"
VERSION = 1


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One run in a list. stamp: changes whenever its files do. error: why it failed, or why it cannot be read."""

    id: str
    kind: str
    name: str
    status: str
    started_utc: str
    finished_utc: str | None
    num_records: int
    size_bytes: int
    error: str | None
    stamp: str


COLUMNS = tuple(field.name for field in fields(IndexEntry))


class RunIndex:
    """The index of one folder of runs. Never the truth: what it lacks or has wrong is read from the folders again."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / INDEX_NAME

    def refreshed(self, ids: Sequence[str]) -> list[IndexEntry]:
        """An entry for each id, in order; only runs that changed since they were indexed are read."""
        known = self._read()
        entries: list[IndexEntry] = []
        changed: list[IndexEntry] = []
        for run_id in ids:
            entry = known.get(run_id)
            if entry is None or entry.stamp != _stamp(self._root / run_id) or entry.status == "running":
                entry = _entry(self._root / run_id)
                changed.append(entry)
            entries.append(entry)
        gone = known.keys() - set(ids)
        if changed or gone:
            self._write(changed, sorted(gone))
        return entries

    def discard(self) -> None:
        """Delete the index file."""
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _read(self) -> dict[str, IndexEntry]:
        if not self._path.is_file():
            return {}
        try:
            with contextlib.closing(sqlite3.connect(self._path)) as connection:
                if connection.execute("PRAGMA user_version").fetchone() != (VERSION,):
                    self.discard()
                    return {}
                rows = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM runs").fetchall()
        except sqlite3.Error:
            self.discard()
            return {}
        return {row[0]: IndexEntry(*row) for row in rows}

    def _write(self, changed: Sequence[IndexEntry], gone: Sequence[str]) -> None:
        # A folder that cannot be written is listed without an index.
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(sqlite3.connect(self._path)) as connection,
            connection,
        ):
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS runs ({', '.join(COLUMNS)}, PRIMARY KEY (id)) WITHOUT ROWID"
            )
            marks = ", ".join("?" * len(COLUMNS))
            connection.executemany(
                f"INSERT OR REPLACE INTO runs VALUES ({marks})", [astuple(entry) for entry in changed]
            )
            connection.executemany("DELETE FROM runs WHERE id = ?", [(run_id,) for run_id in gone])


def _entry(folder: Path) -> IndexEntry:
    stamp = _stamp(folder)
    size_bytes = sum(_size(folder / name) for name in (HEADER_NAME, RECORDS_NAME))
    try:
        run = Run(folder)
    except RunError as error:
        return IndexEntry(folder.name, "?", "", "damaged", "", None, 0, size_bytes, str(error), stamp)
    header = run.header
    return IndexEntry(
        folder.name,
        header.kind,
        header.name,
        run.status,
        header.started_utc,
        header.finished_utc,
        run.count(),
        size_bytes,
        header.error,
        stamp,
    )


def _stamp(folder: Path) -> str:
    parts: list[str] = []
    for name in (HEADER_NAME, RECORDS_NAME):
        with contextlib.suppress(OSError):
            status = (folder / name).stat()
            parts.append(f"{status.st_size}.{status.st_mtime_ns}")
    return "-".join(parts)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
