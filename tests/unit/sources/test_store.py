"""The folder of fetched models: records are believed only when they are sound."""

import json
from pathlib import Path

import msgspec
import pytest

from wayra.weights.sources.store import ModelStore, Record, StoredFile, slug_of

NAME = "org/repo:Q4_0"


def stored_at(cache: Path, **changes: object) -> Path:
    """A published model of one file; returns its record's path."""
    store = ModelStore(cache)
    folder = store.folder(slug_of(NAME))
    folder.mkdir(parents=True)
    (folder / "m.gguf").write_bytes(b"12345")
    record = Record(
        1, NAME, "pypi", "GGUF Q4_0", "2026-01-01T00:00:00+00:00", "m.gguf", (StoredFile("m.gguf", 5, "0" * 64),)
    )
    store.publish(msgspec.structs.replace(record, **changes))
    return folder / "record.json"


def test_a_published_model_is_found_and_listed(tmp_path: Path) -> None:
    record = stored_at(tmp_path)
    found = ModelStore(tmp_path).find(NAME)
    assert found is not None
    assert found.path == record.parent / "m.gguf"
    assert found.record.size_bytes == 5
    assert [model.record.name for model in ModelStore(tmp_path).all()] == [NAME]


def test_a_model_whose_file_is_gone_or_shorter_is_absent(tmp_path: Path) -> None:
    record = stored_at(tmp_path)
    (record.parent / "m.gguf").write_bytes(b"1234")
    assert ModelStore(tmp_path).find(NAME) is None
    assert ModelStore(tmp_path).recorded(NAME) is not None
    (record.parent / "m.gguf").unlink()
    assert ModelStore(tmp_path).all() == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"files": []},
        {"entry": "../../../etc/passwd"},
        {"entry": "/etc/passwd"},
        {"files": [{"path": "../x", "size": 5, "sha256": "0"}]},
        {"files": "m.gguf"},
        {"unknown": 1},
        {"name": "org/other"},
    ],
)
def test_an_odd_record_is_no_model(changes: dict[str, object], tmp_path: Path) -> None:
    path = stored_at(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    assert ModelStore(tmp_path).find(NAME) is None


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"[" * 100_000])
def test_a_broken_record_is_no_model(content: bytes, tmp_path: Path) -> None:
    path = stored_at(tmp_path)
    path.write_bytes(content)
    assert ModelStore(tmp_path).find(NAME) is None
    assert ModelStore(tmp_path).all() == ()


def test_folder_names_are_safe_and_distinct() -> None:
    names = ["org/repo:Q4_0", "org/repo:Q4-0", "org--repo/Q4_0", "../..", "x" * 500]
    slugs = [slug_of(name) for name in names]
    assert len(set(slugs)) == len(names)
    assert all("/" not in slug and not slug.startswith(".") and len(slug) < 140 for slug in slugs)
