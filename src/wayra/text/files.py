"""Reads tokenizer files with a limit on their size and with errors a user can act on."""

from pathlib import Path
from typing import cast

import msgspec

from wayra.base.errors import FileFormatError


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """The bytes of a regular file. Raises FileFormatError if it cannot be read or is larger than `max_bytes`."""
    try:
        if not path.is_file():
            raise FileFormatError(f"{path} is missing or not a regular file; fetch the model again")
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise FileFormatError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(content) > max_bytes:
        raise FileFormatError(f"{path} is larger than {max_bytes} bytes; no model's is, fetch it again")
    return content


def read_json_object(path: Path, max_bytes: int) -> dict[str, object]:
    """A JSON object from a file. Raises FileFormatError if it is anything else."""
    try:
        value: object = msgspec.json.decode(read_bounded(path, max_bytes))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FileFormatError(f"{path} is not JSON: {error}; fetch the model again") from error
    if not isinstance(value, dict):
        raise FileFormatError(f"{path} holds a {type(value).__name__}, expected a JSON object; fetch the model again")
    return cast(dict[str, object], value)


def read_optional_object(path: Path, max_bytes: int) -> dict[str, object]:
    """As `read_json_object`; an empty object when there is no such file."""
    return read_json_object(path, max_bytes) if path.exists() else {}
