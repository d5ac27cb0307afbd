"""Models of the hub, in the hub's own cache, by the hub's own library, imported only here and when needed.

The library resumes downloads, sends the token and honours HF_HOME and HF_ENDPOINT. This file chooses what to fetch,
checks the hashes the hub declares and writes down what was fetched.
"""

import contextlib
import errno
import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import msgspec

from wayra.base.errors import (
    FileFormatError,
    ModelNotFound,
    SourceError,
    UnsupportedModel,
    WayraError,
)
from wayra.weights.sources.files import INDEX_NAME, Selection, choose, quant_of, shards_of
from wayra.weights.sources.names import HubRef
from wayra.weights.sources.progress import Progress, folder_bytes, step, watched
from wayra.weights.sources.store import (
    RECORD_VERSION,
    ModelStore,
    Record,
    StoredFile,
    StoredModel,
    cache_error,
    require_sha256,
    sha256_of,
    slug_of,
)

MAX_INDEX_BYTES = 64 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS, errno.ENOTDIR})
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class _Listing:
    """A repository at one revision. sizes: bytes by file name, None where unknown. sha256: where the hub tells it."""

    revision: str
    sizes: Mapping[str, int | None]
    sha256: Mapping[str, str]


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


def fetch_hub_model(ref: HubRef, store: ModelStore, progress: Progress) -> StoredModel:
    """Fetch what `ref` needs and is not there yet, check it, record it. Needs the lock of the model's folder.

    Raises ModelNotFound, UnsupportedModel (pickles), SourceError (network, permission), IntegrityError, CacheError.
    """
    with _explained(ref):
        listing = _list_online(ref.repo)
        selection = choose(ref.repo, list(listing.sizes), ref.quant, ref.file)
        root = _download(ref, listing, selection.companions, progress)
        weights = _weights(selection, root)
        absent = [name for name in weights if name not in listing.sizes]
        if absent:
            raise SourceError(f"{ref.repo} has no file {absent[0]!r}, which its index names; the repository is broken")
        root = _download(ref, listing, weights, progress)
        files = tuple(_stored_file(root, name, listing.sha256.get(name)) for name in (*selection.companions, *weights))
        return store.publish(_record(ref, selection, root, files))


def latest_revision(ref: HubRef) -> str:
    """The revision the hub has now. Raises SourceError, ModelNotFound."""
    with _explained(ref):
        return _list_online(ref.repo).revision


def find_in_hub_cache(ref: HubRef, store: ModelStore) -> StoredModel | None:
    """What the hub's cache holds for `ref`, complete, without any network; None when it holds no such model."""
    for snapshot in _snapshots(ref.repo):
        record = _complete_in(ref, snapshot)
        if record is not None:
            return StoredModel(record, store.folder(slug_of(record.name)), snapshot)
    return None


def _complete_in(ref: HubRef, snapshot: Path) -> Record | None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    names = [path.relative_to(snapshot).as_posix() for path in sorted(snapshot.rglob("*")) if path.is_file()]
    try:
        selection = choose(ref.repo, names, ref.quant, ref.file)
        files = (*selection.companions, *_weights(selection, snapshot))
        for name in files:
            _hub_file(ref.repo, name, snapshot.name, offline=True)
        return _record(ref, selection, snapshot, tuple(_stored_file(snapshot, name, None) for name in files))
    except (ModelNotFound, UnsupportedModel, FileFormatError, LocalEntryNotFoundError, OSError):
        return None


def _snapshots(repo: str) -> list[Path]:
    """The revisions of `repo` in the hub's cache: main first, then the newest."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model")
    try:
        main = (folder / "refs" / "main").read_text().strip()
    except (OSError, UnicodeDecodeError):
        main = ""
    try:
        found = [path for path in (folder / "snapshots").iterdir() if path.is_dir() and _COMMIT.fullmatch(path.name)]
        return sorted(found, key=lambda path: (path.name == main, path.stat().st_mtime), reverse=True)
    except OSError:
        return []


def _list_online(repo: str) -> _Listing:
    from huggingface_hub import HfApi

    answer = HfApi().model_info(repo, files_metadata=True)
    siblings = answer.siblings or []
    if answer.sha is None or not _COMMIT.fullmatch(answer.sha):
        raise SourceError(f"the hub gave no revision for {repo}; try again")
    hashes = {s.rfilename: s.lfs.sha256 for s in siblings if s.lfs is not None and _SHA256.fullmatch(s.lfs.sha256)}
    sizes = {s.rfilename: s.size for s in siblings}
    return _Listing(answer.sha, MappingProxyType(sizes), MappingProxyType(hashes))


def _download(ref: HubRef, listing: _Listing, names: tuple[str, ...], progress: Progress) -> Path:
    """Fetch `names`; returns the snapshot folder. Each file whose hash the hub declares is checked when it arrives."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    blobs = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=ref.repo, repo_type="model") / "blobs"
    snapshot = blobs.parent / "snapshots" / listing.revision
    for name in names:
        already_there = (snapshot / name).exists()
        before_bytes = folder_bytes(blobs)
        with (
            _quiet_library(),
            step(progress, f"fetching {name}", listing.sizes.get(name)),
            watched(progress, lambda before=before_bytes: max(0, folder_bytes(blobs) - before)),
        ):
            path = _hub_file(ref.repo, name, listing.revision, offline=False)
        expected = listing.sha256.get(name)
        if expected is not None and not already_there:
            require_sha256(path, expected, "the hub", progress)
    return snapshot


