"""Finds stop strings in a stream of text, whatever pieces it comes in."""

from collections.abc import Sequence

from wayra.base.errors import InvalidParameter

MAX_STOP_LEN = 4096
MAX_STOPS = 64


class StopMatcher:
    """Cuts a stream before the stop string that is complete first (the longest of those complete at once).

    Text that may be the beginning of a stop string is held back until that is decided, and no longer. Where the
    stream is cut into pieces changes nothing. Time is linear in the text (Knuth, Morris and Pratt 1977).
    matched: the stop string found, or None.
    Raises InvalidParameter for an empty stop string, one over MAX_STOP_LEN characters, or more than MAX_STOPS.
    Not thread-safe: one stream, one matcher.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        if isinstance(stops, str) or any(type(stop) is not str or not 0 < len(stop) <= MAX_STOP_LEN for stop in stops):
            raise InvalidParameter(
                f"stop is {stops!r:.80}, expected a list of strings of 1 to {MAX_STOP_LEN} characters"
            )
        if len(stops) > MAX_STOPS:
            raise InvalidParameter(f"there are {len(stops)} stop strings, limit is {MAX_STOPS}; use fewer")
        # Longest first, so that of those complete at the same character the longest is met first.
        self._stops = sorted(set(stops), key=lambda stop: (-len(stop), stop))
        self._borders = [_border_lengths(stop) for stop in self._stops]
        self._progress = [0] * len(self._stops)
        self._held = ""
        self.matched: str | None = None

    def push(self, text: str) -> tuple[str, bool]:
        """Text that is safe to show, and whether a stop string has ended the stream; what follows it is dropped."""
        if self.matched is not None:
            return "", True
        if not self._stops:
            return text, False
        for seen, char in enumerate(text, 1):
            stop = self._advance(char)
            if stop is not None:
                self.matched = stop
                shown = self._held + text[:seen]
                self._held = ""
                return shown[: len(shown) - len(stop)], True
        held = self._held + text
        safe_len = len(held) - max(self._progress)
        self._held = held[safe_len:]
        return held[:safe_len], False

    def flush(self) -> str:
        """The text held back: the stream is over and it did not become a stop string."""
        held, self._held = self._held, ""
        self._progress = [0] * len(self._stops)
        return held

    def _advance(self, char: str) -> str | None:
        """Take one character; the stop string it completes, if any."""
        for index, stop in enumerate(self._stops):
            matched_len, borders = self._progress[index], self._borders[index]
            while matched_len and stop[matched_len] != char:
                matched_len = borders[matched_len - 1]
            if stop[matched_len] == char:
                matched_len += 1
            if matched_len == len(stop):
                return stop
            self._progress[index] = matched_len
        return None


def _border_lengths(stop: str) -> list[int]:
    """For each prefix of `stop`, the length of its longest proper prefix that is also its suffix."""
    borders = [0] * len(stop)
    border = 0
    for index in range(1, len(stop)):
        while border and stop[index] != stop[border]:
            border = borders[border - 1]
        if stop[index] == stop[border]:
            border += 1
        borders[index] = border
    return borders
