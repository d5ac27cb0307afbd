"""Typed, bounded reading of untrusted key-values: config.json and GGUF metadata go through here, and nowhere else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from wayra.base.errors import FileFormatError

_MAX_SHOWN = 60


def shown(value: object) -> str:
    """A value for an error message: short, whatever a hostile file holds."""
    if isinstance(value, int) and value.bit_length() > 64:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, list | tuple | dict):
        kind = "an object" if isinstance(value, dict) else "a list"
        return f"{kind} of {len(cast(Sequence[object], value))}"
    text = repr(value) if isinstance(value, str | int | float | bool | None) else f"a {type(value).__name__}"
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."


@dataclass(frozen=True, slots=True)
class Keys:
    """Key-values of one file. source: what to call it in messages. A key that holds null counts as absent.

    Every reader raises FileFormatError on a wrong type, and on an absent key that has no default.
    """

    values: Mapping[str, object]
    source: str

    def get(self, key: str) -> object:
        return self.values.get(key)

    def integer(self, key: str, default: int | None = None) -> int:
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(key, value, "an integer")
        if value.bit_length() > 64:
            raise self._wrong(key, value, "an integer of at most 64 bits")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(key, value, "a number")
        if isinstance(value, int) and value.bit_length() > 64:
            raise self._wrong(key, value, "a number of ordinary size")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self._value(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        value = self._value(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, value, "a text")
        return value

    def table(self, key: str) -> Mapping[str, object] | None:
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise self._wrong(key, value, "an object")
        return cast(Mapping[str, object], value)

    def texts(self, key: str) -> tuple[str, ...] | None:
        value = self.values.get(key)
        if value is None:
            return None
        items: list[object] = cast(list[object], value) if isinstance(value, list) else [None]
        texts = tuple(item for item in items if isinstance(item, str))
        if len(texts) != len(items):
            raise self._wrong(key, self.values[key], "a list of texts")
        return texts

    def _value(self, key: str, default: object) -> object:
        value = self.values.get(key)
        if value is None:
            value = default
        if value is None:
            raise FileFormatError(f"{self.source} lacks {key}; it is needed to run the model")
        return value

    def _wrong(self, key: str, value: object, expected: str) -> FileFormatError:
        return FileFormatError(f"{self.source}: {key} is {shown(value)}; expected {expected}")
