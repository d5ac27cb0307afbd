"""The JSON of safetensors models (header, index, configuration), decoded within bounds and without ambiguity.

A key that occurs twice is refused: which of the two counts differs between readers, so such a file means one thing to
the tool that checked it and another to the tool that runs it.
"""

import re
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from wayra.base.errors import FileFormatError

MAX_KEYS = 1 << 20
MAX_NAME_LEN = 1 << 10
_T = TypeVar("_T")

# A string, and the colon that makes it a key. Only applied to what is known to be sound JSON.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"[ \t\r\n]*(:?)', re.DOTALL)


class TensorEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a safetensors header says of one tensor. data_offsets: first byte and end, from the start of the data."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def decode_object(source: Path, text: bytes) -> dict[str, Any]:
    """A JSON object as plain values. source: named in errors. Raises FileFormatError."""
    found = _decode(source, text, dict[str, Any])
    _refuse_repeated_keys(source, text, _count_keys(found))
    return found


def decode_header(source: Path, text: bytes) -> dict[str, TensorEntry]:
    """The header of a safetensors file, without its free-form metadata. Raises FileFormatError."""
    if text[:1] != b"{":
        raise FileFormatError(f"{source}: the header does not begin with {{; the file is damaged, fetch it again")
    # Counted before decoding: objects take several times the memory of their text.
    num_keys = _num_keys(text)
    if num_keys > MAX_KEYS:
        raise FileFormatError(f"{source}: the header has {num_keys} keys, at most {MAX_KEYS} are accepted")
    raw_entries = _decode(source, text, dict[str, msgspec.Raw])
    notes_text = raw_entries.pop("__metadata__", None)
    notes = {} if notes_text is None else _decode(source, bytes(notes_text), dict[str, str])
    for name in raw_entries:
        if len(name) > MAX_NAME_LEN:
            raise FileFormatError(
                f"{source}: a tensor name of {len(name)} characters, at most {MAX_NAME_LEN} are accepted"
            )
    entries = {name: _decode(source, bytes(raw), TensorEntry, name) for name, raw in raw_entries.items()}
    _refuse_repeated_keys(source, text, 4 * len(entries) + len(notes) + (notes_text is not None))
    return entries


def _decode(source: Path, text: bytes, kind: type[_T], what: str = "JSON") -> _T:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
        reason = str(error).encode("utf-8", "replace").decode("utf-8")
        raise FileFormatError(f"{source}: malformed {what!r}: {reason}; the file is damaged, fetch it again") from None


def _num_keys(text: bytes) -> int:
    return sum(1 for match in _STRING.finditer(text) if match[1])


def _count_keys(root: dict[str, Any]) -> int:
    total = 0
    pending: list[Any] = [root]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            total += len(value)  # pyright: ignore[reportUnknownArgumentType]
            pending.extend(value.values())  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(value, list):
            pending.extend(value)  # pyright: ignore[reportUnknownArgumentType]
    return total


def _refuse_repeated_keys(source: Path, text: bytes, num_distinct: int) -> None:
    num_written = _num_keys(text)
    if num_written != num_distinct:
        raise FileFormatError(
            f"{source}: {num_written - num_distinct} keys occur twice in the same object; readers would disagree on "
            "what the file says"
        )
