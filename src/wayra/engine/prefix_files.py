"""The file format of stored prefixes: a run of KV blocks under their digests, either exactly right or no file at all.

    [0, 4096)                        header: magic, version, sizes, identity, digest and CRC-32 of each block, BLAKE2b
    [4096, + blocks * block_bytes)   the blocks

CRC-32 because it runs at memory speed in the standard library and finds what disks do; nobody but the user can write
here (0600 in 0700). A file is never mapped: one that is cut short meanwhile would kill the process.
"""

import hashlib
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wayra.base.errors import CacheError

HEADER_BYTES = 4096
MAX_FILE_BLOCKS = 64
SUFFIX = ".kv"
PARTIAL_PREFIX = ".partial-"

_MAGIC = b"WAYRAPRE"
_VERSION = 1
# magic, version, blocks, bytes of a block, identity
_FIELDS = struct.Struct("<8sIIQ32s")
_BLOCK = struct.Struct("<32sI")
_SEAL_BYTES = 32


@dataclass(frozen=True, slots=True)
class PrefixFile:
    """A file whose header is sound; its blocks are checked one by one when they are read."""

    name: str
    digests: tuple[bytes, ...]
    checksums: tuple[int, ...]


def file_name(digests: Sequence[bytes]) -> str:
    """The same blocks always get the same name, whichever process writes them."""
    return hashlib.blake2b(b"".join(digests), digest_size=20).hexdigest() + SUFFIX


def _encode_header(identity: bytes, file: PrefixFile, block_bytes: int) -> bytes:
    fields = _FIELDS.pack(_MAGIC, _VERSION, len(file.digests), block_bytes, identity)
    table = b"".join(map(_BLOCK.pack, file.digests, file.checksums))
    return (fields + table + _seal(fields + table)).ljust(HEADER_BYTES, b"\0")


def read_header(folder: Path, name: str, identity: bytes, block_bytes: int) -> PrefixFile | None:
    """None for a file that is damaged, of another version or of another model. Raises OSError."""
    handle = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        file_bytes = os.fstat(handle).st_size
        header = os.pread(handle, HEADER_BYTES, 0)
    finally:
        os.close(handle)
    if len(header) != HEADER_BYTES:
        return None
    magic, version, num_blocks, found_bytes, found_identity = _FIELDS.unpack_from(header)
    if (magic, version, found_bytes, found_identity) != (_MAGIC, _VERSION, block_bytes, identity):
        return None
    if not 0 < num_blocks <= MAX_FILE_BLOCKS or file_bytes != HEADER_BYTES + num_blocks * block_bytes:
        return None
    end = _FIELDS.size + num_blocks * _BLOCK.size
    if _seal(header[:end]) != header[end : end + _SEAL_BYTES]:
        return None
    table = [_BLOCK.unpack_from(header, _FIELDS.size + i * _BLOCK.size) for i in range(num_blocks)]
    return PrefixFile(name, tuple(digest for digest, _ in table), tuple(checksum for _, checksum in table))


def read_blocks(folder: Path, file: PrefixFile, first: int, into: NDArray[np.uint8]) -> int:
    """Fill `into`, uint8 [blocks, block_bytes], from block `first` on; how many are sound before one that is not.

    Raises OSError when the file cannot be read.
    """
    handle = os.open(folder / file.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        view, done = into.reshape(-1).data, 0
        start = HEADER_BYTES + first * into.shape[1]
        while done < len(view) and (count := os.preadv(handle, [view[done:]], start + done)):
            done += count
    finally:
        os.close(handle)
    for index in range(done // into.shape[1]):
        if zlib.crc32(into[index].data) != file.checksums[first + index]:
            return index
    return done // into.shape[1]


def write_file(folder: Path, identity: bytes, digests: Sequence[bytes], data: NDArray[np.uint8]) -> PrefixFile:
    """Write a file that appears whole, by rename, or not at all. Raises OSError, CacheError.

    data: uint8 [blocks, block_bytes], at most MAX_FILE_BLOCKS of them. Not synced: what a power failure leaves of it
    does not match its checksums and is dropped.
    """
    file = PrefixFile(file_name(digests), tuple(digests), tuple(zlib.crc32(row.data) for row in data))
    header = _encode_header(identity, file, data.shape[1])
    partial = folder / f"{PARTIAL_PREFIX}{os.getpid()}-{os.urandom(6).hex()}"
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            for part in (memoryview(header), np.ascontiguousarray(data).reshape(-1).data):
                written = 0
                while written < len(part):
                    count = os.write(handle, part[written:])
                    if not count:
                        raise CacheError(f"nothing more can be written to {folder}")
                    written += count
        finally:
            os.close(handle)
        os.replace(partial, folder / file.name)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return file


def _seal(header: bytes) -> bytes:
    return hashlib.blake2b(header, digest_size=_SEAL_BYTES, person=b"wayra-prefix").digest()
