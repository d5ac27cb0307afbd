"""Typed reading of GGUF key-values. Every value may be of the wrong type; the message names its key."""

import math
import operator
from collections.abc import Collection, Mapping
from typing import Any, cast

from wayra.base.errors import FileFormatError
from wayra.text.recipe import MAX_VOCAB_SIZE


def _wrong(key: str, seen: object, expected: str) -> FileFormatError:
    return FileFormatError(f"{key} is {type(seen).__name__}, expected {expected}; fetch the model again")


def read_string(metadata: Mapping[str, object], key: str) -> str | None:
    """The string under `key`, None when it is absent."""
    value = metadata.get(key)
    if value is not None and not isinstance(value, str):
        raise _wrong(key, value, "a string")
    return value


def read_flag(metadata: Mapping[str, object], key: str) -> bool | None:
    """The boolean under `key`, None when it is absent."""
    value = metadata.get(key)
    if value is None or isinstance(value, bool):
        return value
    if type(value).__name__ in {"bool_", "bool"}:
        return bool(value)
    raise _wrong(key, value, "a boolean")


def read_token_id(metadata: Mapping[str, object], key: str, vocab_size: int) -> int | None:
    """The token id under `key`, None when it is absent or -1 (written as such or as an unsigned number)."""
    value = metadata.get(key)
    if value is None:
        return None
    token_id = _as_index(key, value)
    if token_id in (-1, 0xFFFFFFFF):
        return None
    if not 0 <= token_id < vocab_size:
        raise FileFormatError(f"{key} is {token_id}, the vocabulary has {vocab_size} entries; fetch the model again")
    return token_id


def read_strings(metadata: Mapping[str, object], key: str) -> list[str]:
    """The array of strings under `key`; it must be there."""
    values = _read_array(metadata, key)
    if any(type(value) is not str for value in values):
        raise FileFormatError(f"{key} holds something other than strings; fetch the model again")
    return cast(list[str], values)


def read_integers(metadata: Mapping[str, object], key: str, count: int) -> list[int]:
    """The array of `count` integers under `key`; it must be there."""
    values = _sized(key, _read_array(metadata, key), count)
    try:
        return list(map(operator.index, cast(list[Any], values)))
    except TypeError as error:
        raise FileFormatError(f"{key} holds something other than integers; fetch the model again") from error


def read_floats(metadata: Mapping[str, object], key: str, count: int) -> list[float]:
    """The array of `count` finite numbers under `key`; it must be there."""
    values = _sized(key, _read_array(metadata, key), count)
    try:
        numbers = list(map(float, cast(list[Any], values)))
    except (TypeError, ValueError, OverflowError) as error:
        raise FileFormatError(f"{key} holds something other than numbers; fetch the model again") from error
    if not all(map(math.isfinite, numbers)):
        raise FileFormatError(f"{key} holds a number that is not finite; fetch the model again")
    return numbers


def _as_index(key: str, value: object) -> int:
    try:
        return operator.index(cast(Any, value))
    except TypeError as error:
        raise _wrong(key, value, "an integer") from error


def _read_array(metadata: Mapping[str, object], key: str) -> list[object]:
    value = metadata.get(key)
    if value is None:
        raise FileFormatError(f"{key} is missing; the file holds no complete tokenizer, fetch the model again")
    is_array = hasattr(value, "__len__") and hasattr(value, "__iter__")
    if isinstance(value, str | bytes | Mapping) or not is_array:
        raise _wrong(key, cast(object, value), "an array")
    array = cast(Collection[object], value)
    if len(array) > MAX_VOCAB_SIZE:
        raise FileFormatError(f"{key} has {len(array)} entries, limit is {MAX_VOCAB_SIZE}; fetch the model again")
    return list(array)


def _sized(key: str, values: list[object], count: int) -> list[object]:
    if len(values) != count:
        raise FileFormatError(f"{key} has {len(values)} entries, the vocabulary has {count}; fetch the model again")
    return values
