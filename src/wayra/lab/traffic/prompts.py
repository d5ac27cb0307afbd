"""Prompts of a wanted length that no cache has seen: random words or token ids from a seed and a nonce of the run."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from wayra.lab.targets.api import Ask
from wayra.lab.traffic.lengths import Lengths

VOCABULARY = (
    "time year people way day man thing woman life child world school state family student group country problem "
    "hand part place case week company system program question work number night point home water room mother "
    "area money story fact month lot right study book eye job word business issue side kind head house service "
    "friend father power hour game line end member law car city name president team minute idea body information "
    "back parent face level office door health person art war history party result change morning reason research "
    "girl guy moment air teacher force education foot boy age policy music market sense nation plan college "
    "interest death course someone experience behavior street image field "
)
"""Short, frequent words, which most tokenizers have as one token."""
WORDS = tuple(VOCABULARY.split())
TABLE = tuple(WORDS[place % len(WORDS)] for place in range(256))
"""A word for each byte."""

Drawn = Callable[[int], bytes]
"""So many random bytes; fewer are the beginning of more."""


@dataclass(frozen=True, slots=True)
class PromptShape:
    """prompt, answer: lengths in tokens. shared_prefix_len: tokens that all prompts of one of num_groups begin with."""

    prompt: Lengths
    answer: Lengths
    shared_prefix_len: int = 0
    num_groups: int = 1


class PromptMaker:
    """Request number -> question; the same for the same seed, nonce and stage, whatever was asked before.

    id_range: token ids to draw from, where the target takes ids; prompts are then exactly as long as wanted. Otherwise
    they are words, tokens_per_word of them a token, and the length is approximate: the server's usage is what counts.
    """

    def __init__(self, shape: PromptShape, seed: int, nonce: str, id_range: tuple[int, int] | None = None) -> None:
        self.shape = shape
        self._seed = seed
        self._unique = f"{seed}/{nonce}"
        self._id_range = id_range
        self.tokens_per_word = 1.0
        self.overhead_tokens = 0.0

    def make(self, stage: int, index: int, *, ignore_eos: bool = True) -> tuple[Ask, int]:
        """The question and the prompt tokens wanted."""
        prompt_len, answer_len = self._lengths(stage, index)
        group = index % self.shape.num_groups
        shared = min(self.shape.shared_prefix_len, prompt_len - 1)
        own = self._drawn(f"own/{stage}/{index}")
        if self._id_range is not None:
            low, high = self._id_range
            ids = _integers(own, prompt_len - shared, high - low)
            if shared:
                ids = _integers(self._drawn(f"prefix/{group}"), shared, high - low) + ids
            return Ask(tuple(low + one for one in ids), answer_len, ignore_eos), prompt_len
        num_words = max(1, round((prompt_len - self.overhead_tokens) / self.tokens_per_word))
        num_shared = min(num_words - 1, round(shared / self.tokens_per_word))
        words = _words(own, num_words - num_shared)
        if num_shared:
            words = _words(self._drawn(f"prefix/{group}"), num_shared) + words
        return Ask(" ".join(words), answer_len, ignore_eos), prompt_len

    def make_of_blocks(
        self, index: int, blocks: Sequence[int], block_len: int, prompt_len: int
    ) -> tuple[int, ...] | str:
        """A prompt whose beginning is made of blocks of block_len tokens, equal ones for equal numbers.

        What the blocks do not fill is the request's own; what is too much of them is left out.
        """
        parts = [f"block/{number}" for number in blocks[: -(-prompt_len // block_len)]]
        own = f"own/blocks/{index}"
        if self._id_range is not None:
            low, high = self._id_range
            ids = [one for part in parts for one in _integers(self._drawn(part), block_len, high - low)][:prompt_len]
            ids += _integers(self._drawn(own), prompt_len - len(ids), high - low)
            return tuple(low + one for one in ids)
        num_words = max(1, round((prompt_len - self.overhead_tokens) / self.tokens_per_word))
        block_words = max(1, round(block_len / self.tokens_per_word))
        words = [word for part in parts for word in _words(self._drawn(part), block_words)][:num_words]
        return " ".join(words + _words(self._drawn(own), num_words - len(words)))

    def _lengths(self, stage: int, index: int) -> tuple[int, int]:
        prompt, answer = self.shape.prompt, self.shape.answer
        if prompt.kind == answer.kind == "fixed":  # a generator costs more than the rest of a prompt
            return int(prompt.first), int(answer.first)
        drawn = np.random.default_rng([self._seed, 2, stage, index])
        return prompt.draw(drawn), answer.draw(drawn)

    def _drawn(self, what: str) -> Drawn:
        """Bytes of its own for each thing that is drawn. A hash of any length is ready at once; a generator of numbers
        first fills its state, which takes longer than a prompt."""
        return hashlib.shake_128(f"{self._unique}/{what}".encode()).digest

    def with_shape(self, shape: PromptShape) -> "PromptMaker":
        """The same calibration and seeds for other lengths."""
        other = PromptMaker(shape, self._seed, "", self._id_range)
        other._unique = self._unique
        other.tokens_per_word, other.overhead_tokens = self.tokens_per_word, self.overhead_tokens
        return other

    def words(self, count: int, salt: int) -> str:
        """A text of so many words, for calibration."""
        return " ".join(_words(self._drawn(f"calibration/{salt}"), count))


def _words(drawn: Drawn, count: int) -> list[str]:
    return list(map(TABLE.__getitem__, drawn(count)))


def _integers(drawn: Drawn, count: int, span: int) -> list[int]:
    """From 0, below span; a span is far below the 32 bits of a draw, so that their remainders are as good as even."""
    found: list[int] = (np.frombuffer(drawn(4 * count), dtype="<u4") % span).tolist()
    return found
