"""Writes one run: each record is in the file when `append` returns, so that a kill loses nothing that was measured."""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from wayra.base.errors import RunError, WayraError
from wayra.lab.runs.header import RunHeader, Status, utc_now, write_header
from wayra.lab.runs.jsonl import read_lines, whole_bytes

HEADER_NAME = "run.json"
RECORDS_NAME = "requests.jsonl"


class RunWriter:
    """The one process that writes a run; a lock on its file keeps others out.

    Use it as a context manager: leaving without `finish` marks the run interrupted (or failed, on an exception other
    than Ctrl-C), and it can be resumed. completed: keys of the records that were there when it was opened.
    """

    def __init__(self, folder: Path, header: RunHeader) -> None:
        """Made by RunStore. Raises RunError when the folder cannot be written or another process writes it."""
        self.path = folder
        self.header = header
        self._encoder = msgspec.json.Encoder()
        records = folder / RECORDS_NAME
        try:
            self._file = os.open(records, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise RunError(f"{records} cannot be written: {error.strerror}") from error
        try:
            lock_or_refuse(self._file, header.id)
            os.ftruncate(self._file, whole_bytes(records))
            self.completed = frozenset(str(record.get("key", "")) for record in read_lines(records))
            write_header(folder / HEADER_NAME, header)
        except BaseException:
            os.close(self._file)
            raise

    @property
    def id(self) -> str:
        return self.header.id

    def append(self, record: Mapping[str, object]) -> None:
        """Add one record; its "key" names it within the run. Raises RunError when the disk refuses."""
        if not isinstance(record.get("key"), str):
            raise RunError("a record needs a key, a string that is unique in its run")
        line = self._encoder.encode(record) + b"\n"
        start = os.lseek(self._file, 0, os.SEEK_END)
        try:
            written = os.write(self._file, line)
            while written < len(line):
                written += os.write(self._file, line[written:])
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, start)
            raise RunError(f"{self.path} cannot be written: {error.strerror}; resume with more space") from error

    def note(self, text: str) -> None:
        """Keep a remark for whoever reads the numbers."""
        if text not in self.header.notes:
            self._rewrite(replace(self.header, notes=(*self.header.notes, text)))

    def set_facts(self, **facts: object) -> None:
        """Keep what became known only while it ran (the target's own name for its model, limits, hashes)."""
        self._rewrite(replace(self.header, facts={**self.header.facts, **facts}))

    def set_hashes(self, hashes: Mapping[str, str]) -> None:
        """Keep what the run is measured on. Raises RunError when a resumed run was measured on something else."""
        known = self.header.hashes
        for what, found in hashes.items():
            if known.get(what, found) != found:
                raise RunError(
                    f"run {self.id} began with other content: {what} was {known[what]}, now it is {found}; begin a new "
                    "run, or give it back what it had"
                )
        if any(what not in known for what in hashes):
            self._rewrite(replace(self.header, hashes={**known, **hashes}))

    def finish(self) -> None:
        """Mark the run done and close it."""
        self._close("done", None)

    def _rewrite(self, header: RunHeader) -> None:
        self.header = header
        write_header(self.path / HEADER_NAME, header)

    def _close(self, status: Status, error: str | None) -> None:
        if self._file < 0:
            return
        try:
            self._rewrite(replace(self.header, status=status, error=error, finished_utc=utc_now()))
        finally:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or not isinstance(error, Exception):
            self._close("interrupted", None)
            return
        what = str(error) if isinstance(error, WayraError) else f"{type(error).__name__}: {error}"
        self._close("failed", what)


def lock_or_refuse(descriptor: int, run_id: str) -> None:
    """Take the lock of a run's records, held until they are closed. Raises RunError when another process has it."""
    if not try_lock(descriptor):
        raise RunError(f"run {run_id} is being written by another process; wait for it, or stop it first")


def try_lock(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
