"""A folder of packed weights, one file a model and layout, that is either exactly right or treated as absent.

It knows nothing of layouts: a backend packs, names the layout, and reads its own spans back by mapping the file.

    [0, 4096)          header: magic, version, where index and payload lie, SHA-256 of the index, of the header
    [4096, + payload)  spans, each aligned; hashed in chunks by the caller's function
    [index, end)       JSON: the key, the entries, the chunk hashes
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import struct
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO

import msgspec

from wayra.base.errors import CacheError, InvalidParameter
from wayra.base.settings import Settings

MAGIC = b"WAYRAPCK"
VERSION = 1
PAGE_BYTES = 4096
CHUNK_BYTES = 4 << 20
SPAN_ALIGN_BYTES = 64
MAX_INDEX_BYTES = 64 << 20
SUFFIX = ".packed"
PARTIAL_PREFIX = ".partial-"

# magic, version, header bytes, payload offset, payload bytes, index offset, index bytes, SHA-256 of the index
_HEADER = struct.Struct("<8sIIQQQQ32s")
_SHA256_BYTES = 32
_DIGEST = re.compile(r"[0-9a-f]{64}")

Buffer = bytes | bytearray | memoryview
HashChunk = Callable[[memoryview], int]


@dataclass(frozen=True, slots=True)
class PackedKey:
    """digest: the checkpoint's, 64 hex digits. layout: what the backend calls this way of packing, in full."""

    digest: str
    layout: str

    def __post_init__(self) -> None:
        if not _DIGEST.fullmatch(self.digest) or not 0 < len(self.layout) <= 1024:
            raise InvalidParameter(f"{self.digest!r}, {self.layout!r} is no key: expected 64 hex digits and a layout")

    @property
    def file_name(self) -> str:
        return f"{self.digest}-{hashlib.sha256(self.layout.encode()).hexdigest()[:16]}{SUFFIX}"


@dataclass(frozen=True, slots=True)
class PackedEntry:
    """A span of the payload. offset, size: bytes from the start of the payload. meta: whatever the writer said."""

    offset: int
    size: int
    meta: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class PackedFile:
    """A packed model whose header and index are sound. The payload is unchecked until somebody hashes its chunks.

    payload_offset: where the payload starts in the file, a multiple of 4096. chunk_hashes: one 64-bit hash for each
    `chunk_bytes` of the payload (the last may be shorter), by the function `hash_name`.
    """

    path: Path
    key: PackedKey
    entries: Mapping[str, PackedEntry]
    payload_offset: int
    payload_size: int
    chunk_bytes: int
    chunk_hashes: tuple[int, ...]
    hash_name: str


@dataclass(frozen=True, slots=True)
class PackedSummary:
    """A line of the listing. used_at: seconds since the epoch of the last use."""

    path: Path
    key: PackedKey | None
    size: int
    used_at: float


class _IndexEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    offset: int
    size: int
    meta: dict[str, object]


