"""Where the time of a step on the native backend went, call by call of the Program and thread by thread."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wayra.base.errors import BackendError
from wayra.model.program import Program


@dataclass(frozen=True, slots=True)
class Spent:
    """Nanoseconds of each thread, int64 [threads]. wait_ns: at the barriers that ended the work, or came within it."""

    work_ns: NDArray[np.int64]
    wait_ns: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class StepTimes:
    """calls: one entry a call, in the Program's order. rotary, sampling: before the first and after the last of them.

    wall_ns: of the whole step as its caller saw it. What a thread neither worked nor waited of it went by outside the
    Program: the batch's checks, the plan of the step, waking the threads.
    """

    wall_ns: int
    rotary: Spent
    calls: tuple[Spent, ...]
    sampling: Spent

    @property
    def num_threads(self) -> int:
        return len(self.rotary.work_ns)

    def total(self) -> Spent:
        """Work and waiting of each thread over the whole step."""
        parts = (self.rotary, *self.calls, self.sampling)
        return Spent(
            np.sum([part.work_ns for part in parts], axis=0),
            np.sum([part.wait_ns for part in parts], axis=0),
        )


def step_times(program: Program, cells: NDArray[np.int64], wall_ns: int) -> StepTimes:
    """Read the executor's cells, int64 [threads, entries, 2].

    Its entries are the rotary angles, every call but the logits, the logits, sampling.
    Raises: BackendError when they do not fit the Program.
    """
    names = [call.op for call in program.calls]
    if names.count("logits") != 1 or names[-1] != "logits" or cells.shape[1] != len(names) + 2:
        raise BackendError(f"a profile of {cells.shape[1]} entries does not fit a Program of {len(names)} calls")
    spent = tuple(Spent(cells[:, i, 0], cells[:, i, 1]) for i in range(cells.shape[1]))
    return StepTimes(wall_ns, spent[0], spent[1:-1], spent[-1])
