"""The tokenizer and chat template of a checkpoint; the tokenizer from a cache on disk, since building it takes longest.

A cached tokenizer is only ever a shortcut: missing, damaged or unwritable, it is ignored and the model file read.
"""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from wayra.base.errors import FileFormatError, TemplateError
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


def is_tokenizer_alone(path: Path) -> bool:
    """Whether it is a folder with a tokenizer and no weights: one fetched only for its tokenizer."""
    try:
        names = {entry.name for entry in path.iterdir()} if path.is_dir() else set[str]()
    except OSError:
        return False
    has_weights = any(name.endswith((".gguf", ".safetensors")) for name in names)
    return bool(names & {"tokenizer.json", "tokenizer.model"}) and not has_weights


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
    """The checkpoint's chat template, None when it is no chat model. Raises FileFormatError when it is malformed."""
    from wayra.text.chat_sources import chat_template_from_folder, chat_template_from_gguf

    try:
        if checkpoint.kind == "gguf":
            return chat_template_from_gguf(checkpoint.metadata, tokenizer)
        return chat_template_from_folder(checkpoint.paths[0].parent, tokenizer)
    except TemplateError:
        return None
