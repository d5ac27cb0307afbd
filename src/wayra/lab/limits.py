"""What this machine allows at most: given by the user, or measured. The seam where a better probe can be put."""

import threading
import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np

MIN_BUFFER_BYTES = 64 * 1024**2
MAX_BUFFER_BYTES = 512 * 1024**2
PASSES = 5


@dataclass(frozen=True, slots=True)
class MachineLimits:
    """read_gb_s: reading memory with all threads; int8_gop_s: integer operations, a multiply-add is two. None: unknown.

    how: where they come from, for the reader of a report.
    """

    read_gb_s: float | None = None
    int8_gop_s: float | None = None
    how: str = ""

    def tokens_per_s(self, bytes_a_token: float, ops_a_token: float) -> float | None:
        """The strictest limit that is known for work of this size; None when none is."""
        found = []
        if self.read_gb_s is not None and bytes_a_token > 0:
            found.append(self.read_gb_s * 1e9 / bytes_a_token)
        if self.int8_gop_s is not None and ops_a_token > 0:
            found.append(self.int8_gop_s * 1e9 / ops_a_token)
        return min(found) if found else None


class LimitProbe(Protocol):
    """Measures what it can on this machine, in about a second."""

    def __call__(self, weights_bytes: int, threads: int) -> MachineLimits: ...


def numpy_probe(weights_bytes: int, threads: int) -> MachineLimits:
    """Read bandwidth with NumPy's vectorised sums over a buffer of the weights' size; the best of a few passes.

    It reads with less care than a kernel could (no huge pages asked for), so it can be below the true limit, and knows
    nothing of integer units.
    """
    size = max(MIN_BUFFER_BYTES, min(MAX_BUFFER_BYTES, weights_bytes))
    buffer = np.ones(size // 8, dtype=np.int64)
    parts = np.array_split(buffer, threads)
    best_s = min(_pass_s(parts) for _ in range(PASSES))
    return MachineLimits(buffer.nbytes / best_s / 1e9, None, f"sums of {threads} threads in NumPy")


def _pass_s(parts: list[np.ndarray]) -> float:
    # The sums release the interpreter lock.
    workers = [threading.Thread(target=np.add.reduce, args=(part,)) for part in parts]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - started
