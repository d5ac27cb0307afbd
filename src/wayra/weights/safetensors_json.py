"""The JSON of safetensors models (header, index, configuration), decoded within bounds and without ambiguity.

A key that occurs twice is refused: which of the two counts differs between readers, so such a file means one thing to
the tool that checked it and another to the tool that runs it.
"""

import re
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from wayra.base.errors import FileFormatError

# Decoded objects take several times the memory of their text; real models have some thousand tensors a file, and at
# most some ten thousand in an index.
MAX_KEYS = 300_000
MAX_NAME_LEN = 1 << 10
_T = TypeVar("_T")

# A string, and the colon that makes it a key. A string that never ends is taken to the end of the text: to try again
# from each quote inside it would take time quadratic in its length.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)[ \t\r\n]*+(:?)', re.DOTALL)


class TensorEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a safetensors header says of one tensor. data_offsets: first byte and end, from the start of the data."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


Text = bytes | memoryview


def decode_object(source: Path, text: Text) -> dict[str, Any]:
    """A JSON object as plain values. source: named in errors. Raises FileFormatError."""
    found = _decode(source, text, dict[str, Any])
    _refuse_repeated_keys(source, text, _count_keys(found))
    return found


def decode_weight_map(source: Path, text: Text) -> dict[str, str]:
    """The map from tensor to file of an index. Raises FileFormatError."""
    _bound_keys(source, text)
    fields = _decode(source, text, dict[str, msgspec.Raw])
    _refuse_repeated_keys(source, text, len(fields) + sum(_num_keys(memoryview(raw)) for raw in fields.values()))
    if "weight_map" not in fields:
        raise FileFormatError(f"{source} has no weight_map; fetch it again")
    inner = memoryview(fields["weight_map"])
    weight_map = _decode(source, inner, dict[str, str], "weight_map")
    _refuse_repeated_keys(source, inner, len(weight_map))
    return weight_map


def decode_header(source: Path, text: Text) -> dict[str, TensorEntry]:
    """The header of a safetensors file, without its free-form metadata. Raises FileFormatError."""
    if text[:1] != b"{":
        raise FileFormatError(f"{source}: the header does not begin with {{; the file is damaged, fetch it again")
    _bound_keys(source, text)
    raw_entries = _decode(source, text, dict[str, msgspec.Raw])
    notes_text = raw_entries.pop("__metadata__", None)
    notes = {} if notes_text is None else _decode(source, memoryview(notes_text), dict[str, str])
    for name in raw_entries:
        if len(name) > MAX_NAME_LEN:
            raise FileFormatError(
                f"{source}: a tensor name of {len(name)} characters, at most {MAX_NAME_LEN} are accepted"
            )
    entries = {name: _decode(source, memoryview(raw), TensorEntry, name) for name, raw in raw_entries.items()}
    _refuse_repeated_keys(source, text, 4 * len(entries) + len(notes) + (notes_text is not None))
    return entries


def _decode(source: Path, text: Text, kind: type[_T], what: str = "JSON") -> _T:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
        # It may quote the file.
        reason = "".join(letter if letter.isprintable() else "?" for letter in str(error)[:200])
        reason = reason.removeprefix("JSON is malformed: ")
        raise FileFormatError(f"{source}: malformed {what!r}: {reason}; the file is damaged, fetch it again") from None


def _bound_keys(source: Path, text: Text) -> None:
    num_keys = _num_keys(text)
    if num_keys > MAX_KEYS:
        raise FileFormatError(f"{source} has {num_keys} keys, at most {MAX_KEYS} are accepted")


def _num_keys(text: Text) -> int:
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


def _refuse_repeated_keys(source: Path, text: Text, num_distinct: int) -> None:
    num_written = _num_keys(text)
    if num_written != num_distinct:
        raise FileFormatError(
            f"{source}: {num_written - num_distinct} keys occur twice in the same object; readers would disagree on "
            "what the file says"
        )
