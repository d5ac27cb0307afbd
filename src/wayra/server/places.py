"""Places for requests under way: as many as one engine computes side by side, and those that may wait for it.

With several API keys nobody may take every place to wait: what one key may hold falls as the queue fills, so that some
places stay free for the others. (Switches share their buffers like this: dynamic thresholds, Choudhury and Hahne 1998.)
"""

from collections.abc import Mapping

from wayra.server.errors import ApiError, retry_after

SHARE_OF_FREE = 4
"""Places to wait that one key may hold for each that is free: alone it gets four fifths of them."""
LEAST_RETRY_MS = 100
MOST_RETRY_MS = 30_000


class Places:
    """weights: of the API keys by name. Changed in the event loop only.

    in_flight: places taken.
    """

    def __init__(self, max_running: int, max_waiting: int, weights: Mapping[str, int]) -> None:
        self.in_flight = 0
        self._max_running = max_running
        self._room = max_running + max_waiting
        self._weights = weights
        self._most_weight = max(weights.values(), default=1)
        self._in_flight_of: dict[str, int] = {}
        # Of one request, a moving mean, to tell refused ones when to come again.
        self._mean_s = 1.0

    def check(self, key: str, count: int) -> None:
        """Raises ApiError 429, saying when to come again, when there is no room for so many of a key, or 400."""
        if count > self._room:
            raise ApiError(400, f"the request asks for {count:,} answers, limit is {self._room:,}; ask for fewer", "n")
        total = self.in_flight + count
        if total > self._room:
            raise self._full(f"{self.in_flight:,} requests are under way, limit is {self._room:,}", total)
        held = self._in_flight_of.get(key, 0)
        if held and self._num_waiting(held + count, total) > self._most_waiting(key, self._room - total):
            said = f"{held:,} requests of this API key are under way, and the places left are kept for other keys"
            raise self._full(said, total)

    def take(self, key: str, count: int) -> None:
        """Every place taken needs its `give_back`."""
        self.in_flight += count
        self._in_flight_of[key] = self._in_flight_of.get(key, 0) + count

    def give_back(self, key: str, count: int, seconds: float) -> None:
        """seconds: how long they were taken."""
        self.in_flight -= count
        left = self._in_flight_of.pop(key) - count
        if left:
            self._in_flight_of[key] = left
        self._mean_s += 0.1 * (seconds - self._mean_s)

    def _num_waiting(self, held: int, total: int) -> float:
        """Of the requests of a key. Which they are only the engine knows: everybody's are taken for the same part."""
        return held * max(0, total - self._max_running) / total

    def _most_waiting(self, key: str, num_free: int) -> float:
        if len(self._weights) < 2:
            return self._room
        return SHARE_OF_FREE * num_free * self._weights.get(key, 1) / self._most_weight

    def _full(self, said: str, total: int) -> ApiError:
        waiting = max(1, total - self._max_running)
        wait_ms = min(MOST_RETRY_MS, max(LEAST_RETRY_MS, int(1000 * self._mean_s * waiting / self._max_running)))
        said = f"{said}; try again in {wait_ms / 1000:g} s"
        return ApiError(429, said, code="queue_full", headers=retry_after(wait_ms))
