"""The machine a figure belongs to, and how much of it other processes took meanwhile (Linux)."""

import os
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
NOISY_CORES = 0.15
"""Other processes' use of the processor above which a measurement counts as disturbed."""


def describe_machine() -> str:
    name = platform.processor() or platform.machine()
    fields: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    name = fields.get("model name", name)
    model = f" (family {fields['cpu family']}, model {fields['model']})" if "cpu family" in fields else ""
    memory_gb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    cores = len(os.sched_getaffinity(0))
    return f"{name}{model}, {cores} CPUs, {memory_gb:.0f} GB, Linux {platform.release().split('-')[0]}"


def describe_commit(folder: Path) -> str:
    """The commit of a checkout, marked when files under src or csrc differ from it."""

    def git(*args: str) -> str:
        done = subprocess.run(["git", "-C", str(folder), *args], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", "src", "csrc")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with changes" if changed else "")


@dataclass(frozen=True, slots=True)
class Load:
    """foreign_cores: cores' worth of time that others took. steal_cores: taken by the hypervisor."""

    foreign_cores: float
    steal_cores: float

    @property
    def is_noisy(self) -> bool:
        return self.foreign_cores + self.steal_cores > NOISY_CORES


class LoadMeter:
    """Measures the load of everyone but this process and `pids` (with their threads) from its making to `read`."""

    def __init__(self, pids: Sequence[int] = ()) -> None:
        self._pids = (os.getpid(), *pids)
        self._started = time.perf_counter()
        self._own = self._own_ticks()
        self._busy, self._steal = _machine_ticks()

    def read(self) -> Load:
        busy, steal = _machine_ticks()
        own = self._own_ticks() - self._own
        elapsed_ticks = (time.perf_counter() - self._started) * TICKS_PER_S
        foreign = max(0.0, (busy - self._busy - own) / elapsed_ticks)
        return Load(foreign, (steal - self._steal) / elapsed_ticks)

    def _own_ticks(self) -> int:
        return sum(_process_ticks(pid) for pid in self._pids)


def process_cpu_s(pid: int) -> float:
    """User and system time of a process and of its children that have ended; 0 once it is gone."""
    return _process_ticks(pid) / TICKS_PER_S


def wait_for_quiet(limit_s: float) -> None:
    """Until others leave the processor alone for a second, at most so long."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        meter = LoadMeter()
        time.sleep(1)
        if not meter.read().is_noisy:
            return


def _machine_ticks() -> tuple[int, int]:
    with open("/proc/stat") as stat:
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stat.readline().split()[1:9])
    return user + nice + system + irq + softirq, steal


def _process_ticks(pid: int) -> int:
    """User and system time of a process and of its children that have ended; nothing once it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return sum(map(int, stat.rpartition(")")[2].split()[11:15]))
