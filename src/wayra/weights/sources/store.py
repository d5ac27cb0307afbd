"""The folder of fetched models: one sub-folder a model, visible only once its record is written.

CACHE/models/SLUG/record.json       what it is and what each file must hash to
CACHE/models/SLUG/FILE.gguf         the file (models of the hub stay in the hub's own cache; the record points there)
CACHE/models/SLUG/.partial-XXXX/    a fetch under way, or what an interrupted one left: of no use to the next
CACHE/models/SLUG/.resume/          a download under way, or interrupted, which the next fetch continues
CACHE/locks/SLUG.lock               held (flock) by whoever writes to the folder
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path, PurePosixPath

import msgspec

from wayra.base.errors import CacheError, IntegrityError
from wayra.weights.sources.progress import Progress, step

RECORD_VERSION = 1
RECORD_NAME = "record.json"
RESUME_NAME = ".resume"
MAX_RECORD_BYTES = 4 << 20
HASH_CHUNK_BYTES = 1 << 20

_FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class StoredFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a model. path: relative to the model's root, with forward slashes. sha256: 64 hex digits."""

    path: str
    size: int
    sha256: str


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was fetched. name: canonical. root: folder of the files where it is not the model's own folder.

    entry: the file or folder to open, relative to root ("." is the root itself). fetched_at: ISO 8601, UTC.
    """

    version: int
    name: str
    source: str
    format: str
    fetched_at: str
    entry: str
    files: tuple[StoredFile, ...]
    root: str | None = None
    revision: str | None = None

    @property
    def size_bytes(self) -> int:
        return sum(file.size for file in self.files)


class StoredModel(msgspec.Struct, frozen=True):
    """A record and where its files are. folder: the model's own folder in the cache."""

    record: Record
    folder: Path
    root: Path

    @property
    def path(self) -> Path:
        return self.root / self.record.entry

    def is_complete(self) -> bool:
        """Whether every file is there with the recorded size. Reads no content."""
        try:
            return all((self.root / file.path).stat().st_size == file.size for file in self.record.files)
        except OSError:
            return False


