"""What a program may use in the sandbox, and how it ended there."""

from dataclasses import dataclass
from typing import Literal

from wayra.base.errors import InvalidParameter

Status = Literal["passed", "failed", "timeout", "memory", "output", "processes", "refused"]
"""passed: it ended with exit code 0. refused: it was not run, because no sandbox could be made."""

MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one program may use. Raises InvalidParameter on limits that no program could run in.

    wall_s: from start to end; cpu_s: of one process. memory_bytes: address space of one process, and resident memory
    of all together. disk_bytes: of its private folder. output_bytes: of each of stdout and stderr.
    max_processes: with threads. max_files: open at once.
    """

    wall_s: float = 10.0
    cpu_s: int = 10
    memory_bytes: int = 1024 * MIB
    disk_bytes: int = 32 * MIB
    output_bytes: int = 4 * MIB
    max_processes: int = 32
    max_files: int = 64

    def __post_init__(self) -> None:
        least = {
            "wall_s": 0.1, "cpu_s": 1, "memory_bytes": 64 * MIB, "disk_bytes": MIB, "output_bytes": 1024,
            "max_processes": 2, "max_files": 16,
        }  # fmt: skip
        for name, value in least.items():
            if not getattr(self, name) >= value:
                raise InvalidParameter(f"limit {name} is {getattr(self, name)}, expected at least {value}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a program ended. stdout, stderr: at most output_bytes of each, as text. seconds: of wall time.

    exit_code: None when it was ended from outside. why: for people, empty when it passed.
    """

    status: Status
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0
    exit_code: int | None = None
    why: str = ""

    @property
    def ok(self) -> bool:
        return self.status == "passed"


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether this machine lets us make a sandbox; if not, why, and what to do."""

    is_available: bool
    reason: str = ""
    remedy: str = ""
