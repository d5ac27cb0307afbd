"""JSON lines that survive a kill: a half-written last line is dropped, anything else that is wrong is named by line."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from wayra.base.errors import RunError

MAX_LINE_BYTES = 256 * 1024**2

Record = dict[str, object]


def read_lines(path: Path) -> Iterator[Record]:
    """Every whole record; a last line without its end of line is what a kill left and is passed over.

    Raises RunError naming the line that is no JSON object.
    """
    decoder = msgspec.json.Decoder(Record)
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES):
                number += 1
                if not line.endswith(b"\n"):
                    if len(line) == MAX_LINE_BYTES:
                        raise RunError(f"{path}, line {number} has more than {MAX_LINE_BYTES:,} bytes")
                    return
                try:
                    yield decoder.decode(line)
                except (msgspec.DecodeError, RecursionError) as error:
                    raise RunError(f"{path}, line {number} is damaged: {error}; delete that line to go on") from error
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error


def whole_bytes(path: Path) -> int:
    """The length of the file up to its last end of line."""
    size = path.stat().st_size
    with path.open("rb") as file:
        end = size
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
    return 0