def slug_of(canonical_name: str) -> str:
    """A folder name for a canonical model name: readable, and distinct for distinct names."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "--", canonical_name).strip(".-")[:120]
    return f"{readable}-{hashlib.sha256(canonical_name.encode()).hexdigest()[:8]}"


@contextlib.contextmanager
def writing(folder: Path) -> Generator[None, None, None]:
    """Turn a refusal of the system while writing under `folder` into a CacheError that says what to do."""
    try:
        yield
    except OSError as error:
        raise cache_error(folder, error) from error


def cache_error(folder: Path, error: OSError) -> CacheError:
    if error.errno in _FULL_DISK:
        return CacheError(f"the disk of {folder} is full; free some space or set WAYRA_CACHE to another disk")
    reason = os.strerror(error.errno) if error.errno else str(error)
    return CacheError(f"cannot write to {folder} ({reason}); set WAYRA_CACHE to a folder that can be written")


def sha256_of(path: Path, moved: Callable[[int], None] | None = None) -> str:
    """SHA-256 of a file, 64 hex digits; `moved` is told the bytes read so far. Raises OSError."""
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(HASH_CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            if moved is not None:
                moved(done)
    return digest.hexdigest()


def require_sha256(path: Path, expected: str, who: str, progress: Progress) -> None:
    """Hash a fetched file and delete it when the hash is not what `who` says. Raises IntegrityError, CacheError."""
    try:
        with step(progress, f"checking {path.name}", path.stat().st_size):
            found = sha256_of(path, progress.moved)
    except OSError as error:
        raise cache_error(path.parent, error) from error
    if found == expected:
        return
    # Leave nothing that a later look-up could take for the model: in the hub's cache, not the blob behind the link.
    blob = path.resolve()
    path.unlink(missing_ok=True)
    blob.unlink(missing_ok=True)
    raise IntegrityError(
        f"{path.name} has SHA-256 {found}, {who} says {expected}; it was damaged or replaced on the way and is "
        "deleted: fetch it again"
    )


def check_space(folder: Path, needed_bytes: int) -> None:
    """Raise CacheError when the disk of `folder` has no room for so many bytes more."""
    with writing(folder):
        free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise CacheError(
            f"the disk of {folder} has {free_bytes:,} bytes free, the model needs {needed_bytes:,}; "
            "free some space or set WAYRA_CACHE to another disk"
        )


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class ModelStore:
    """Reads need no lock: a record appears and disappears atomically. Writers hold `locked`."""

    def __init__(self, cache_dir: Path) -> None:
        self._models = cache_dir / "models"
        self._locks = cache_dir / "locks"

    def folder(self, slug: str) -> Path:
        return self._models / slug

    def find(self, canonical_name: str) -> StoredModel | None:
        """The complete model of that name; None when it is absent, partial or its record is unreadable."""
        stored = self.recorded(canonical_name)
        return stored if stored is not None and stored.is_complete() else None

    def recorded(self, canonical_name: str) -> StoredModel | None:
        """The model of that name, whether or not its files are (still) complete."""
        stored = _read_record(self.folder(slug_of(canonical_name)))
        return stored if stored is not None and stored.record.name == canonical_name else None

    def all(self) -> tuple[StoredModel, ...]:
        """Every complete model, by name."""
        try:
            folders = sorted(self._models.iterdir())
        except OSError:
            return ()
        found = (_read_record(folder) for folder in folders)
        models = [stored for stored in found if stored is not None and stored.is_complete()]
        return tuple(sorted(models, key=lambda stored: stored.record.name))

    @contextlib.contextmanager
    def locked(self, slug: str, waiting: Callable[[], None]) -> Generator[Path, None, None]:
        """Hold the model's lock and give its folder, made if need be. `waiting` is called once if another holds it."""
        with writing(self._models.parent):
            self._locks.mkdir(parents=True, exist_ok=True)
            self.folder(slug).mkdir(parents=True, exist_ok=True)
            handle = os.open(self._locks / f"{slug}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            with writing(self._locks):
                _take(handle, waiting)
                # Another process may have removed the folder while this one waited.
                self.folder(slug).mkdir(parents=True, exist_ok=True)
            yield self.folder(slug)
        finally:
            # Fails, as it should, unless the folder is empty.
            with contextlib.suppress(OSError):
                self.folder(slug).rmdir()
            os.close(handle)

    @contextlib.contextmanager
    def workspace(self, slug: str) -> Generator[Path, None, None]:
        """A private folder beside the model's files. Needs the lock. Clears what earlier fetches left, and itself."""
        folder = self.folder(slug)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            clear_leftovers(folder)
            space = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
        try:
            yield space
        finally:
            shutil.rmtree(space, ignore_errors=True)

    def resume_folder(self, slug: str) -> Path:
        """Where a download keeps what it can continue from. Made, and removed, by who downloads. Needs the lock."""
        return self.folder(slug) / RESUME_NAME

    def publish(self, record: Record) -> StoredModel:
        """Write the record, which makes the model visible. The files must be in place and synced. Needs the lock."""
        folder = self.folder(slug_of(record.name))
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            temporary = folder / f".partial-{RECORD_NAME}"
            with temporary.open("wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(record)))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, folder / RECORD_NAME)
            sync_folder(folder)
        return StoredModel(record, folder, _root(folder, record))

    def remove(self, stored: StoredModel) -> int:
        """Delete a model, record first; returns the bytes freed. Needs the lock."""
        with writing(stored.folder):
            (stored.folder / RECORD_NAME).unlink(missing_ok=True)
            if stored.record.root is not None:
                freed = sum(_remove_hub_file(stored.root, file) for file in stored.record.files)
            else:
                freed = stored.record.size_bytes
            shutil.rmtree(stored.folder)
        return freed


def clear_leftovers(folder: Path) -> None:
    """Remove what interrupted fetches left, downloads that can be continued aside. Needs the lock."""
    stored = _read_record(folder)
    kept = {RECORD_NAME, RESUME_NAME} | (
        {file.path for file in stored.record.files} if stored is not None else set[str]()
    )
    for path in folder.iterdir():
        if path.name in kept and not path.name.startswith(".partial-"):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _take(handle: int, waiting: Callable[[], None]) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        waiting()
        fcntl.flock(handle, fcntl.LOCK_EX)


def _read_record(folder: Path) -> StoredModel | None:
    path = folder / RECORD_NAME
    try:
        if path.stat().st_size > MAX_RECORD_BYTES:
            return None
        record = msgspec.json.decode(path.read_bytes(), type=Record)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    inner = (record.entry, *(file.path for file in record.files))
    if record.version != RECORD_VERSION or not record.files or not all(_stays_inside(path) for path in inner):
        return None
    return StoredModel(record, folder, _root(folder, record))


def _root(folder: Path, record: Record) -> Path:
    return folder if record.root is None else Path(record.root)


def _stays_inside(path: str) -> bool:
    return "\0" not in path and not path.startswith("/") and ".." not in PurePosixPath(path).parts


def _remove_hub_file(root: Path, file: StoredFile) -> int:
    """Remove a file from the hub's cache: the link in the snapshot, and its blob when no other snapshot needs it."""
    link = root / file.path
    if not link.is_symlink():
        existed = link.exists()
        link.unlink(missing_ok=True)
        return file.size if existed else 0
    blob = link.resolve()
    link.unlink()
    snapshots = root.parent
    still_used = any(other.is_symlink() and other.resolve() == blob for other in snapshots.rglob("*"))
    if still_used or blob.parent != (snapshots.parent / "blobs").resolve():
        return 0
    blob.unlink(missing_ok=True)
    return file.size
