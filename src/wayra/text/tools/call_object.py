"""Reads one call written as a JSON object with a name and arguments, and gives the arguments as they come."""

import json
from typing import cast

from wayra.text.tools.json_scan import JsonScanner, Verdict

MAX_NAME_CHARS = 256

_ARGUMENTS = ("arguments", "parameters")
_KEYS = ("name", *_ARGUMENTS, "type", "id", "function")
_BLANK = " \t\n\r"


def is_name(text: str) -> bool:
    """Whether it can be the name of a function that somebody declared."""
    return 0 < len(text) <= MAX_NAME_CHARS and _is_text(text)


def _is_text(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


class CallObject:
    """`{"name": ..., "arguments": {...}}`, the keys in any order, `parameters` for `arguments`, other keys passed over.

    Feed it characters, the opening brace first. name: known from some character on. Arguments written as a string that
    holds JSON are unpacked; missing ones, or null, are an empty object.
    knows_all_keys: a key that calls do not have makes it something else at once.
    """

    def __init__(self, knows_all_keys: bool = False) -> None:
        self._knows_all_keys = knows_all_keys
        self.name: str | None = None
        self.has_arguments = False
        self.is_whole = False
        self._state = "open"
        self._key = ""
        self._scanner = JsonScanner()
        self._streams = False
        self._text: list[str] = []
        self._arguments: list[str] = []

    def feed(self, char: str) -> Verdict:
        """GOES_ON, ENDED with the closing brace, or WRONG: it is no call."""
        if self._state in ("key", "value"):
            return self._feed_scanner(char)
        if self._state == "open":
            self._state = "first"
            return Verdict.GOES_ON if char == "{" else Verdict.WRONG
        if char in _BLANK:
            return Verdict.GOES_ON
        if self._state == "colon":
            self._state = "before_value"
            return Verdict.GOES_ON if char == ":" else Verdict.WRONG
        if self._state == "after" and char == ",":
            self._state = "before_key"
            return Verdict.GOES_ON
        if char == "}" and self._state in ("first", "after"):
            return self._end()
        if self._state in ("first", "before_key") and char == '"':
            return self._begin("key", char)
        return self._begin("value", char) if self._state == "before_value" else Verdict.WRONG

    def take_arguments(self) -> str:
        """The arguments that came since the last time."""
        text = "".join(self._arguments)
        self._arguments.clear()
        return text

    def _begin(self, state: str, char: str) -> Verdict:
        self._state = state
        self._scanner = JsonScanner()
        self._text = []
        is_arguments = state == "value" and self._key in _ARGUMENTS
        self._streams = is_arguments and char == "{"
        if is_arguments:
            if self.has_arguments or char not in '{"n':
                return Verdict.WRONG
            self.has_arguments = True
        return self._feed_scanner(char)

    def _feed_scanner(self, char: str) -> Verdict:
        verdict = self._scanner.feed(char)
        if verdict is Verdict.WRONG:
            return verdict
        if verdict is Verdict.ENDED_BEFORE:
            return self._ended(char)
        (self._arguments if self._streams else self._text).append(self._scanner.written)
        return self._ended(None) if verdict is Verdict.ENDED else verdict

    def _ended(self, following: str | None) -> Verdict:
        """A key or value is complete."""
        text = "".join(self._text)
        if self._state == "key":
            self._key = cast(str, json.loads(text))
            self._state = "colon"
            return Verdict.WRONG if self._knows_all_keys and self._key not in _KEYS else Verdict.GOES_ON
        self._state = "after"
        if self._key == "name":
            name = cast(object, json.loads(text))
            if self.name is not None or not isinstance(name, str) or not is_name(name):
                return Verdict.WRONG
            self.name = name
        elif self._key in _ARGUMENTS:
            if not self._streams and not self._unpack(text):
                return Verdict.WRONG
            self.is_whole = True
        return Verdict.GOES_ON if following is None else self.feed(following)

    def _unpack(self, text: str) -> bool:
        """Arguments that are null or a string; whether they are arguments."""
        value = cast(object, json.loads(text))
        if value is None:
            value = "{}"
        if not isinstance(value, str):
            return False
        inner = JsonScanner()
        stripped = value.strip(_BLANK)
        if not stripped.startswith("{") or not _is_text(stripped):
            return False
        for index, char in enumerate(stripped):
            verdict = inner.feed(char)
            self._arguments.append(inner.written)
            if verdict is not Verdict.GOES_ON:
                return verdict is Verdict.ENDED and index == len(stripped) - 1
        return False

    def _end(self) -> Verdict:
        if self.name is None:
            return Verdict.WRONG
        if not self.has_arguments:
            self._arguments.append("{}")
            self.is_whole = True
        return Verdict.ENDED
