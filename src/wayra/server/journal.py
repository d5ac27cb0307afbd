"""The server's log: one line a request and a few about the server itself, as JSON or text, on standard error.

Written by a thread of its own, so that nobody who reads the log slowly can make the server stand still. Prompts and
answers are never logged.
"""

import json
import queue
import re
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from typing import Literal, Protocol, TextIO, get_args

MAX_WAITING_LINES = 10_000
HTTP_VERSION_UNKNOWN = 505
"""The only status above 500 that is the client's fault."""
Level = Literal["debug", "info", "warning", "error"]
Format = Literal["json", "text"]
LEVELS: tuple[Level, ...] = get_args(Level)
FORMATS: tuple[Format, ...] = get_args(Format)
_PLAIN = re.compile(r"[!#-<>-~]+")
"""Values of a line of text that need no quotes: printable, without spaces, quotes and equals signs."""


class Visited(Protocol):
    """What the log needs of a request."""

    request_id: str
    method: str
    path: str
    began: float
    status: int
    error: str | None
    facts: dict[str, object]


class Journal:
    """level: what is less is left out. stream: None is standard error.

    Requests are "info", those that failed by our fault "error".
    """

    def __init__(self, level: Level = "info", form: Format = "json", stream: TextIO | None = None) -> None:
        self.level: Level = level
        self._least = LEVELS.index(level)
        self._write_line = _as_json if form == "json" else _as_text
        self._stream = stream if stream is not None else sys.stderr
        # Its `put` may be interrupted by a signal whose handler puts too; that of `Queue` would wait for itself.
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._num_lost = 0
        self._thread = threading.Thread(target=self._write, name="wayra-log", daemon=True)
        self._thread.start()

    def visited(self, visit: Visited) -> None:
        """A request is over. Status 0: the client left before it was answered."""
        level: Level = "error" if visit.status >= 500 and visit.status != HTTP_VERSION_UNKNOWN else "info"
        if LEVELS.index(level) < self._least:
            return
        facts: dict[str, object] = {
            "id": visit.request_id,
            "method": visit.method[:20],
            "path": visit.path[:200],
            "status": visit.status,
            "seconds": round(time.perf_counter() - visit.began, 4),
            **visit.facts,
        }
        if visit.error is not None:
            facts["error"] = visit.error
        self.say("request", level, **facts)

    def failed(self, visit: Visited, error: Exception) -> None:
        """A request met a bug of ours."""
        trace = "".join(traceback.format_exception(error))[-8000:]
        self.say("bug", "error", id=visit.request_id, path=visit.path[:200], error=repr(error)[:500], traceback=trace)

    def say(self, event: str, level: Level = "info", **facts: object) -> None:
        """One line. Lost, and counted, when ten thousand wait to be written."""
        if LEVELS.index(level) < self._least:
            return
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() // 1_000_000 % 1000:03d}Z"
        if self._lines.qsize() >= MAX_WAITING_LINES:
            self._num_lost += 1
            return
        if self._num_lost:
            facts["lines_lost"], self._num_lost = self._num_lost, 0
        self._lines.put(self._write_line({"time": stamp, "level": level, "event": event, **facts}))

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


def _as_json(line: Mapping[str, object]) -> str:
    return json.dumps(line, ensure_ascii=True, default=str)


def _as_text(line: Mapping[str, object]) -> str:
    """Time, level and event, and the facts as name=value, quoted as in JSON where a value is more than one word."""
    head = f"{line['time']} {line['level']:<7} {line['event']}"
    return " ".join([head, *(f"{name}={_shown(line[name])}" for name in list(line)[3:])])


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=True, default=str)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=True)
