"""Ends a child process that has used its time: the processor's where the system tells, the clock's elsewhere.

On a busy machine a second of the clock may be hardly any of the processor's, which is no fault of a template.
"""

import math
import os
import subprocess
import threading
import time
from pathlib import Path

LOOKS = 4
"""How often a child is looked at in the time it has; it may use so much more than that as lies between two looks."""
MOST_WALL_FACTOR = 10
"""Of its time: when it is ended in any case, as it may also sleep."""


class ChildWatch:
    """From its making to `end`. seconds: what the child may use meanwhile."""

    def __init__(self, child: "subprocess.Popen[bytes]", seconds: float) -> None:
        self._child = child
        self._seconds = seconds
        self._began_s = time.monotonic()
        self._began_cpu_s = _cpu_s(child.pid)
        self._lock = threading.Lock()
        self._has_ended = False
        self._timer = self._start_timer(seconds)

    def end(self) -> None:
        """The child is no longer watched."""
        with self._lock:
            self._has_ended = True
            self._timer.cancel()

    def _look(self) -> None:
        with self._lock:
            if self._has_ended:
                return
            is_late = time.monotonic() - self._began_s >= MOST_WALL_FACTOR * self._seconds
            if is_late or self._used_s() >= self._seconds:
                self._child.kill()
            else:
                self._timer = self._start_timer(self._seconds / LOOKS)

    def _used_s(self) -> float:
        now_cpu_s = _cpu_s(self._child.pid)
        return math.inf if now_cpu_s is None or self._began_cpu_s is None else now_cpu_s - self._began_cpu_s

    def _start_timer(self, seconds: float) -> threading.Timer:
        timer = threading.Timer(seconds, self._look)
        timer.daemon = True
        timer.start()
        return timer


def _cpu_s(pid: int) -> float | None:
    """What a process has used of the processor; None where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