class _Index(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    digest: str
    layout: str
    hash_name: str
    chunk_bytes: int
    chunk_hashes: list[int]
    entries: list[_IndexEntry]


class PackedWriter:
    """Writes one packed file; made by `PackedCache.writer`. Not thread-safe."""

    def __init__(self, file: IO[bytes], hash_chunk: HashChunk) -> None:
        self._file = file
        self._hash_chunk = hash_chunk
        self._chunk = bytearray()
        self._payload_bytes = 0
        self._hashes: list[int] = []
        self._entries: dict[str, _IndexEntry] = {}
        file.write(bytes(PAGE_BYTES))

    def append(self, name: str, data: Buffer, meta: Mapping[str, object] | None = None) -> None:
        """Add a span: `data` (contiguous, any item type) at the next multiple of 64 bytes. meta must be JSON-able.

        Raises InvalidParameter on a name given twice. A failing disk raises OSError, which the cache turns into
        CacheError at the end of its `with`.
        """
        if name in self._entries:
            raise InvalidParameter(f"span {name!r} is written twice; names of spans are unique")
        self._put(memoryview(bytes(-self._payload_bytes % SPAN_ALIGN_BYTES)))
        view = memoryview(data)
        # An empty view cannot be cast.
        flat = view.cast("B") if view.nbytes else memoryview(b"")
        self._entries[name] = _IndexEntry(name, self._payload_bytes, flat.nbytes, dict(meta or {}))
        self._put(flat)

    def finish(self, key: PackedKey, hash_name: str) -> None:
        """Write the last chunk, the index and the header, and sync. Called by the cache."""
        self._flush_chunk()
        index = msgspec.json.encode(
            _Index(
                digest=key.digest,
                layout=key.layout,
                hash_name=hash_name,
                chunk_bytes=CHUNK_BYTES,
                chunk_hashes=self._hashes,
                entries=list(self._entries.values()),
            )
        )
        self._file.write(index)
        self._file.seek(0)
        self._file.write(_header(self._payload_bytes, index))
        self._file.flush()
        os.fsync(self._file.fileno())

    def _put(self, data: memoryview) -> None:
        self._payload_bytes += len(data)
        while len(data):
            room = CHUNK_BYTES - len(self._chunk)
            self._chunk += data[:room]
            data = data[room:]
            if len(self._chunk) == CHUNK_BYTES:
                self._flush_chunk()

    def _flush_chunk(self) -> None:
        if self._chunk:
            self._hashes.append(self._hash_chunk(memoryview(self._chunk).toreadonly()))
            self._file.write(self._chunk)
            self._chunk = bytearray()


class PackedCache:
    """The folder. Safe between processes: files appear by rename, whole, and are only ever deleted.

    hash_chunk: a 64-bit hash of up to 4 MiB; hash_name: its name, so that another function's file is not believed.
    """

    def __init__(self, root: Path, *, hash_chunk: HashChunk, hash_name: str) -> None:
        self._root = root
        self._hash_chunk = hash_chunk
        self._hash_name = hash_name

    @contextlib.contextmanager
    def writer(self, key: PackedKey) -> Generator[PackedWriter, None, None]:
        """Write the file of `key`, visible at the end of a `with` that raised nothing, else not at all.

        Raises CacheError when the folder cannot be written or is full; callers may go on without a cache.
        """
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            self._clear_partials()
            partial = self._root / f"{PARTIAL_PREFIX}{os.getpid()}-{os.urandom(4).hex()}"
            with partial.open("xb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX)
                    writer = PackedWriter(file, self._hash_chunk)
                    yield writer
                    writer.finish(key, self._hash_name)
                    os.replace(partial, self._root / key.file_name)
                except BaseException:
                    partial.unlink(missing_ok=True)
                    raise
            _sync_folder(self._root)
        except OSError as error:
            raise CacheError(f"cannot keep packed weights in {self._root} ({error.strerror or error})") from error

    def require_free(self, num_bytes: int) -> None:
        """Raises CacheError unless the folder's disk has this much room: a cache must not fill a disk."""
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self._root).free
        except OSError as error:
            raise CacheError(f"cannot keep packed weights in {self._root} ({error.strerror or error})") from error
        if free < num_bytes:
            raise CacheError(
                f"{free / 1e9:.1f} GB are free in {self._root}; "
                f"packed weights are kept only beside {num_bytes / 1e9:.1f} GB"
            )

    def open(self, key: PackedKey) -> PackedFile | None:
        """The file of `key`, if there is one and all of its header and index is sound; marks it as used."""
        path = self._root / key.file_name
        packed = _read(path)
        if packed is None or packed.key != key or packed.hash_name != self._hash_name:
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return packed

    def discard(self, key: PackedKey) -> None:
        """Delete the file of `key`, as when its payload proved damaged. Never fails."""
        with contextlib.suppress(OSError):
            (self._root / key.file_name).unlink()

    def listing(self) -> tuple[PackedSummary, ...]:
        """Every packed file, last used first; the key is None where the file is not sound."""
        found: list[PackedSummary] = []
        for path in self._root.glob(f"*{SUFFIX}"):
            with contextlib.suppress(OSError):
                status = path.stat()
                packed = _read(path)
                found.append(PackedSummary(path, packed.key if packed else None, status.st_size, status.st_mtime))
        return tuple(sorted(found, key=lambda summary: summary.used_at, reverse=True))

    def prune(self, max_bytes: int) -> tuple[Path, ...]:
        """Delete the least recently used files until at most `max_bytes` are left; returns what was deleted."""
        removed: list[Path] = []
        kept_bytes = 0
        for summary in self.listing():
            kept_bytes += summary.size
            if kept_bytes > max_bytes:
                with contextlib.suppress(OSError):
                    summary.path.unlink()
                    removed.append(summary.path)
                    kept_bytes -= summary.size
        return tuple(removed)

    def _clear_partials(self) -> None:
        """Delete what killed writers left: a live one holds the lock of its file."""
        for path in self._root.glob(f"{PARTIAL_PREFIX}*"):
            with contextlib.suppress(OSError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


def default_root(settings: Settings) -> Path:
    """Where the packed weights of this user are kept."""
    return settings.cache_dir / "packed"


def remove_checkpoint(root: Path, digest: str) -> int:
    """Delete every layout of one checkpoint, as when the model itself is deleted; returns the bytes freed."""
    freed_bytes = 0
    for path in root.glob(f"{digest}-*{SUFFIX}"):
        with contextlib.suppress(OSError):
            size = path.stat().st_size
            path.unlink()
            freed_bytes += size
    return freed_bytes


def _header(payload_bytes: int, index: bytes) -> bytes:
    fields = _HEADER.pack(
        MAGIC, VERSION, PAGE_BYTES, PAGE_BYTES, payload_bytes, PAGE_BYTES + payload_bytes, len(index),
        hashlib.sha256(index).digest(),
    )  # fmt: skip
    return fields + hashlib.sha256(fields).digest()


def _read(path: Path) -> PackedFile | None:
    """A sound file or None. Whatever is odd about it, it can be packed again."""
    try:
        with path.open("rb") as file:
            file_bytes = os.fstat(file.fileno()).st_size
            header = file.read(_HEADER.size + _SHA256_BYTES)
            fields = _sound_header(header, file_bytes)
            if fields is None:
                return None
            payload_bytes, index_offset, index_bytes, index_sha256 = fields
            file.seek(index_offset)
            encoded = file.read(index_bytes)
        if hashlib.sha256(encoded).digest() != index_sha256:
            return None
        index = msgspec.json.decode(encoded, type=_Index)
        return _packed_file(path, index, payload_bytes)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, InvalidParameter):
        return None


def _sound_header(header: bytes, file_bytes: int) -> tuple[int, int, int, bytes] | None:
    if len(header) != _HEADER.size + _SHA256_BYTES:
        return None
    fields, own_sha256 = header[: _HEADER.size], header[_HEADER.size :]
    if hashlib.sha256(fields).digest() != own_sha256:
        return None
    magic, version, header_bytes, payload_offset, payload_bytes, index_offset, index_bytes, index_sha256 = (
        _HEADER.unpack(fields)
    )
    sound = (
        (magic, version, header_bytes, payload_offset) == (MAGIC, VERSION, PAGE_BYTES, PAGE_BYTES)
        and index_offset == PAGE_BYTES + payload_bytes
        and 0 < index_bytes <= MAX_INDEX_BYTES
        and file_bytes == index_offset + index_bytes
    )
    return (payload_bytes, index_offset, index_bytes, index_sha256) if sound else None


def _packed_file(path: Path, index: _Index, payload_bytes: int) -> PackedFile | None:
    end = 0
    for entry in index.entries:
        # In order, aligned, disjoint and inside: then no span can be anything but what was written.
        if entry.offset < end or entry.offset % SPAN_ALIGN_BYTES or entry.size < 0:
            return None
        end = entry.offset + entry.size
    entries = {e.name: PackedEntry(e.offset, e.size, MappingProxyType(e.meta)) for e in index.entries}
    hashed = index.chunk_bytes == CHUNK_BYTES and len(index.chunk_hashes) == -(-payload_bytes // CHUNK_BYTES)
    if end != payload_bytes or len(entries) != len(index.entries) or not hashed:
        return None
    return PackedFile(
        path=path,
        key=PackedKey(index.digest, index.layout),
        entries=MappingProxyType(entries),
        payload_offset=PAGE_BYTES,
        payload_size=payload_bytes,
        chunk_bytes=index.chunk_bytes,
        chunk_hashes=tuple(index.chunk_hashes),
        hash_name=index.hash_name,
    )


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
