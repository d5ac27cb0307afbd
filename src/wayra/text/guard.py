"""Keeps control tokens written by users from becoming control tokens, without changing any other token of a prompt.

A chat template mixes its own control tokens with what users wrote, and its output is one text. So the users' strings
are marked before rendering: a character that occurs in none of them is put after the first character of whatever reads
like a control token. Marked text does not match while control tokens are looked for; the marks are dropped afterwards,
before the rest is encoded. Strings without such text, nearly all, are not touched, so a template sees what it expects.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar, cast

from wayra.base.errors import InvalidParameter

T = TypeVar("T")

_CANDIDATES = tuple(chr(0x10FF00 + offset) for offset in range(64))
"""Private-use characters, one of which marks. No more than 64 are tried: a text that holds them all is an attack."""


class ControlTextGuard:
    """Marks what reads like one of `control_texts`, in any case of letters. Immutable.

    Also marks the beginning of one at the end of a string, which could be completed by what follows it.
    """

    def __init__(self, control_texts: Iterable[str]) -> None:
        self._texts = {text.lower() for text in control_texts if text}
        lengths: dict[str, set[int]] = {}
        for text in self._texts:
            lengths.setdefault(text[0], set()).add(len(text))
        self._lengths = {first: tuple(sorted(found)) for first, found in lengths.items()}
        self._prefixes = {text[:cut] for text in self._texts for cut in range(1, len(text))}
        self._max_len = max(map(len, self._texts), default=0)

    def protect(self, value: T) -> tuple[T, str]:
        """A copy of a JSON value with its strings (keys too) marked, and the mark; the value itself and "" if none is.

        Raises InvalidParameter for a text that holds every character a mark could be.
        """
        strings = list(_strings(value))
        if not any(self._positions(text) for text in strings):
            return value, ""
        mark = next((c for c in _CANDIDATES if not any(c in text for text in strings)), None)
        if mark is None:
            raise InvalidParameter("the messages hold control tokens and every private-use character; leave one out")
        return cast(T, self._marked(value, mark)), mark

    def _marked(self, value: object, mark: str) -> object:
        if isinstance(value, str):
            return self._marked_text(value, mark)
        if isinstance(value, Mapping):
            items = cast(Mapping[object, object], value).items()
            return {self._marked(key, mark): self._marked(entry, mark) for key, entry in items}
        if isinstance(value, list | tuple):
            return [self._marked(entry, mark) for entry in cast(Sequence[object], value)]
        return value

    def _marked_text(self, text: str, mark: str) -> str:
        parts: list[str] = []
        done = 0
        for position in self._positions(text):
            parts += (text[done : position + 1], mark)
            done = position + 1
        return "".join(parts) + text[done:]

    def _positions(self, text: str) -> list[int]:
        """Where control tokens begin, complete ones anywhere and incomplete ones at the end."""
        found: set[int] = set()
        for first, lengths in self._lengths.items():
            for variant in {first, first.upper()}:
                start = text.find(variant)
                while start != -1:
                    if self._begins(text, start, lengths):
                        found.add(start)
                    start = text.find(variant, start + 1)
        return sorted(found)

    def _begins(self, text: str, start: int, lengths: Sequence[int]) -> bool:
        # Lower-cased after slicing: some letters change their length.
        if any(text[start : start + length].lower() in self._texts for length in lengths):
            return True
        return len(text) - start < self._max_len and text[start:].lower() in self._prefixes


def without_marks(text: str, mark: str) -> str:
    """The text as it was before `protect`; also where a template wrote the mark as a JSON escape."""
    high, low = divmod(ord(mark) - 0x10000, 0x400)
    return text.replace(mark, "").replace(f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}", "")


def _strings(value: object) -> Iterable[str]:
    waiting: list[object] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping):
            for key, entry in cast(Mapping[object, object], item).items():
                waiting += (key, entry)
        elif isinstance(item, list | tuple):
            waiting += cast(Sequence[object], item)
