"""Kullback-Leibler divergence of a model from a reference over a text, with both perplexities."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wayra.base.errors import InvalidParameter
from wayra.lab.divergence.predictor import Predictor
from wayra.llm.scoring import half_windows

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Divergence:
    """mean: of KL(reference || model) over the scored tokens, in nats; 0 for a model and itself.

    standard_error: of the mean, tokens taken as independent. p99, largest: over tokens. same_top_share: of tokens for
    which both have the same first choice. perplexity, reference_perplexity: over the same tokens. tokens: scored.
    windows, num_windows: computed so far and in all.
    """

    mean: float
    standard_error: float
    p99: float
    largest: float
    same_top_share: float
    perplexity: float
    reference_perplexity: float
    tokens: int
    windows: int
    num_windows: int


OnWindow = Callable[[Divergence], None]


def diverge(
    reference: Predictor, model: Predictor, text: str, context_len: int, on_window: OnWindow | None = None
) -> Divergence:
    """Over the second half of each window of context_len tokens, as llama.cpp scores perplexity.

    Raises InvalidParameter when the two read the text in different tokens, or it does not fill a window.
    """
    tokenizer = reference.tokenizer
    if model.tokenizer.encode(text, add_bos=False) != tokenizer.encode(text, add_bos=False):
        raise InvalidParameter(
            f"{model.name} and {reference.name} read the text in different tokens, so that their predictions are of "
            "different things; compare their answers instead (wayra compare)"
        )
    token_ids = tokenizer.encode(text)
    sums = _Sums()
    windows = half_windows(len(token_ids), context_len)
    for window in windows:
        ids = token_ids[window.start : window.stop]
        if tokenizer.add_bos and tokenizer.bos_id is not None:
            ids[0] = tokenizer.bos_id
        _add_window(sums, (reference, model), ids, window.first_scored)
        if on_window is not None:
            on_window(sums.result(len(windows)))
    return sums.result(len(windows))


def _add_window(sums: "_Sums", pair: tuple[Predictor, Predictor], ids: list[int], first_scored: int) -> None:
    targets = ids[first_scored:]
    place = 0
    for expected, found in _pieces(pair, ids[:-1], first_scored - 1):
        sums.add(expected, found, targets[place : place + len(expected)])
        place += len(expected)
    sums.windows += 1


def _pieces(pair: tuple[Predictor, Predictor], ids: list[int], first_row: int) -> Iterator[tuple[Floats, Floats]]:
    reference, model = pair
    found = zip(reference.log_probabilities(ids, first_row), model.log_probabilities(ids, first_row), strict=True)
    for expected, own in found:
        if expected.shape != own.shape:
            raise InvalidParameter(
                f"{reference.name} knows {expected.shape[1]:,} tokens and {model.name} {own.shape[1]:,}, so that "
                "their predictions cannot be compared"
            )
        yield expected, own


class _Sums:
    """What is kept of each scored token."""

    def __init__(self) -> None:
        self.windows = 0
        self._divergences: list[float] = []
        self._same_top: list[bool] = []
        self._nll: list[float] = []
        self._reference_nll: list[float] = []

    def add(self, expected: Floats, found: Floats, targets: list[int]) -> None:
        """expected, found: log-probabilities [rows, vocab] of the reference and the model."""
        rows = np.arange(len(targets))
        self._divergences += divergences(expected, found).tolist()
        self._same_top += (expected.argmax(axis=1) == found.argmax(axis=1)).tolist()
        self._reference_nll += (-expected[rows, targets]).tolist()
        self._nll += (-found[rows, targets]).tolist()

    def result(self, num_windows: int) -> Divergence:
        values = np.asarray(self._divergences)
        count = len(values)
        return Divergence(
            mean=math.fsum(self._divergences) / count,
            standard_error=float(values.std(ddof=1)) / math.sqrt(count) if count > 1 else 0.0,
            p99=float(np.quantile(values, 0.99)),
            largest=float(values.max()),
            same_top_share=sum(self._same_top) / count,
            perplexity=_perplexity(self._nll),
            reference_perplexity=_perplexity(self._reference_nll),
            tokens=count,
            windows=self.windows,
            num_windows=num_windows,
        )


def divergences(expected: Floats, found: Floats) -> NDArray[np.float64]:
    """KL(expected || found) of each row of natural log-probabilities [rows, vocab], in nats.

    Not negative but for the rounding of float32 logarithms.
    """
    return (np.exp(expected) * (expected - found)).sum(axis=1, dtype=np.float64)


def _perplexity(nll: list[float]) -> float:
    mean = math.fsum(nll) / len(nll)
    return math.exp(mean) if mean < 700 else math.inf
