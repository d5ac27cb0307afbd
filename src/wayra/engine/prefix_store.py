"""KV blocks of past prompts on disk: a folder shared by processes, bounded in bytes, that never gets in the way.

A folder for each model and layout holds files of consecutive blocks. Whatever is wrong with a file, it is deleted and
its blocks are computed again. Whatever is wrong with the folder, writing ends with one warning. Blocks are written by a
thread of its own, and the least recently used files of all models are deleted to make room.
"""

import contextlib
import hashlib
import logging
import os
import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wayra.base.errors import CacheError
from wayra.engine.prefix_files import (
    HEADER_BYTES,
    PARTIAL_PREFIX,
    SUFFIX,
    PrefixFile,
    file_name,
    read_blocks,
    read_header,
    write_file,
)

_log = logging.getLogger(__name__)

DEFAULT_MAX_BYTES = 4 << 30
DEFAULT_DISK_SHARE = 0.05
MAX_QUEUED_BYTES = 32 << 20
"""Blocks copied and not yet written; beyond it they are not taken."""
STALE_PARTIAL_S = 600.0
_CLOSE_S = 2.0


@dataclass(frozen=True, slots=True)
class StoreUse:
    """What lies in the folder, over all models."""

    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Place:
    file: PrefixFile
    index: int


def default_max_bytes(root: Path) -> int:
    """4 GiB, or a twentieth of what the disk has free and the store holds, if that is less."""
    existing = next((path for path in (root, *root.parents) if path.exists()), Path("/"))
    try:
        free = shutil.disk_usage(existing).free
    except OSError:
        return 0
    return min(DEFAULT_MAX_BYTES, int(DEFAULT_DISK_SHARE * (free + use_of(root).size_bytes)))


def use_of(root: Path) -> StoreUse:
    """Files and bytes stored below `root`."""
    files = _all_files(root)
    return StoreUse(len(files), sum(size for _, size, _ in files))


def clear(root: Path) -> int:
    """Delete all that is stored; returns the bytes freed. Raises CacheError when something is left."""
    freed_bytes = 0
    for path, size, _ in _all_files(root, with_partials=True):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise CacheError(f"cannot delete {path} ({error.strerror}); delete it yourself") from error
        freed_bytes += size
    return freed_bytes


