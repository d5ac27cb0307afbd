"""A run as it lies on the disk, for reading."""

import os
from collections.abc import Iterator
from pathlib import Path

from wayra.lab.runs.header import RunHeader, Status, read_header
from wayra.lab.runs.jsonl import Record, read_lines
from wayra.lab.runs.writer import HEADER_NAME, RECORDS_NAME, try_lock


class Run:
    """One recorded run. Reading it while it is being written gives the whole records so far."""

    def __init__(self, folder: Path) -> None:
        """Raises RunError when run.json is missing or damaged."""
        self.path = folder
        self.header: RunHeader = read_header(folder / HEADER_NAME)

    @property
    def id(self) -> str:
        return self.header.id

    @property
    def kind(self) -> str:
        return self.header.kind

    @property
    def config(self) -> dict[str, object]:
        return self.header.config

    @property
    def status(self) -> Status:
        """As recorded, but a run that says it is running and whose writer is gone was interrupted."""
        if self.header.status == "running" and not self._is_being_written():
            return "interrupted"
        return self.header.status

    def records(self) -> Iterator[Record]:
        """The raw records in the order they were written. Raises RunError naming a damaged line."""
        return read_lines(self.path / RECORDS_NAME)

    def count(self) -> int:
        """How many whole records there are."""
        total = 0
        try:
            with (self.path / RECORDS_NAME).open("rb") as file:
                while block := file.read(1 << 20):
                    total += block.count(b"\n")
        except OSError:
            return 0
        return total

    def _is_being_written(self) -> bool:
        try:
            descriptor = os.open(self.path / RECORDS_NAME, os.O_RDONLY)
        except OSError:
            return False
        try:
            return not try_lock(descriptor)
        finally:
            os.close(descriptor)
