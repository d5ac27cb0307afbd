"""Asks the system to let the calling thread run at once when it wakes, for a moment at a time.

The engine's threads fill every core. A thread that wakes beside them waits for the end of a turn, milliseconds,
at each of the handful of times that it wakes for a token or a disconnect. Since Linux 6.12 a thread may ask for shorter
turns: it gets no more time than before, but sooner. Elsewhere nothing is asked.
Source: sched_setattr(2), "EEVDF: allow custom slices".
"""

import ctypes
import os
import platform
import sys
from typing import Any

TURN_NS = 100_000
"""The shortest that the system takes."""
_SYSCALLS = {"x86_64": 314, "aarch64": 274}
_RESET_ON_FORK = 1
_MIN_KERNEL = (6, 12)


class _Attributes(ctypes.Structure):
    """struct sched_attr, version 0."""

    _fields_: Any = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )


def ask_for_short_turns() -> bool:
    """Whether the system agreed. Threads and processes that the calling thread begins take turns as usual."""
    number = _SYSCALLS.get(platform.machine())
    if sys.platform != "linux" or number is None or _kernel() < _MIN_KERNEL:
        return False
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    asked = _Attributes(ctypes.sizeof(_Attributes), os.SCHED_OTHER, _RESET_ON_FORK, nice, 0, TURN_NS, 0, 0)
    return ctypes.CDLL(None).syscall(number, 0, ctypes.byref(asked), 0) == 0


def _kernel() -> tuple[int, ...]:
    return tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2] if part.isdigit())
