"""The server's log: one line a request and a few about the server itself, as JSON, on standard error.

Written by a thread of its own, so that nobody who reads the log slowly can make the server stand still. Prompts and
answers are never logged.
"""

import json
import queue
import sys
import threading
import time
import traceback
from typing import Protocol, TextIO

MAX_WAITING_LINES = 10_000


class Visited(Protocol):
    """What the log needs of a request."""

    request_id: str
    path: str
    began: float
    status: int
    error: str | None
    facts: dict[str, object]


class Journal:
    """is_quiet: requests in which nothing of ours failed are left out. stream: None is standard error."""

    def __init__(self, is_quiet: bool = False, stream: TextIO | None = None) -> None:
        self._is_quiet = is_quiet
        self._stream = stream if stream is not None else sys.stderr
        # Its `put` may be interrupted by a signal whose handler puts too; that of `Queue` would wait for itself.
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._num_lost = 0
        self._thread = threading.Thread(target=self._write, name="wayra-log", daemon=True)
        self._thread.start()

    def visited(self, visit: Visited) -> None:
        """A request is over. Status 0: the client left before it was answered."""
        if self._is_quiet and visit.status < 500:
            return
        facts: dict[str, object] = {
            "id": visit.request_id,
            "path": visit.path[:200],
            "status": visit.status,
            "seconds": round(time.perf_counter() - visit.began, 4),
            **visit.facts,
        }
        if visit.error is not None:
            facts["error"] = visit.error
        self.say("request", **facts)

    def failed(self, visit: Visited, error: Exception) -> None:
        """A request met a bug of ours."""
        trace = "".join(traceback.format_exception(error))[-8000:]
        self.say("bug", id=visit.request_id, path=visit.path[:200], error=repr(error)[:500], traceback=trace)

    def say(self, event: str, **facts: object) -> None:
        """One line. Lost, and counted, when ten thousand wait to be written."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() // 1_000_000 % 1000:03d}Z"
        if self._lines.qsize() >= MAX_WAITING_LINES:
            self._num_lost += 1
            return
        if self._num_lost:
            facts["lines_lost"], self._num_lost = self._num_lost, 0
        self._lines.put(json.dumps({"time": stamp, "event": event, **facts}, ensure_ascii=True, default=str))

    def close(self) -> None:
        """Write what waits, for at most a second."""
        self._lines.put(None)
        self._thread.join(1)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                continue  # a closed or full log must not end the server
