"""How far an engine's predictions are from another's: perplexity and Kullback-Leibler divergence over a text.

Windows and scored tokens are those of llama.cpp's perplexity: windows side by side, the second half of each scored.
"""

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from measuring.pipe import Worker
from wayra.lab.divergence.measure import divergences
from wayra.lab.divergence.predictor import log_softmax

WINDOW_LEN = 512
FIRST_ROW = WINDOW_LEN // 2
LAST_ROW = WINDOW_LEN - 1
NUM_ROWS = LAST_ROW - FIRST_ROW
TEXT_BYTES = 200_000


def english_text(num_bytes: int) -> str:
    """The beginning of Python's own help texts, the same for every build of one Python version."""
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    text = "\n".join(topics[name] for name in sorted(topics))
    return text.encode()[:num_bytes].decode(errors="ignore")


def windows_of(token_ids: Sequence[int], bos_id: int | None, limit: int | None = None) -> list[list[int]]:
    """Whole windows; the first token of each gives way to `bos_id` when there is one."""
    found = [list(token_ids[i : i + WINDOW_LEN]) for i in range(0, len(token_ids) - WINDOW_LEN + 1, WINDOW_LEN)]
    for window in found:
        if bos_id is not None:
            window[0] = bos_id
    return found[:limit]


@dataclass(slots=True)
class Score:
    """One engine's sums over the scored tokens. divergences, same_top: against the reference, one entry a token."""

    nll: list[float] = field(default_factory=list)
    divergences: list[float] = field(default_factory=list)
    same_top: list[bool] = field(default_factory=list)

    def add(self, found: NDArray[np.float32], targets: Sequence[int], reference: NDArray[np.float32] | None) -> None:
        """found, reference: log-probabilities [rows, vocab]."""
        self.nll += (-found[np.arange(len(targets)), targets]).tolist()
        if reference is not None:
            self.divergences += divergences(reference, found).tolist()
            self.same_top += (reference.argmax(axis=1) == found.argmax(axis=1)).tolist()

    @property
    def perplexity(self) -> float:
        return math.exp(math.fsum(self.nll) / len(self.nll))

    @property
    def mean_divergence(self) -> float:
        return math.fsum(self.divergences) / len(self.divergences)

    def divergence_quantile(self, share: float) -> float:
        return float(np.quantile(self.divergences, share))

    @property
    def same_top_share(self) -> float:
        return sum(self.same_top) / len(self.same_top)


def score(
    workers: dict[str, Worker], windows: Sequence[Sequence[int]], folder: Path, reference: str | None
) -> dict[str, Score]:
    """Every worker's score over the same windows. reference: the worker that the others are compared with.

    folder: for the logits of one window at a time, 50 MB an engine for a vocabulary of 49,152.
    """
    scores = {name: Score() for name in workers}
    order = sorted(workers, key=lambda name: name != reference)
    for window in windows:
        against: NDArray[np.float32] | None = None
        for name in order:
            path = folder / "logits.npy"
            workers[name].ask("logits", token_ids=list(window), first_row=FIRST_ROW, last_row=LAST_ROW, path=str(path))
            found = log_softmax(np.load(path))
            scores[name].add(found, window[FIRST_ROW + 1 :], against)
            if name == reference:
                against = found
    return scores
