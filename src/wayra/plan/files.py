"""Files that a user names, read whole within a bound: a device, a pipe or the wrong file must not fill the memory."""

from pathlib import Path

from wayra.base.errors import FileFormatError


def read_text(path: Path, most_bytes: int, purpose: str, *, name: str = "") -> str:
    """The text of a file, a byte order mark taken off. purpose: what it should hold. name: for messages.

    Raises: FileFormatError in one sentence when it cannot be read, is no UTF-8 text or longer than `most_bytes`.
    """
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise FileFormatError(f"{name or path} cannot be read: {error.strerror or error}") from None
    name = name or path.name
    if len(content) > most_bytes:
        raise FileFormatError(f"{name} has more than {most_bytes:,} bytes; it is no {purpose}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FileFormatError(f"{name} is not UTF-8 text; expected a {purpose}") from None
