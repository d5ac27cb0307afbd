"""How long a step takes by how many tokens it holds, learned from the steps themselves.

A step of decoding tokens is modelled as g(tokens) + c * keys: reading the weights and computing the rows, which jumps
where kernels change their blocking, and attention, which grows with the keys read. g is a table filled by
measurement, interpolated where nothing was measured; c follows from the operation table's cost formulas.
"""

from bisect import bisect_left, insort
from dataclasses import dataclass

from wayra.base.errors import WayraError
from wayra.model.cost import cost
from wayra.model.record import record
from wayra.model.spec import ModelSpec

_FIRST_ROW_SHARE = 0.15
"""Until measured: what a row more adds to a step of one row."""
_KEY_FACTOR = 0.45
"""Seconds a FLOP of attention takes beside one of a step of a single row (which mostly waits for memory)."""
_SPEED = 0.15
_FRESH_STEPS = 200.0
_TRUSTED = 2.0
_KNOWN, _KNOWN_STEPS = 4, 64
_MOST_COUNTED = 8
# A step is slow by accident far more often than fast, and what once seemed too slow is not tried again soon.
_LEAST_RATIO, _MOST_RATIO = 0.5, 1.25
# Of a size never measured the expectation is a guess itself.
_MOST_FIRST_RATIO = 2.0


@dataclass(slots=True)
class _Entry:
    seconds: float
    count: int
    last_step: int


def key_share(spec: ModelSpec) -> float:
    """FLOPs that one key costs beside those of a whole row without keys; 0 where the family has no forward."""
    try:
        program = record(spec)
        near, far = (cost(program, tokens=1, rows=1, kv_lens=[n], weight_bits=4).flops for n in (1, 1025))
    except (WayraError, KeyError):
        return 0.0
    return (far - near) / 1024 / near


class StepTimes:
    """key_share: see above."""

    def __init__(self, key_share: float) -> None:
        self._key_share = key_share
        self._entries: dict[int, _Entry] = {}
        self._sizes: list[int] = []
        # Everything slows down together when others use the machine; one factor follows that at once.
        self._scale = 1.0
        self._row_s = 0.0
        self._last: tuple[int, float] | None = None
        self._num_steps = 0

    def is_known(self, num_tokens: int) -> bool:
        """Whether steps of exactly this size were measured often enough, and lately.

        Guesses pay or not beside the step without them, so it has to be taken now and then while guesses pay.
        """
        entry = self._entries.get(num_tokens)
        return entry is not None and entry.count >= _KNOWN and self._num_steps - entry.last_step <= _KNOWN_STEPS

    @property
    def largest(self) -> int:
        """Tokens of the largest step measured."""
        return self._sizes[-1]

    def observe(self, num_tokens: int, num_keys: int, seconds: float) -> None:
        """A step of `num_tokens` decoding tokens, which read `num_keys` keys together, took so long."""
        self._num_steps += 1
        if not self._entries:
            keys_share = num_keys * self._key_share * _KEY_FACTOR / num_tokens
            self._enter(num_tokens, seconds / (1.0 + keys_share))
            self._row_s = self._entries[num_tokens].seconds * _FIRST_ROW_SHARE
            return
        entry = self._entries.get(num_tokens)
        if entry is None:
            own_s = seconds / self._scale - self._keys_s(num_keys)
            self._enter(num_tokens, _clipped(own_s, self._between(num_tokens), _MOST_FIRST_RATIO))
        else:
            expected = self.estimate(num_tokens, num_keys)
            change = _clipped(seconds, expected) / expected - 1.0
            entry.seconds *= 1.0 + max(_SPEED, 1.0 / (entry.count + 1)) * change
            entry.count = min(entry.count + 1, _MOST_COUNTED)
            entry.last_step = self._num_steps
            self._scale *= 1.0 + _SPEED * change
        self._learn_row(num_tokens, _clipped(seconds / self._scale - self._keys_s(num_keys), self._table_s(num_tokens)))

    def _enter(self, num_tokens: int, seconds: float) -> None:
        self._entries[num_tokens] = _Entry(seconds, 1, self._num_steps)
        insort(self._sizes, num_tokens)

    def estimate(self, num_tokens: int, num_keys: int) -> float:
        """Seconds of such a step. Only once something was measured."""
        return self._scale * (self._table_s(num_tokens) + self._keys_s(num_keys))

    def curve(self, num_tokens: int, num_keys: int, num_more: int) -> list[float]:
        """Seconds with 0, 1, ... num_more tokens more, each reading as many keys as the present ones on average."""
        key_s = self._keys_s(num_keys / num_tokens)
        table = self._table_s
        return [self._scale * (table(n) + n * key_s) for n in range(num_tokens, num_tokens + num_more + 1)]

    def _keys_s(self, num_keys: float) -> float:
        return num_keys * self._key_share * _KEY_FACTOR * self._plain_s()

    def _plain_s(self) -> float:
        """Seconds of a step of one token without keys, which the cost of a key is a share of."""
        num_tokens = self._sizes[0]
        return max(self._entries[num_tokens].seconds - (num_tokens - 1) * self._row_s, self._row_s)

    def _table_s(self, num_tokens: int) -> float:
        entry = self._entries.get(num_tokens)
        if entry is None:
            return self._between(num_tokens)
        # What was measured long ago, perhaps in a bad moment, gives way to what the latest step says.
        weight = entry.count * 0.5 ** ((self._num_steps - entry.last_step) / _FRESH_STEPS)
        if weight > _TRUSTED or self._last is None:
            return entry.seconds
        latest, latest_s = self._last
        return (weight * entry.seconds + 0.25 * self._beyond(latest_s, num_tokens - latest)) / (weight + 0.25)

    def _between(self, num_tokens: int) -> float:
        """On the line through the nearest other entries to both sides, or beyond them with the usual seconds a row."""
        sizes = self._sizes
        above = bisect_left(sizes, num_tokens)
        below = above - 1
        if above < len(sizes) and sizes[above] == num_tokens:
            above += 1
        if below >= 0 and above < len(sizes):
            low, high = sizes[below], sizes[above]
            share = (num_tokens - low) / (high - low)
            return (1.0 - share) * self._entries[low].seconds + share * self._entries[high].seconds
        if below < 0 and above == len(sizes):
            return self._entries[num_tokens].seconds
        near = sizes[below if below >= 0 else above]
        return self._beyond(self._entries[near].seconds, num_tokens - near)

    def _beyond(self, seconds: float, num_more: int) -> float:
        return max(seconds + num_more * self._row_s, self._row_s)

    def _learn_row(self, num_tokens: int, own_s: float) -> None:
        """Two steps one after the other differ by their tokens and little else."""
        if self._last is not None and self._last[0] != num_tokens:
            difference = num_tokens - self._last[0]
            found = min(3.0 * self._row_s, (own_s - self._last[1]) / difference)
            speed = min(0.3, 0.05 * abs(difference))
            self._row_s = max(0.01 * self._plain_s(), self._row_s + speed * (found - self._row_s))
        self._last = (num_tokens, own_s)


def _clipped(seconds: float, expected: float, most_ratio: float = _MOST_RATIO) -> float:
    return min(most_ratio * expected, max(_LEAST_RATIO * expected, seconds))
