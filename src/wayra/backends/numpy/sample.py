"""What sampling means: from one row of logits to one token id, as a pure function of the row and its parameters.

Random numbers are counter-based: a row's number depends on (seed, draw) alone, so a choice never depends on the batch.
Probabilities are float64 of the float32 logits, summed in the order the text of each function gives.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wayra.backends.api import SamplingBatch

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
_MASK = (1 << 64) - 1


def uniform(seed: int, draw: int) -> float:
    """A number in [0, 1): the top 53 bits of the splitmix64 finaliser over a mix of seed and draw, modulo 2^64.

    z = (seed ^ (draw * 0xD1342543DE82EF95)) + 0x9E3779B97F4A7C15; then xor-shifts by 30, 27, 31 with the two usual
    multiplications between them; u = (z >> 11) * 2^-53. Source: Steele, Lea, Flood 2014.
    """
    z = ((seed ^ (draw * 0xD1342543DE82EF95 & _MASK)) + 0x9E3779B97F4A7C15) & _MASK
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _MASK
    return ((z ^ (z >> 31)) >> 11) * 2.0**-53


def log_softmax(logits: Floats) -> Doubles:
    """Natural log-probabilities of one row [vocab]."""
    shifted = logits.astype(np.float64) - logits.max()
    return shifted - math.log(np.exp(shifted).sum())


def most_likely(values: NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """Ids of the `count` largest values, largest first, ties by lower id."""
    return np.argsort(-values, kind="stable")[:count]


@dataclass(frozen=True, slots=True)
class RowSampling:
    """The sampling parameters of row `index` of a batch."""

    batch: SamplingBatch
    index: int

    def choose(self, logits: Floats) -> int:
        """The next token of a row of logits [vocab]."""
        adjusted = self._masked(self._penalised(self._biased(logits)))
        temperature = float(self.batch.temperature[self.index])
        if temperature == 0:
            return int(adjusted.argmax())
        probabilities = np.exp((adjusted.astype(np.float64) - float(adjusted.max())) / temperature)
        kept = keep_min_p(keep_top_p(keep_top_k(probabilities, self._top_k()), self._top_p()), self._min_p())
        return draw_token(kept, uniform(int(self.batch.seeds[self.index]), int(self.batch.draws[self.index])))

    def _biased(self, logits: Floats) -> Floats:
        start, stop = self.batch.bias_starts[self.index : self.index + 2]
        out = logits.copy()
        np.add.at(out, self.batch.bias_ids[start:stop], self.batch.bias_values[start:stop])
        return out

    def _penalised(self, logits: Floats) -> Floats:
        """Repetition divides positive logits and multiplies others; then frequency and presence are subtracted."""
        start, stop = self.batch.history_starts[self.index : self.index + 2]
        ids, counts = self.batch.history_ids[start:stop], self.batch.history_counts[start:stop]
        seen, penalty = logits[ids], float(self.batch.repetition_penalty[self.index])
        seen = np.where(seen > 0, seen / penalty, seen * penalty)
        seen = seen - self.batch.frequency_penalty[self.index] * counts.astype(np.float32)
        seen = seen - self.batch.presence_penalty[self.index] * (counts > 0).astype(np.float32)
        out = logits.copy()
        out[ids] = seen
        return out

    def _masked(self, logits: Floats) -> Floats:
        if self.batch.allowed is None:
            return logits
        words = self.batch.allowed[self.index].astype("<u4").view(np.uint8)
        is_allowed = np.unpackbits(words, bitorder="little")[: len(logits)].astype(bool)
        return np.where(is_allowed, logits, np.float32(-np.inf))

    def _top_k(self) -> int:
        return int(self.batch.top_k[self.index])

    def _top_p(self) -> float:
        return float(self.batch.top_p[self.index])

    def _min_p(self) -> float:
        return float(self.batch.min_p[self.index])


def keep_top_k(probabilities: Doubles, top_k: int) -> Doubles:
    """Zero all but the k most likely, ties by lower id. 0 keeps everything. Probabilities need not sum to 1."""
    if not 0 < top_k < len(probabilities):
        return probabilities
    kept = np.zeros_like(probabilities)
    ids = most_likely(probabilities, top_k)
    kept[ids] = probabilities[ids]
    return kept


def keep_top_p(probabilities: Doubles, top_p: float) -> Doubles:
    """Keep the smallest set, most likely first (ties by lower id), that reaches top_p of the total; at least one."""
    if top_p >= 1:
        return probabilities
    order = most_likely(probabilities, len(probabilities))
    reached: Doubles = np.cumsum(probabilities[order])
    num_kept = int(reached.searchsorted(float(top_p * reached[-1]), side="left")) + 1
    kept = np.zeros_like(probabilities)
    kept[order[:num_kept]] = probabilities[order[:num_kept]]
    return kept


def keep_min_p(probabilities: Doubles, min_p: float) -> Doubles:
    """Zero those below min_p times the most likely."""
    return probabilities * (probabilities >= min_p * float(probabilities.max()))


def draw_token(probabilities: Doubles, u: float) -> int:
    """Walk in id order to the first token whose cumulative probability exceeds u of the total."""
    cumulative = np.cumsum(probabilities)
    above = np.flatnonzero(cumulative > u * cumulative[-1])
    # Not-a-number logits leave nothing above; the first id is as good as any.
    return int(above[0]) if len(above) else 0
