"""What a run was measured on, as a hash of content: of a model's files, of a trace. A name or a path is no proof.

Hashing all of a large model takes longer than loading it, so of large ones only pieces are read, and the hash says so.
"""

import glob
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from wayra.base.errors import RunError

FULL_BYTES = 256 << 20
"""Models up to this size are hashed as a whole: a tenth of a second to a second."""
HEAD_BYTES = 16 << 20
"""Names, shapes, settings and vocabulary lie here."""
PIECES = 64
PIECE_BYTES = 256 << 10
BLOCK_BYTES = 1 << 20
_SPLIT = re.compile(r"^(.+)-[0-9]{5}-of-([0-9]{5})(\.[a-z]+)$")
SUFFIXES = (".gguf", ".safetensors", ".json", ".model", ".tiktoken")

MEANING = (
    "Of what was measured or asked, by content. sha256: of a file as a whole, as sha256sum prints it; of a folder or "
    "of splits, of the lines `HASH  NAME` of its files in the order of their names; of a suite's items, of them as "
    "JSON lines. "
    f"sampled-sha256: where weights are more than {FULL_BYTES >> 20} MiB, of each file its size, its first "
    f"{HEAD_BYTES >> 20} MiB and {PIECES} pieces of {PIECE_BYTES >> 10} KiB spread evenly over the rest: another "
    "model, training or quantisation has another hash, a change between the pieces has not."
)
"""For `run.json`."""


def file_hash(path: Path) -> str:
    """Of one file: "sha256:" and 64 hex digits. Raises RunError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error


def model_hash(path: Path) -> str:
    """Of a model's file, its splits or the folder of its files; see MEANING. Raises RunError where none can be read."""
    try:
        files = _files(path)
        is_whole = sum(file.stat().st_size for file in files) <= FULL_BYTES
        hashes = [_whole(file) if is_whole else _sampled(file) for file in files]
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    scheme = "sha256" if is_whole else "sampled-sha256"
    if files == [path]:
        return f"{scheme}:{hashes[0]}"
    lines = "".join(f"{found}  {file.name}\n" for found, file in zip(hashes, files, strict=True))
    return f"{scheme}:{hashlib.sha256(lines.encode()).hexdigest()}"


def _files(path: Path) -> list[Path]:
    """All that belong to a model, of which `path` may be the folder or any split."""
    if path.is_dir():
        return sorted(found for found in path.iterdir() if found.is_file() and found.suffix in SUFFIXES)
    split = _SPLIT.match(path.name)
    if split is None or not path.is_file():
        return [path]
    return sorted(path.parent.glob(f"{glob.escape(split[1])}-[0-9]*-of-{split[2]}{glob.escape(split[3])}"))


def _whole(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sampled(path: Path) -> str:
    found = hashlib.sha256()
    size = path.stat().st_size
    found.update(b"%d\n" % size)
    with path.open("rb") as file:
        for start, length in _pieces(size):
            file.seek(start)
            while length > 0 and (block := file.read(min(length, BLOCK_BYTES))):
                found.update(block)
                length -= len(block)
    return found.hexdigest()


def _pieces(size: int) -> Iterator[tuple[int, int]]:
    """Where each piece begins, and its length. A file no longer than its head is read whole."""
    yield 0, min(size, HEAD_BYTES)
    last = size - PIECE_BYTES
    if last > HEAD_BYTES:
        for number in range(PIECES):
            yield HEAD_BYTES + (last - HEAD_BYTES) * number // (PIECES - 1), PIECE_BYTES
    elif size > HEAD_BYTES:
        yield HEAD_BYTES, size - HEAD_BYTES
