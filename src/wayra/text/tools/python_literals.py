"""Reads keyword arguments written as Python literals, without Python's own parser: the text comes from a model."""

import json
import re
from typing import Any

MAX_DEPTH = 64

_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    r"""|(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)|(?P<name>[^\W\d]\w*)|(?P<mark>[][(){},:=]))""",
    re.DOTALL | re.ASCII,
)
_CONSTANTS: dict[str, bool | None] = {
    "True": True, "False": False, "None": None, "true": True, "false": False, "null": None,
}  # fmt: skip
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0", "\n": "", "/": "/"}


class NotLiterals(Exception):
    """The text is not a list of keyword arguments with literal values."""


def keyword_arguments(text: str) -> dict[str, Any]:
    """`a=1, b={'c': [True, None]}` as a dictionary of plain data. Words of JSON (true, null) are taken too.

    Raises NotLiterals for anything else.
    """
    return _Reader(text).arguments()


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        end = 0
        stripped = text.rstrip()
        while end < len(stripped):
            match = _TOKEN.match(stripped, end)
            if match is None or match.lastgroup is None:
                raise NotLiterals
            self._tokens.append((match.lastgroup, match[match.lastgroup]))
            end = match.end()
        self._next = 0

    def arguments(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while self._next < len(self._tokens):
            kind, name = self._take()
            if kind != "name" or name in values or self._take() != ("mark", "="):
                raise NotLiterals
            values[name] = self._value(0)
            if self._next < len(self._tokens) and self._take() != ("mark", ","):
                raise NotLiterals
        return values

    def _take(self) -> tuple[str, str]:
        if self._next == len(self._tokens):
            raise NotLiterals
        self._next += 1
        return self._tokens[self._next - 1]

    def _value(self, depth: int) -> Any:
        kind, text = self._take()
        if depth > MAX_DEPTH:
            raise NotLiterals
        if kind == "string":
            return _unescaped(text[1:-1])
        if kind == "number":
            return _number(text)
        if kind == "name" and text in _CONSTANTS:
            return _CONSTANTS[text]
        if text == "{" and kind == "mark":
            return self._dict(depth)
        if text in ("[", "(") and kind == "mark":
            return self._list("]" if text == "[" else ")", depth)
        raise NotLiterals

    def _list(self, closer: str, depth: int) -> list[Any]:
        values: list[Any] = []
        while not self._closes(closer):
            values.append(self._value(depth + 1))
            self._separate(closer)
        return values

    def _dict(self, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not self._closes("}"):
            key = self._value(depth + 1)
            if not isinstance(key, str) or self._take() != ("mark", ":"):
                raise NotLiterals
            values[key] = self._value(depth + 1)
            self._separate("}")
        return values

    def _closes(self, closer: str) -> bool:
        if self._next < len(self._tokens) and self._tokens[self._next] == ("mark", closer):
            self._next += 1
            return True
        return False

    def _separate(self, closer: str) -> None:
        """A comma, or the closer ahead."""
        if self._next < len(self._tokens) and self._tokens[self._next] == ("mark", closer):
            return
        if self._take() != ("mark", ","):
            raise NotLiterals


def _number(text: str) -> int | float:
    try:
        value = float(text) if any(char in text for char in ".eE") else int(text)
        json.dumps(value, allow_nan=False)
    except ValueError as error:
        raise NotLiterals from error
    return value


def _unescaped(text: str) -> str:
    def written(match: re.Match[str]) -> str:
        escape = match[1]
        if len(escape) > 1:
            code = int(escape[1:], 16)
            return chr(code) if code < 0x110000 else "\ufffd"
        return _LETTERS.get(escape, escape if escape in "\\'\"" else match[0])

    plain = _ESCAPE.sub(written, text) if "\\" in text else text
    # Halves of a surrogate pair written one by one make a character; a half alone is none.
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
