"""Prompt lookup: what followed the last tokens when they occurred before, in the prompt or in the answer.

A match finder as compressors have it: a table from each pair of tokens to where it last stood, chains of earlier places
behind it, and the longest match among the latest few. A token costs O(1), whatever the length of the context.
"""

from array import array
from collections.abc import Sequence as SequenceOf
from typing import NamedTuple

from wayra.engine.sequence import Sequence

MAX_MATCH = 32
"""Longer matches are not told apart."""
MAX_CHAIN = 24
"""Earlier places looked at, latest first."""
MAX_TABLE = 1 << 16
"""Pairs in a table before the older half of the memory is dropped."""

_KIND_OF_MATCH = (0, 0, 1, 2, 3, 4, 4, 5, 5, 5, 6, 6, 6, 6, 6, 7)
# Rounded from what a 135M chat model accepted on edits, summaries and chat; they only matter for the first guesses.
_PRIORS = (0.15, 0.3, 0.45, 0.55, 0.65, 0.75, 0.8, 0.9)


class Match(NamedTuple):
    """The last `length` tokens also stand right before `start`."""

    length: int
    start: int


class TokenIndex:
    """Where pairs of tokens, and single ones, stood in a growing list. Bounded: the oldest pairs are forgotten."""

    def __init__(self) -> None:
        self._num_indexed = 0
        self._ends_of_pair: dict[int, int] = {}
        self._older_ends: dict[int, int] = {}
        self._end_of_token: dict[int, int] = {}
        # One entry a token: where the pair that ends there stood before, -1 for nowhere.
        self._chain = array("i")
        self._last_match = Match(0, 0)

    def find(self, ids: SequenceOf[int]) -> Match:
        """The longest of the latest matches with the end of `ids`, the list of the last call with more tokens."""
        num_before = self._num_indexed
        self._extend(ids)
        end = len(ids) - 1
        best = self._followed(ids, len(ids) - num_before)
        candidate = self._chain[end]
        for _ in range(MAX_CHAIN):
            if candidate < 0 or best.length >= MAX_MATCH:
                break
            length = _match_len(ids, candidate, end)
            if length > best.length:
                best = Match(length, candidate + 1)
            candidate = self._chain[candidate]
        if best.length == 0 and (seen := self._end_of_token.get(ids[end], -1)) >= 0:
            best = Match(1, seen + 1)
        self._last_match = best
        return best

    def _extend(self, ids: SequenceOf[int]) -> None:
        """Index all pairs, and all tokens but the last, which would only find itself."""
        pairs, chain, singles = self._ends_of_pair, self._chain, self._end_of_token
        first = self._num_indexed
        if first == 0:
            chain.append(-1)
            first = 1
        for end in range(first, len(ids)):
            before = ids[end - 1]
            singles[before] = end - 1
            pair = (before << 32) | ids[end]
            seen = pairs.get(pair, -1)
            chain.append(seen if seen >= 0 else self._older_ends.get(pair, -1))
            pairs[pair] = end
            if len(pairs) > MAX_TABLE:
                self._older_ends = pairs
                pairs = self._ends_of_pair = {}
        self._num_indexed = len(ids)

    def _followed(self, ids: SequenceOf[int], num_new: int) -> Match:
        """The last match carried on over the new tokens, if they are what it foretold: it may lie beyond the chain."""
        length, start = self._last_match
        if length < 2 or list(ids[start : start + num_new]) != list(ids[len(ids) - num_new :]):
            return Match(0, 0)
        return Match(min(length + num_new, MAX_MATCH), start + num_new)


class PromptLookup:
    """A Drafter that needs no model. The kind of a guess is the length of the match before it."""

    priors: SequenceOf[float] = _PRIORS
    depth_s: float = 0.0

    def __init__(self, draft_tokens: int) -> None:
        self._indexes: dict[Sequence, TokenIndex] = {}
        self._starts: dict[Sequence, int] = {}
        # A guess is only looked at when those before it were right, and each of them makes the match one longer.
        kinds = [_KIND_OF_MATCH[min(length, 15)] for length in range(MAX_MATCH + draft_tokens + 1)]
        self._kinds = [tuple(kinds[length : length + draft_tokens]) for length in range(MAX_MATCH + 1)]

    def prospects(self, seqs: SequenceOf[Sequence]) -> list[SequenceOf[int]]:
        """A match of one token or more promises as many guesses as are wanted."""
        return [self._prospect(seq) for seq in seqs]

    def draft(self, asked: SequenceOf[tuple[Sequence, int]]) -> list[list[int]]:
        """What followed the match; where that reaches the end, the guesses themselves are read on (a repetition)."""
        return [_continuation(seq.token_ids, self._starts[seq], num_tokens) for seq, num_tokens in asked]

    def forget(self, seq: Sequence) -> None:
        self._indexes.pop(seq, None)
        self._starts.pop(seq, None)

    def _prospect(self, seq: Sequence) -> SequenceOf[int]:
        index = self._indexes.get(seq)
        if index is None:
            index = self._indexes[seq] = TokenIndex()
        match = index.find(seq.token_ids)
        if match.length == 0:
            return ()
        self._starts[seq] = match.start
        return self._kinds[match.length]


def _match_len(ids: SequenceOf[int], candidate: int, end: int) -> int:
    """How many tokens up to `candidate` equal those up to `end`."""
    length = 0
    most = min(MAX_MATCH, candidate + 1)
    while length < most and ids[candidate - length] == ids[end - length]:
        length += 1
    return length


def _continuation(ids: SequenceOf[int], start: int, num_tokens: int) -> list[int]:
    guesses = list(ids[start : start + num_tokens])
    for index in range(len(guesses), num_tokens):
        guesses.append(guesses[index - (len(ids) - start)])
    return guesses
