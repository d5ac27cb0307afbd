"""Runs say what they were measured on by its content: whole hashes of what is small, pieces of what is large."""

import hashlib
from pathlib import Path

import pytest

from wayra.base.errors import RunError
from wayra.lab.runs import RunFacts, RunStore, content
from wayra.lab.runs.content import file_hash, model_hash


def test_a_small_model_has_the_hash_that_sha256sum_prints(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"weights")
    expected = f"sha256:{hashlib.sha256(b'weights').hexdigest()}"
    assert model_hash(path) == file_hash(path) == expected


def test_a_folder_is_its_files_and_their_names_and_nothing_else_that_lies_there(tmp_path: Path) -> None:
    for name, data in (("b.safetensors", b"two"), ("a.safetensors", b"one"), ("config.json", b"{}")):
        (tmp_path / name).write_bytes(data)
    lines = "".join(
        f"{hashlib.sha256(data).hexdigest()}  {name}\n"
        for name, data in (("a.safetensors", b"one"), ("b.safetensors", b"two"), ("config.json", b"{}"))
    )
    found = model_hash(tmp_path)
    assert found == f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"
    (tmp_path / "README.md").write_text("read me")
    assert model_hash(tmp_path) == found
    (tmp_path / "b.safetensors").write_bytes(b"TWO")
    assert model_hash(tmp_path) != found


def test_any_split_stands_for_all_of_them(tmp_path: Path) -> None:
    splits = [tmp_path / f"m[1]-{number:05}-of-00002.gguf" for number in (1, 2)]
    for number, split in enumerate(splits):
        split.write_bytes(b"weights %d" % number)
    (tmp_path / "m-00001-of-00002.gguf").write_bytes(b"another model's")
    lines = "".join(f"{hashlib.sha256(split.read_bytes()).hexdigest()}  {split.name}\n" for split in splits)
    expected = f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"
    assert model_hash(splits[0]) == model_hash(splits[1]) == expected
    splits[1].write_bytes(b"changed")
    assert model_hash(splits[0]) != expected


def test_of_a_large_model_pieces_are_read_and_the_hash_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("FULL_BYTES", 1000), ("HEAD_BYTES", 100), ("PIECE_BYTES", 10), ("PIECES", 4)):
        monkeypatch.setattr(content, name, value)
    data = bytearray(index % 251 for index in range(2000))
    path = tmp_path / "model.gguf"

    def hash_with(*changed: int) -> str:
        copy = bytearray(data)
        for place in changed:
            copy[place] ^= 255
        path.write_bytes(copy)
        return model_hash(path)

    before = hash_with()
    # The head, then ten bytes at 100, 730, 1360 and 1990.
    pieces = data[:100] + data[100:110] + data[730:740] + data[1360:1370] + data[1990:]
    assert before == f"sampled-sha256:{hashlib.sha256(b'2000' + bytes([10]) + pieces).hexdigest()}"
    for place in (0, 99, 735, 1369, 1999):
        assert hash_with(place) != before
    assert hash_with(500) == before
    path.write_bytes(data + b"x")
    assert model_hash(path) != before
    for size in (1001, 105, 111):
        monkeypatch.setattr(content, "FULL_BYTES", 100)
        path.write_bytes(data[:size])
        assert model_hash(path).startswith("sampled-sha256:")


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    for hashed in (file_hash, model_hash):
        with pytest.raises(RunError, match="nowhere cannot be read: No such file"):
            hashed(tmp_path / "nowhere")


def test_a_run_goes_on_only_with_what_it_began_with(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    with store.create("bench", {}, RunFacts(packages=("pytest", "no-such-package-at-all"))) as run:
        run.set_hashes({"weights": "sha256:aa"})
    stored = store.open(run.id)
    assert stored.header.hashes == {"weights": "sha256:aa"}
    assert "sampled-sha256" in stored.header.definitions["hashes"]
    assert stored.header.versions["pytest"] == pytest.__version__
    assert "no-such-package-at-all" not in stored.header.versions
    with store.resume(run.id) as again:
        again.set_hashes({"weights": "sha256:aa", "trace": "sha256:cc"})
        with pytest.raises(RunError, match="weights was sha256:aa, now it is sha256:bb"):
            again.set_hashes({"weights": "sha256:bb"})
    assert store.open(run.id).header.hashes == {"weights": "sha256:aa", "trace": "sha256:cc"}
