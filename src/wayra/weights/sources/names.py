"""The grammar of model names. Pure: nothing here looks at a disk or a network.

./model.gguf, /a/folder, ~/x        a path
hf://org/repo[/inner/file]          the hub, a whole repository or one file
org/repo[:QUANT]                    the hub
pypi:PACKAGE==VERSION/inner/path    a model shipped in a wheel
llama3.2:1b                         an alias
"""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from wayra.base.errors import InvalidParameter

MODEL_SUFFIXES = (".gguf", ".safetensors")

_REPO_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_QUANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_PACKAGE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+_-]{0,63}")
_INNER_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9 ._+=@()\[\]-]{0,199}")


@dataclass(frozen=True, slots=True)
class HubRef:
    """A repository on the hub; at most one of quant and file is given."""

    repo: str
    quant: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        if self.file is not None:
            return f"hf://{self.repo}/{self.file}"
        return self.repo if self.quant is None else f"{self.repo}:{self.quant}"


@dataclass(frozen=True, slots=True)
class WheelRef:
    """A model file inside a wheel of the package index."""

    package: str
    version: str
    inner_path: str

    def __str__(self) -> str:
        return f"pypi:{self.package}=={self.version}/{self.inner_path}"


def looks_like_path(name: str) -> bool:
    """Whether the user plainly means a file or folder, so that no other reading should be tried."""
    return name.startswith(("/", "./", "../", "~")) or name in {".", ".."} or name.lower().endswith(MODEL_SUFFIXES)


def parse_wheel(name: str) -> WheelRef:
    """pypi:PACKAGE==VERSION/inner/path. Raises InvalidParameter."""
    package, equals, rest = name.removeprefix("pypi:").partition("==")
    version, slash, inner = rest.partition("/")
    if not (equals and slash and _PACKAGE.fullmatch(package) and _VERSION.fullmatch(version)):
        raise InvalidParameter(f"{name!r} is not of the form pypi:PACKAGE==VERSION/inner/path")
    _check_inner(inner, name)
    if not inner.endswith(".gguf"):
        raise InvalidParameter(f"{name!r} names {PurePosixPath(inner).name!r}; from a wheel only a .gguf can be taken")
    return WheelRef(package, version, inner)


def parse_hub(name: str) -> HubRef | None:
    """hf://org/repo[/file], org/repo[:QUANT] or org/repo/file.gguf; None when it has not that shape.

    Raises InvalidParameter when it says hf:// and is malformed.
    """
    explicit = name.startswith("hf://")
    body = name.removeprefix("hf://").rstrip("/") if explicit else name
    org, _, rest = body.partition("/")
    repo, slash, file = rest.partition("/")
    repo, colon, quant = (repo, "", "") if slash else repo.partition(":")
    sound = _REPO_PART.fullmatch(org) and _REPO_PART.fullmatch(repo) and (not colon or _QUANT.fullmatch(quant))
    is_file = (file if slash else repo).lower().endswith(MODEL_SUFFIXES)
    if not sound or (not explicit and is_file != bool(slash)):
        if explicit:
            raise InvalidParameter(f"{name!r} is not of the form hf://org/repo, hf://org/repo/file or org/repo:QUANT")
        return None
    if slash:
        _check_inner(file, name)
        if not is_file:
            raise InvalidParameter(f"{name!r} names {file!r}; wayra reads {' and '.join(MODEL_SUFFIXES)} files")
    return HubRef(f"{org}/{repo}", quant.upper() or None, file or None)


def _check_inner(inner: str, name: str) -> None:
    parts = inner.split("/")
    if not all(_INNER_PART.fullmatch(part) and not part.endswith(" ") for part in parts):
        raise InvalidParameter(f"{name!r} has no sound path after the {'/' if inner else 'name'}; expected folder/file")
