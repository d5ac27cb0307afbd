"""Perplexity: which tokens of a text are scored, in which windows, and what their log-probabilities add up to.

Two definitions. "Halves", the default, is that of llama.cpp, whose figures are quoted everywhere: windows of
context_len tokens side by side, each begun with BOS when the model wants one, the second half of each scored, the rest
of the text left out. "Sliding" moves windows by a stride and scores every token once, with as much context as its
window gives; the first token of a text has nothing before it and is never scored.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from wayra.base.errors import InvalidParameter

LEAST_CONTEXT_LEN = 4


@dataclass(frozen=True, slots=True)
class Window:
    """Tokens start to stop of a text go in; those from `first_scored` on, counted in the window, are scored."""

    start: int
    stop: int
    first_scored: int


@dataclass(frozen=True, slots=True)
class Perplexity:
    """exp of the mean negative log-probability (natural, `mean_nll`) of the scored tokens.

    standard_error: of the perplexity, from the spread over tokens taken as independent; 0 for one token.
    tokens: scored. windows, num_windows: computed so far and in all. total_s: spent so far.
    tokens_per_s: tokens computed, scored or not, a second.
    """

    perplexity: float
    standard_error: float
    mean_nll: float
    tokens: int
    windows: int
    num_windows: int
    total_s: float
    tokens_per_s: float


def half_windows(num_tokens: int, context_len: int) -> list[Window]:
    """llama.cpp's windows. Raises InvalidParameter when the text does not fill one."""
    _check_context(context_len)
    if num_tokens < context_len:
        raise InvalidParameter(
            f"the text has {num_tokens:,} tokens, one window needs {context_len:,}; "
            "give a longer text or a smaller context"
        )
    starts = range(0, num_tokens - context_len + 1, context_len)
    return [Window(start, start + context_len, context_len // 2 + 1) for start in starts]


def sliding_windows(num_tokens: int, context_len: int, stride: int) -> list[Window]:
    """Windows moved by `stride`, every token but the first scored exactly once.

    Raises InvalidParameter for a stride outside 1..context_len - 1 or a text of less than two tokens.
    """
    _check_context(context_len)
    if not 1 <= stride < context_len:
        raise InvalidParameter(f"stride is {stride:,}, expected 1 to {context_len - 1:,}, one less than the context")
    if num_tokens < 2:
        raise InvalidParameter(f"the text has {num_tokens} tokens, scoring needs at least 2; give a longer text")
    windows = [Window(0, min(context_len, num_tokens), 1)]
    while (scored_to := windows[-1].stop) < num_tokens:
        start = windows[-1].start + stride
        windows.append(Window(start, min(start + context_len, num_tokens), scored_to - start))
    return windows


def _check_context(context_len: int) -> None:
    if context_len < LEAST_CONTEXT_LEN:
        raise InvalidParameter(f"context_len is {context_len}, scoring needs at least {LEAST_CONTEXT_LEN} tokens")


class Score:
    """Adds up log-probabilities window by window."""

    def __init__(self, num_windows: int) -> None:
        self._num_windows = num_windows
        self._windows = 0
        self._tokens = 0
        self._computed = 0
        self._nll = 0.0
        self._nll_squared = 0.0

    def add(self, window: Window, prompt_logprobs: Sequence[float]) -> None:
        """prompt_logprobs: one for each token of the window from the second on."""
        scored = prompt_logprobs[window.first_scored - 1 :]
        self._windows += 1
        self._tokens += len(scored)
        self._computed += window.stop - window.start
        self._nll -= math.fsum(scored)
        self._nll_squared += math.fsum(p * p for p in scored)

    def result(self, total_s: float) -> Perplexity:
        """Of the windows added so far, at least one."""
        mean = self._nll / self._tokens
        variance = self._nll_squared / self._tokens - mean * mean
        error = math.sqrt(variance / (self._tokens - 1)) if variance > 0 and self._tokens > 1 else 0.0
        value = math.exp(mean) if mean < 700 else math.inf
        return Perplexity(
            perplexity=value,
            standard_error=value * error,
            mean_nll=mean,
            tokens=self._tokens,
            windows=self._windows,
            num_windows=self._num_windows,
            total_s=total_s,
            tokens_per_s=self._computed / total_s if total_s > 0 else 0.0,
        )
