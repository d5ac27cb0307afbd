"""Finds calls written as a Python list, `[get_weather(city="Lima"), now()]`, at the beginning of an answer."""

import json
from collections.abc import Callable, Collection

from wayra.text.tools.call_object import MAX_NAME_CHARS
from wayra.text.tools.events import ArgumentsDelta, CallEnd, CallStart, TextDelta, ToolEvent
from wayra.text.tools.python_literals import NotLiterals, keyword_arguments

OPEN_TAG = "<|python_start|>"
CLOSE_TAG = "<|python_end|>"

_BLANK = " \t\n\r"


class PythonCallParser:
    """A ToolCallParser. A call is told of when its closing parenthesis has come: only then it is sure to be one.

    names: the tools there are, or None when unknown; only they are calls.
    """

    def __init__(self, names: Collection[str] | None = None) -> None:
        self._names = names
        self._state: Callable[[str], None] = self._in_start
        self._events: list[ToolEvent] = []
        self._shown: list[str] = []
        self._raw: list[str] = []
        self._mark = ""
        self._name = ""
        self._depth = 0
        self._quote = ""
        self._is_escaped = False
        self._arguments: list[str] = []
        self._count = 0

    def push(self, text: str) -> list[ToolEvent]:
        for char in text:
            self._state(char)
        return self._taken()

    def finish(self) -> list[ToolEvent]:
        is_rest_of_calls = self._state == self._in_closed and self._count > 0
        if not is_rest_of_calls:
            self._shown += self._raw
        self._raw.clear()
        self._state = self._in_text
        return self._taken()

    def _taken(self) -> list[ToolEvent]:
        if self._shown:
            self._events.append(TextDelta("".join(self._shown)))
            self._shown.clear()
        events, self._events = self._events, []
        return events

    def _in_text(self, char: str) -> None:
        self._shown.append(char)

    def _in_start(self, char: str) -> None:
        """Blanks, perhaps the open tag, then the bracket."""
        self._raw.append(char)
        if char in _BLANK and self._mark in ("", OPEN_TAG):
            return
        if char == "[" and self._mark in ("", OPEN_TAG):
            self._state = self._in_list
            return
        self._mark += char
        if not OPEN_TAG.startswith(self._mark):
            self._give_up()

    def _in_list(self, char: str) -> None:
        """Before a name."""
        self._raw.append(char)
        if char in _BLANK:
            return
        if not (char.isidentifier()):
            self._give_up()
            return
        self._name = char
        self._state = self._in_name

    def _in_name(self, char: str) -> None:
        self._raw.append(char)
        if char == "(":
            if self._names is not None and self._name not in self._names:
                self._give_up()
                return
            self._depth, self._quote, self._is_escaped = 1, "", False
            self._arguments = []
            self._state = self._in_arguments
        elif (char.isalnum() or char in "_.-") and len(self._name) < MAX_NAME_CHARS:
            self._name += char
        else:
            self._give_up()

    def _in_arguments(self, char: str) -> None:
        self._raw.append(char)
        if self._quote:
            if self._is_escaped:
                self._is_escaped = False
            elif char == "\\":
                self._is_escaped = True
            elif char == self._quote:
                self._quote = ""
        elif char in "\"'":
            self._quote = char
        elif char in "([{":
            self._depth += 1
        elif char in ")]}":
            self._depth -= 1
            if self._depth == 0:
                self._end_call()
                return
        self._arguments.append(char)

    def _end_call(self) -> None:
        try:
            values = keyword_arguments("".join(self._arguments))
        except NotLiterals:
            self._give_up()
            return
        arguments = json.dumps(values, ensure_ascii=False, allow_nan=False)
        self._events += [
            CallStart(self._count, self._name),
            ArgumentsDelta(self._count, arguments),
            CallEnd(self._count),
        ]
        self._count += 1
        self._raw.clear()
        self._state = self._in_after

    def _in_after(self, char: str) -> None:
        """Between calls."""
        self._raw.append(char)
        if char == ",":
            self._state = self._in_list
        elif char == "]":
            self._raw.clear()
            self._mark = ""
            self._state = self._in_closed
        elif char not in _BLANK:
            self._give_up()

    def _in_closed(self, char: str) -> None:
        """After the list: the close tag belongs to it, the rest is text."""
        self._raw.append(char)
        if char in _BLANK and self._mark in ("", CLOSE_TAG):
            return
        self._mark += char
        if not CLOSE_TAG.startswith(self._mark):
            self._give_up()

    def _give_up(self) -> None:
        """No call, or none any more: it is text, and so is what follows."""
        self._shown += self._raw
        self._raw.clear()
        self._state = self._in_text
