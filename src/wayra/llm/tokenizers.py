"""The tokenizer and chat template of a checkpoint; the tokenizer from a cache on disk, since building it takes longest.

A cached tokenizer is only ever a shortcut: missing, damaged or unwritable, it is ignored and the model file read.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from wayra.base.errors import FileFormatError
from wayra.text.tokenizer import Tokenizer
from wayra.weights.tensors import Checkpoint

if TYPE_CHECKING:
    from wayra.text.chat import ChatTemplate

CACHE_FORMAT = "1"
HASH_BYTES = 32
FOLDER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
)
MAX_CONFIG_BYTES = 64 * 1024**2


def load_tokenizer(checkpoint: Checkpoint, cache_dir: Path | None) -> Tokenizer:
    """The checkpoint's tokenizer, from the cache when it holds a sound copy; writes one when it does not.

    cache_dir: None neither reads nor writes. Raises FileFormatError or UnsupportedModel from the model's own files.
    """
    path = None if cache_dir is None else cache_dir / "tokenizers" / cache_key(checkpoint)
    if path is not None:
        cached = _read(path)
        if cached is not None:
            return cached
    tokenizer = build_tokenizer(checkpoint)
    if path is not None:
        _write(path, tokenizer.to_bytes())
    return tokenizer


def build_tokenizer(checkpoint: Checkpoint) -> Tokenizer:
    """From the model's own files."""
    if checkpoint.kind == "gguf":
        from wayra.text.from_gguf import tokenizer_from_gguf

        return tokenizer_from_gguf(checkpoint.metadata)
    from wayra.text.from_json import tokenizer_from_folder

    return tokenizer_from_folder(checkpoint.paths[0].parent)


def cache_key(checkpoint: Checkpoint) -> str:
    """64 hex digits that change with the model, its tokenizer files and the form of the cache."""
    parts = [CACHE_FORMAT, checkpoint.digest]
    if checkpoint.kind != "gguf":
        for name in FOLDER_FILES:
            with contextlib.suppress(OSError):
                status = (checkpoint.paths[0].parent / name).stat()
                parts.append(f"{name} {status.st_size} {status.st_mtime_ns} {status.st_ino}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _read(path: Path) -> Tokenizer | None:
    """A cached tokenizer: 32 bytes of SHA-256, then what it is the hash of."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    body = content[HASH_BYTES:]
    if hashlib.sha256(body).digest() != content[:HASH_BYTES]:
        return None
    try:
        return Tokenizer.from_bytes(body)
    except FileFormatError:
        return None


def _write(path: Path, body: bytes) -> None:
    """Whole or not at all: written beside its place, then renamed. A cache that cannot be written is done without."""
    partial: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(prefix=path.name, suffix=".partial", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(body).digest() + body)
        os.replace(partial, path)
    except OSError:
        if partial is not None:
            with contextlib.suppress(OSError):
                os.unlink(partial)


def load_template(checkpoint: Checkpoint, tokenizer: Tokenizer) -> "ChatTemplate | None":
    """The checkpoint's chat template, None when it has none. Raises TemplateError when it cannot be compiled."""
    from wayra.text.chat import ChatTemplate

    if checkpoint.kind == "gguf":
        source = checkpoint.metadata.get("tokenizer.chat_template")
        eos_id = checkpoint.metadata.get("tokenizer.ggml.eos_token_id")
        eos = _text_of(tokenizer, eos_id if isinstance(eos_id, int) else None)
        bos = _text_of(tokenizer, tokenizer.bos_id)
        return ChatTemplate(source, bos_token=bos, eos_token=eos) if isinstance(source, str) else None
    folder = checkpoint.paths[0].parent
    config = _config(folder / "tokenizer_config.json")
    source = _folder_template(folder, config)
    if source is None:
        return None
    bos, eos = (_token_text(config.get(name)) for name in ("bos_token", "eos_token"))
    return ChatTemplate(source, bos_token=bos or _text_of(tokenizer, tokenizer.bos_id), eos_token=eos)


def _text_of(tokenizer: Tokenizer, token_id: int | None) -> str:
    return "" if token_id is None or token_id < 0 else tokenizer.token_bytes(token_id).decode("utf-8", "replace")


def _folder_template(folder: Path, config: Mapping[str, object]) -> str | None:
    """chat_template.jinja comes first, then tokenizer_config.json: one template, or the one named "default"."""
    with contextlib.suppress(FileNotFoundError):
        return _small_file(folder / "chat_template.jinja").decode("utf-8", "replace")
    found = config.get("chat_template")
    if isinstance(found, Sequence) and not isinstance(found, str):
        named = [cast(Mapping[str, object], entry) for entry in found if isinstance(entry, Mapping)]
        found = next((entry.get("template") for entry in named if entry.get("name") == "default"), None)
    return found if isinstance(found, str) else None


def _token_text(value: object) -> str:
    if isinstance(value, Mapping):
        value = cast(Mapping[str, object], value).get("content")
    return value if isinstance(value, str) else ""


def _config(path: Path) -> Mapping[str, object]:
    try:
        content = json.loads(_small_file(path))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path} is not valid JSON; fetch the model again") from error
    if not isinstance(content, dict):
        raise FileFormatError(f"{path} holds a {type(content).__name__}, expected an object; fetch the model again")
    return cast(dict[str, object], content)


def _small_file(path: Path) -> bytes:
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise FileFormatError(f"{path} is larger than {MAX_CONFIG_BYTES >> 20} MB; it cannot be what its name says")
    return path.read_bytes()
