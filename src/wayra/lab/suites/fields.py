"""Typed access to the fields of a row, under any of the names data sets give them; what is missing is said by name."""

from collections.abc import Mapping, Sequence
from typing import cast

import msgspec

from wayra.lab.suites.rows import Fields

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class BadRow(Exception):
    """A row lacks what its suite needs; becomes a Problem."""


def optional(row: Fields, *names: str) -> object:
    """The first of the fields that is there and not null; None when none is."""
    return next((row[name] for name in names if row.get(name) is not None), None)


def field(row: Fields, *names: str) -> object:
    found = optional(row, *names)
    if found is None:
        raise BadRow(f"lacks {' or '.join(repr(name) for name in names)}; it has {', '.join(map(repr, row))}"[:300])
    return found


def text(row: Fields, *names: str) -> str:
    found = field(row, *names)
    if isinstance(found, bool) or not isinstance(found, str | int | float):
        raise BadRow(f"{names[0]!r} is a {type(found).__name__}, expected text")
    return str(found)


def texts(row: Fields, *names: str) -> tuple[str, ...]:
    """A list of texts; also written as JSON in a text."""
    found = field(row, *names)
    if isinstance(found, str):
        found = parsed(found)
    if isinstance(found, str) or not isinstance(found, Sequence) or not found:
        raise BadRow(f"{names[0]!r} is a {type(found).__name__}, expected a list of texts")
    values = cast(Sequence[object], found)
    if any(not isinstance(value, str | int | float) for value in values):
        raise BadRow(f"{names[0]!r} holds something other than texts")
    return tuple(str(value) for value in values)


def mapping(row: Fields, *names: str) -> Mapping[str, object]:
    found = field(row, *names)
    if not isinstance(found, Mapping):
        raise BadRow(f"{names[0]!r} is a {type(found).__name__}, expected an object")
    return cast(Mapping[str, object], found)


def choice_index(value: object, count: int, labels: Sequence[str] = ()) -> int:
    """Which choice is meant by an index (0...), one of the labels, or a letter (A...). Raises BadRow."""
    if isinstance(value, str) and value in labels:
        return list(labels).index(value)
    if isinstance(value, str) and len(value.strip()) == 1 and value.strip().upper() in LETTERS:
        index = LETTERS.index(value.strip().upper())
    else:
        try:
            index = int(str(value))
        except ValueError as error:
            raise BadRow(f"the answer is {str(value)[:40]!r}, expected an index or a letter") from error
    if not 0 <= index < count:
        raise BadRow(f"the answer is choice {index + 1} of {count}")
    return index


def parsed(value: str) -> object:
    """A field that holds JSON as text. Raises BadRow."""
    try:
        return msgspec.json.decode(value.encode())
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadRow(f"a field is no JSON: {error}") from error
