"""Follows one JSON value character by character: where it ends, and whether it can still become one."""

import re
from enum import Enum, auto

MAX_DEPTH = 256

_BLANK = " \t\n\r"
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_LITERALS = ("true", "false", "null")
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


class Verdict(Enum):
    """What a character did to the value: it goes on, ended with it, ended before it, or is no JSON."""

    GOES_ON = auto()
    ENDED = auto()
    ENDED_BEFORE = auto()
    WRONG = auto()


class _Expects(Enum):
    VALUE = auto()
    VALUE_OR_CLOSE = auto()
    KEY = auto()
    KEY_OR_CLOSE = auto()
    COLON = auto()
    COMMA_OR_CLOSE = auto()


class JsonScanner:
    """One value. `feed` its characters from the first on, which is not blank; `written` is how JSON writes the last.

    Raw control characters in strings, which models write and JSON forbids, are taken and written escaped.
    """

    def __init__(self) -> None:
        self.written = ""
        self._closers: list[str] = []
        self._expects = _Expects.VALUE
        self._in_string = False
        self._is_key = False
        self._escape: str | None = None
        self._word = ""

    def feed(self, char: str) -> Verdict:
        """Take the next character. After anything but GOES_ON the scanner is done."""
        self.written = char
        if self._in_string:
            return self._string(char)
        if self._word:
            if char.isascii() and (char.isalnum() or char in "+-."):
                self._word += char
                return self._fitting_word()
            if not _is_whole(self._word):
                return Verdict.WRONG
            self._word = ""
            if not self._closers:
                return Verdict.ENDED_BEFORE
            self._expects = _Expects.COMMA_OR_CLOSE
        if char in _BLANK:
            return Verdict.GOES_ON
        return self._mark(char)

    def ends_here(self) -> bool:
        """Whether the value is complete if nothing follows: only a number or a word can be."""
        return not self._closers and _is_whole(self._word)

    def _mark(self, char: str) -> Verdict:
        expects = self._expects
        if char in "}]":
            return self._close(char)
        if expects is _Expects.COLON:
            self._expects = _Expects.VALUE
            return Verdict.GOES_ON if char == ":" else Verdict.WRONG
        if expects is _Expects.COMMA_OR_CLOSE:
            self._expects = _Expects.KEY if self._closers[-1] == "}" else _Expects.VALUE
            return Verdict.GOES_ON if char == "," else Verdict.WRONG
        if expects in (_Expects.KEY, _Expects.KEY_OR_CLOSE):
            self._in_string = self._is_key = True
            return Verdict.GOES_ON if char == '"' else Verdict.WRONG
        return self._value(char)

    def _value(self, char: str) -> Verdict:
        if char == '"':
            self._in_string, self._is_key = True, False
        elif char in "{[":
            if len(self._closers) == MAX_DEPTH:
                return Verdict.WRONG
            self._closers.append("}" if char == "{" else "]")
            self._expects = _Expects.KEY_OR_CLOSE if char == "{" else _Expects.VALUE_OR_CLOSE
        else:
            self._word = char
            return self._fitting_word()
        return Verdict.GOES_ON

    def _close(self, char: str) -> Verdict:
        may_close = self._expects in (_Expects.COMMA_OR_CLOSE, _Expects.KEY_OR_CLOSE, _Expects.VALUE_OR_CLOSE)
        if not may_close or not self._closers or self._closers[-1] != char:
            return Verdict.WRONG
        self._closers.pop()
        return self._after_value()

    def _after_value(self) -> Verdict:
        self._expects = _Expects.COMMA_OR_CLOSE
        return Verdict.GOES_ON if self._closers else Verdict.ENDED

    def _string(self, char: str) -> Verdict:
        if self._escape is not None:
            return self._escaped(char)
        if char == "\\":
            self._escape = ""
        elif char == '"':
            self._in_string = False
            if not self._is_key:
                return self._after_value()
            self._expects = _Expects.COLON
        elif char < " ":
            self.written = _ESCAPES.get(char, f"\\u{ord(char):04x}")
        return Verdict.GOES_ON

    def _escaped(self, char: str) -> Verdict:
        """A character of an escape sequence; `_escape` holds those before it."""
        if not self._escape:
            self._escape = "u" if char == "u" else None
            return Verdict.GOES_ON if char in '"\\/bfnrtu' else Verdict.WRONG
        if char not in "0123456789abcdefABCDEF":
            return Verdict.WRONG
        self._escape = None if len(self._escape) == 4 else self._escape + char
        return Verdict.GOES_ON

    def _fitting_word(self) -> Verdict:
        word = self._word
        is_number = word[0] in "-0123456789" and len(word) <= 1024
        return Verdict.GOES_ON if is_number or any(w.startswith(word) for w in _LITERALS) else Verdict.WRONG


def _is_whole(word: str) -> bool:
    return word in _LITERALS or _NUMBER.fullmatch(word) is not None