class PrefixStore:
    """The stored blocks of one model and layout, named by the digests of their chains.

    identity: everything the bytes depend on besides salt and tokens. Reading is for one thread; writing is taken from
    any thread and done by the store's own.
    """

    def __init__(self, root: Path, identity: str, block_bytes: int, max_bytes: int) -> None:
        self._root = root
        self._identity = hashlib.blake2b(identity.encode(), digest_size=32, person=b"wayra-model").digest()
        self._folder = root / self._identity[:16].hex()
        self._block_bytes = block_bytes
        self._max_bytes = max_bytes
        self._listed_ns = -1
        self._files: dict[str, PrefixFile] = {}
        self._places: dict[bytes, _Place] = {}
        self._wake = threading.Condition()
        self._queue: deque[tuple[tuple[bytes, ...], NDArray[np.uint8]]] = deque()
        self._pending: set[bytes] = set()
        self._queued_bytes = 0
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._is_broken = max_bytes < HEADER_BYTES + block_bytes
        self.written_bytes = 0
        self.read_bytes = 0

    @property
    def block_bytes(self) -> int:
        return self._block_bytes

    def count(self, digests: Sequence[bytes]) -> int:
        """How many of the first digests are stored, as far as the headers of the files say."""
        self._list_files()
        with self._wake:
            return next((i for i, digest in enumerate(digests) if digest not in self._places), len(digests))

    def holds(self, digest: bytes) -> bool:
        """Whether the block is stored or about to be."""
        with self._wake:
            return digest in self._places or digest in self._pending

    def read(self, digests: Sequence[bytes]) -> NDArray[np.uint8]:
        """uint8 [blocks, block_bytes] of a first few of the digests: the run that lies in one file and is sound."""
        with self._wake:
            place = self._places.get(digests[0]) if digests else None
        if place is None:
            return np.empty((0, self._block_bytes), np.uint8)
        stored = place.file.digests[place.index :]
        wanted = next((i for i, (a, b) in enumerate(zip(stored, digests, strict=False)) if a != b), None)
        if wanted is None:
            wanted = min(len(stored), len(digests))
        out = np.empty((wanted, self._block_bytes), np.uint8)
        try:
            num_sound = read_blocks(self._folder, place.file, place.index, out)
        except OSError:
            # Deleted by another process, most likely.
            self._forget(place.file)
            return out[:0]
        with contextlib.suppress(OSError):
            os.utime(self._folder / place.file.name)
        if num_sound < wanted:
            self._drop(place.file)
        self.read_bytes += num_sound * self._block_bytes
        return out[:num_sound]

    def has_room(self, num_blocks: int) -> bool:
        """Whether `write` would take that many blocks now."""
        with self._wake:
            size = num_blocks * self._block_bytes
            fits = self._queued_bytes + size <= MAX_QUEUED_BYTES or not self._queue
            return not (self._is_broken or self._is_closed) and fits

    def write(self, digests: Sequence[bytes], data: NDArray[np.uint8]) -> None:
        """Store consecutive blocks of a chain, soon. data: uint8 [blocks, block_bytes], not to be changed after."""
        with self._wake:
            if self._is_broken or self._is_closed:
                return
            self._queue.append((tuple(digests), data))
            self._pending.update(digests)
            self._queued_bytes += data.nbytes
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_all, name="wayra-prefixes", daemon=True)
                self._thread.start()
            self._wake.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was taken is written; False when time ran out."""
        with self._wake:
            return self._wake.wait_for(lambda: not self._pending, timeout_s)

    def close(self) -> None:
        """Write what was taken, for two seconds at most. Safe to call twice."""
        self.flush(_CLOSE_S)
        with self._wake:
            self._is_closed = True
            self._wake.notify_all()

    def _list_files(self) -> None:
        """Learn of files that appeared and forget those that went, if the folder has changed."""
        try:
            changed_ns = self._folder.stat().st_mtime_ns
            if changed_ns == self._listed_ns:
                return
            names = {name for name in os.listdir(self._folder) if name.endswith(SUFFIX)}
        except OSError:
            names, changed_ns = set[str](), -1
        self._listed_ns = changed_ns
        with self._wake:
            known = dict(self._files)
        for name in names - known.keys():
            try:
                file = read_header(self._folder, name, self._identity, self._block_bytes)
            except OSError:
                continue
            if file is None:
                _log.info("dropped the stored prefix %s: damaged or of another version", name)
                self._unlink(name)
            else:
                self._learn(file)
        for name in known.keys() - names:
            self._forget(known[name])

    def _learn(self, file: PrefixFile) -> None:
        with self._wake:
            self._files[file.name] = file
            for index, digest in enumerate(file.digests):
                self._places[digest] = _Place(file, index)

    def _forget(self, file: PrefixFile) -> None:
        with self._wake:
            self._files.pop(file.name, None)
            for digest in file.digests:
                if (place := self._places.get(digest)) is not None and place.file is file:
                    del self._places[digest]

    def _drop(self, file: PrefixFile) -> None:
        _log.info("dropped the stored prefix %s: its blocks cannot be read as they were written", file.name)
        self._forget(file)
        self._unlink(file.name)

    def _unlink(self, name: str) -> None:
        with contextlib.suppress(OSError):
            (self._folder / name).unlink()

    def _write_all(self) -> None:
        """The writer's thread."""
        if sys.platform == "linux":
            # There a thread has a priority of its own: computing comes first.
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._queue or self._is_closed)
                if self._is_closed or not self._queue:
                    return
                digests, data = self._queue.popleft()
            try:
                if not self._is_broken:
                    self._write_one(digests, data)
            except Exception as error:
                self._give_up(error)
            with self._wake:
                self._queued_bytes -= data.nbytes
                self._pending.difference_update(digests)
                self._wake.notify_all()

    def _write_one(self, digests: tuple[bytes, ...], data: NDArray[np.uint8]) -> None:
        for folder in (self._root, self._folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        num_bytes = HEADER_BYTES + data.nbytes
        if num_bytes <= self._max_bytes and not (self._folder / file_name(digests)).exists():
            make_room(self._root, self._max_bytes - num_bytes)
            self._learn(write_file(self._folder, self._identity, digests, data))
            self.written_bytes += num_bytes

    def _give_up(self, error: Exception) -> None:
        self._is_broken = True
        _log.warning("prompts are no longer kept in %s (%s); answers are not affected", self._folder, error)


def make_room(root: Path, max_bytes: int) -> None:
    """Delete the least recently used files, and what killed writers left, until `max_bytes` are stored or fewer."""
    files = sorted(_all_files(root, with_partials=True), key=lambda entry: entry[2])
    total_bytes = sum(size for _, size, _ in files)
    now = time.time()
    for path, size, used_at in files:
        is_partial = path.name.startswith(PARTIAL_PREFIX)
        is_stale = is_partial and now - used_at > STALE_PARTIAL_S
        if is_stale or (total_bytes > max_bytes and not is_partial):
            with contextlib.suppress(OSError):
                path.unlink()
                total_bytes -= size


def _all_files(root: Path, with_partials: bool = False) -> list[tuple[Path, int, float]]:
    """(path, bytes, time of last use) of every stored file; what vanishes meanwhile is left out."""
    found: list[tuple[Path, int, float]] = []
    with contextlib.suppress(OSError):
        for folder in [entry for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False)]:
            with contextlib.suppress(OSError):
                for entry in os.scandir(folder):
                    if entry.name.endswith(SUFFIX) or (with_partials and entry.name.startswith(PARTIAL_PREFIX)):
                        with contextlib.suppress(OSError):
                            status = entry.stat(follow_symlinks=False)
                            found.append((Path(entry.path), status.st_size, status.st_mtime))
    return found