def _hub_file(repo: str, name: str, revision: str, offline: bool) -> Path:
    import huggingface_hub

    # The library's own annotation is partly unknown; this is the part of it that is used.
    download: Callable[..., str] = huggingface_hub.hf_hub_download  # pyright: ignore
    return Path(download(repo, name, revision=revision, local_files_only=offline))


def _weights(selection: Selection, root: Path) -> tuple[str, ...]:
    if not selection.needs_index:
        return selection.weights
    path = root / INDEX_NAME
    try:
        if path.stat().st_size > MAX_INDEX_BYTES:
            raise FileFormatError(f"{path.name} takes {path.stat().st_size:,} bytes; expected a small list of shards")
        index = msgspec.json.decode(path.read_bytes(), type=_Index)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path.name} is not a list of shards ({error}); the repository is broken") from error
    return shards_of(index.weight_map.values())


def _record(ref: HubRef, selection: Selection, root: Path, files: tuple[StoredFile, ...]) -> Record:
    quant = quant_of(selection.entry) if ref.file is None and selection.entry != "." else ref.quant
    return Record(
        version=RECORD_VERSION,
        name=str(HubRef(ref.repo, quant, ref.file)),
        source="hub",
        format=selection.format,
        fetched_at=datetime.now(UTC).isoformat(timespec="seconds"),
        entry=selection.entry,
        files=files,
        root=str(root),
        revision=root.name,
    )


def _stored_file(root: Path, name: str, sha256: str | None) -> StoredFile:
    path = root / name
    # The hub's cache names a large file's blob by its hash, a small one's by a git id.
    blob = path.resolve().name
    known = sha256 or (blob if _SHA256.fullmatch(blob) else sha256_of(path))
    return StoredFile(name, path.stat().st_size, known)


@contextlib.contextmanager
def _quiet_library() -> Generator[None, None, None]:
    """Silence the library's own bars: progress is told by whoever listens to ours."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    was_quiet = are_progress_bars_disabled()
    if not was_quiet:
        disable_progress_bars()
    try:
        yield
    finally:
        if not was_quiet:
            enable_progress_bars()


@contextlib.contextmanager
def _explained(ref: HubRef) -> Generator[None, None, None]:
    """Turn what the library raises into our errors."""
    from huggingface_hub import constants, errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise SourceError(
            f"{ref.repo} is gated; accept its licence on its page of the hub and set HF_TOKEN to a token of yours"
        ) from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise ModelNotFound(
            f"the hub has no repository {ref.repo!r} that you may see; check the name, or set HF_TOKEN if it is private"
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise SourceError(
            f"{ref} is not in the hub's cache and HF_HUB_OFFLINE forbids to fetch it; unset it"
        ) from error
    except (errors.EntryNotFoundError, errors.RevisionNotFoundError) as error:
        raise SourceError(
            f"{ref.repo} changed while it was fetched, or the hub cannot be reached; check the network and try again"
        ) from error
    except errors.HfHubHTTPError as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        raise SourceError(_refusal(ref, status)) from error
    except WayraError:
        raise
    except Exception as error:
        # The HTTP library underneath changes with the version; whatever it calls its errors, the hub was not reached.
        if isinstance(error, OSError) and (error.errno in _DISK_ERRORS or error.filename is not None):
            raise cache_error(Path(constants.HF_HUB_CACHE), error) from error
        raise SourceError(
            f"the hub could not be read for {ref} ({type(error).__name__}); check the network, or give a path"
        ) from error


def _refusal(ref: HubRef, status: int | None) -> str:
    if status in (401, 403):
        return f"the hub refused access to {ref.repo} (HTTP {status}); set HF_TOKEN to a token that may read it"
    if status == 429:
        return f"the hub asks to slow down (HTTP 429) while fetching {ref.repo}; wait a minute, or set HF_TOKEN"
    if status is not None:
        return f"the hub answered HTTP {status} for {ref.repo}; try again later"
    return f"the hub cannot be reached for {ref.repo}; check the network, or give a path to a model"
