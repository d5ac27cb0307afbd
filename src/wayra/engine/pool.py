"""One vector for a whole prompt, gathered while its chunks are computed."""

import numpy as np
from numpy.typing import NDArray

from wayra.engine.request import Pooling


class Pool:
    """takes_all: whether every token's vector counts, or the last one's alone."""

    def __init__(self, pooling: Pooling) -> None:
        self.takes_all = pooling == "mean"
        self._sum: NDArray[np.float64] | None = None
        self._count = 0

    def add(self, hidden: NDArray[np.float32]) -> None:
        """hidden: float32 [tokens, hidden_size] of the next tokens that count."""
        # In doubles, so that how a prompt was cut into chunks cannot be seen in the result.
        total = hidden.sum(axis=0, dtype=np.float64)
        self._sum = total if self._sum is None else self._sum + total
        self._count += len(hidden)

    def result(self) -> NDArray[np.float32]:
        """float32 [hidden_size], of what was added; at least one token."""
        if self._sum is None:
            raise RuntimeError("nothing was pooled; this is a bug in wayra")
        return (self._sum / self._count).astype(np.float32)
