"""What Inspect says when it fails: kept, handed on without tracebacks, and what to do about what its tasks lack."""

import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from wayra.lab.harness.unreachable import HUB_MARKS

MAX_WORDS = 500
ERROR = "ERROR:"
DOCKER_MARKS = ("docker daemon", "docker engine", "['docker'", "directory: 'docker'")
ADVICE: Mapping[tuple[str, ...], str] = MappingProxyType(
    {
        DOCKER_MARKS: "its programs run in Docker, which is not there or not running: start it, or let them run on "
        "this machine with your rights, where the task can: -- --sandbox local",
        HUB_MARKS: "its questions come from the hub, which cannot be reached: run it once where it can be and bring "
        "HF_HOME and INSPECT_EVALS_CACHE_DIR, or give files of your own where the task takes them: -- -T "
        "dataset=FOLDER",
        ("map_repo_version_to_specs",): "its scorer needs an older swebench: pip install 'swebench<5'",
    }
)
"""Words that Inspect, its tasks or their libraries say, in lower case -> what to do."""


class Words(threading.Thread):
    """What Inspect says on stderr, handed on without tracebacks; a file has all of it.

    error: the last line of the last traceback, else what it called an error itself; "" before either.
    """

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        super().__init__(daemon=True)
        self._raised = self._called = ""
        self._stream, self._path = stream, path
        self.start()

    @property
    def error(self) -> str:
        return self._raised or self._called

    def run(self) -> None:
        in_traceback = False
        with self._path.open("wb") as file:
            for raw in self._stream:
                file.write(raw)
                line = raw.decode("utf-8", "replace")
                in_traceback = in_traceback or "Traceback (most recent call last)" in line
                if not in_traceback:
                    sys.stderr.write(line)
                    self._called = _called(self._called, line.strip())
                elif line.strip() and not line.startswith((" ", "Traceback")):
                    # The exception itself ends a traceback; another one may follow it.
                    self._raised, in_traceback = line.strip()[:MAX_WORDS], False


def _called(before: str, line: str) -> str:
    """What was called an error, after one more line: what a colon announces belongs to it."""
    if line.startswith(ERROR):
        return line.removeprefix(ERROR).strip()[:MAX_WORDS]
    return f"{before} {line}"[:MAX_WORDS] if before.endswith(":") and line else before


def with_advice(error: str) -> str:
    """The error, and what to do about it where that is known."""
    found = error.lower()
    advice = next((text for marks, text in ADVICE.items() if any(mark in found for mark in marks)), None)
    return error if advice is None else f"{error}; {advice}"
