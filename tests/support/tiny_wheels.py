"""Wheels of a few kilobytes that carry a model, served to the real pip from a folder."""

import base64
import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest

PACKAGE = "wayra-test-model"
REFERENCE = f"pypi:{PACKAGE}==1.0/wayra_test_model/tiny.gguf"


def model_bytes(size: int = 5000) -> bytes:
    """Bytes that look like a GGUF to nobody who looks twice."""
    return b"GGUF" + np.random.default_rng(7).bytes(size - 4)


def write_wheel(folder: Path, content: bytes, inner: str = "wayra_test_model/tiny.gguf") -> Path:
    """A wheel pip accepts, holding `content` at `inner`."""
    stem = "wayra_test_model-1.0"
    info = f"{stem}.dist-info"
    members = {
        inner: content,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for name, data in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(data)}\n"
    members[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return wheel


def only_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip see nothing but `folder`."""
    for name, value in pip_environment(folder).items():
        monkeypatch.setenv(name, value)


def pip_environment(folder: Path) -> dict[str, str]:
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": "/dev/null"}


def files_in(folder: Path) -> set[str]:
    """Every file below `folder`, locks aside."""
    return {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"
    }
