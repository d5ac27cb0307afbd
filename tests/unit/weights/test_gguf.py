"""GGUF files that are sound: what is read from them, and what is left in the file."""

import os
from pathlib import Path

import numpy as np
import pytest
from model_files import GgufFile, GgufTensor, TinyShape, key_value, tiny_gguf

from wayra.base.errors import FileFormatError, ModelNotFound, UnsupportedModel
from wayra.weights.gguf import open_gguf
from wayra.weights.gguf_arrays import StringArray


def split_paths(folder: Path, count: int) -> list[Path]:
    return [folder / f"m-{number + 1:05}-of-{count:05}.gguf" for number in range(count)]


def write_splits(folder: Path, count: int = 3, total: int | None = None) -> list[Path]:
    paths = split_paths(folder, count)
    for number, path in enumerate(paths):
        file = GgufFile()
        if number == 0:
            file.add("general.architecture", "str", "llama")
        file.add("split.no", "u16", number).add("split.count", "u16", count)
        file.add("split.tensors.count", "i32", count if total is None else total)
        file.add_array(f"tensor{number}", np.full((2, 3), number)).write(path)
    return paths


@pytest.mark.parametrize("version", [2, 3])
def test_metadata_of_every_kind_are_read(tmp_path: Path, version: int) -> None:
    file = GgufFile(version=version)
    values = {"u8": 200, "i8": -5, "u16": 60000, "i16": -300, "u32": 4_000_000_000, "i32": -7, "u64": 2**63 + 1,
              "i64": -(2**62), "f64": 1e-300, "f32": 0.5, "bool": 1, "str": "añ\n"}  # fmt: skip
    for kind, value in values.items():
        file.add(f"k.{kind}", kind, value)
        if kind != "str":
            file.add(f"k.[{kind}]", f"[{kind}]", [value, value])
    metadata = open_gguf(file.add("k.none", "[u32]", []).write(tmp_path / "m.gguf")).metadata
    for kind, value in values.items():
        assert metadata[f"k.{kind}"] == value
        if kind != "str":
            array = metadata[f"k.[{kind}]"]
            assert list(array) == [value, value]
            assert array[-1] == value
            assert array[:1] == [value]
            assert type(array[0]) is type(metadata[f"k.{kind}"])
    assert metadata["k.bool"] is True
    assert list(metadata["k.none"]) == []


def test_string_arrays_keep_bytes_that_are_not_text(tmp_path: Path) -> None:
    stored = ["hello", b"\xff\xfe", "", "ñ€😀", b"\xed\xa0\x80"]
    metadata = open_gguf(GgufFile().add("a", "[str]", stored).write(tmp_path / "m.gguf")).metadata
    array = metadata["a"]
    assert isinstance(array, StringArray)
    assert len(array) == 5
    encoded = [item if isinstance(item, bytes) else item.encode() for item in stored]
    assert [item.encode("utf-8", "surrogateescape") for item in array] == encoded
    assert array[1:3] == ["\udcff\udcfe", ""]


def test_a_text_that_is_not_utf_8_does_not_stop_a_model(tmp_path: Path) -> None:
    path = GgufFile().add("general.name", "str", b"caf\xe9").write(tmp_path / "m.gguf")
    assert open_gguf(path).metadata["general.name"] == "caf\ufffd"


def test_tensors_are_read_only_views_in_row_major_order(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    checkpoint = open_gguf(GgufFile().add_array("a", values).add_array("b", -values[0]).write(tmp_path / "m.gguf"))
    assert list(checkpoint.tensors) == ["a", "b"]
    assert checkpoint.tensors["a"].shape == (2, 3)
    np.testing.assert_array_equal(checkpoint.tensors["a"].data.view("<f4"), values.reshape(-1))
    np.testing.assert_array_equal(checkpoint.tensors["b"].data.view("<f4"), -values[0])
    with pytest.raises(ValueError, match="read-only"):
        checkpoint.tensors["a"].data[0] = 1


def test_the_alignment_the_file_names_is_used(tmp_path: Path) -> None:
    file = GgufFile(alignment=128).add("general.alignment", "u32", 128)
    file.add_array("a", np.ones(3)).add_array("b", np.full(2, 7))
    tensors = open_gguf(file.write(tmp_path / "m.gguf")).tensors
    assert tensors["b"].data.view("<f4").tolist() == [7, 7]


def test_tensors_may_lie_in_any_order(tmp_path: Path) -> None:
    ones, twos = np.ones(8, dtype="<f4").tobytes(), np.full(8, 2, dtype="<f4").tobytes()
    file = GgufFile(tensors=[GgufTensor("b", (8,), ones, offset=32), GgufTensor("a", (8,), twos, offset=0)])
    tensors = open_gguf(file.write(tmp_path / "m.gguf")).tensors
    assert tensors["b"].data.view("<f4")[0] == 2
    assert tensors["a"].data.view("<f4")[0] == 1


@pytest.mark.parametrize(
    ("type_id", "size", "named"), [(20, 18, "IQ4_NL"), (24, 32, "I8"), (77, 32, "unknown type 77")]
)
def test_a_type_we_do_not_read_is_refused_only_when_needed(tmp_path: Path, type_id: int, size: int, named: str) -> None:
    file = GgufFile().add_array("fine", np.ones(8))
    file.tensors.append(GgufTensor("odd", (32,), bytes(size), type_id))
    tensors = open_gguf(file.write(tmp_path / "m.gguf")).tensors
    assert "odd" in tensors
    assert tensors["fine"].data.size == 32
    with pytest.raises(UnsupportedModel, match=f"'odd'.*{named}"):
        tensors["odd"]
    with pytest.raises(KeyError):
        tensors["absent"]


@pytest.mark.parametrize("given", [0, 1, 2])
def test_any_split_opens_them_all(tmp_path: Path, given: int) -> None:
    paths = write_splits(tmp_path)
    checkpoint = open_gguf(paths[given])
    assert checkpoint.paths == tuple(paths)
    assert checkpoint.metadata["general.architecture"] == "llama"
    assert [checkpoint.tensors[f"tensor{i}"].data.view("<f4")[0] for i in range(3)] == [0, 1, 2]


def test_a_missing_split_is_named(tmp_path: Path) -> None:
    paths = write_splits(tmp_path)
    paths[1].unlink()
    with pytest.raises(ModelNotFound, match=r"m-00002-of-00003\.gguf"):
        open_gguf(paths[0])


def test_a_renamed_split_is_refused(tmp_path: Path) -> None:
    path = write_splits(tmp_path)[0].rename(tmp_path / "model.gguf")
    with pytest.raises(FileFormatError, match="one of 3 splits"):
        open_gguf(path)


def test_splits_in_the_wrong_order_are_refused(tmp_path: Path) -> None:
    paths = write_splits(tmp_path)
    paths[1].rename(tmp_path / "spare")
    paths[2].rename(paths[1])
    (tmp_path / "spare").rename(paths[2])
    with pytest.raises(FileFormatError, match=r"split 2 \(counted from 0\) of 3, expected 1"):
        open_gguf(paths[0])


def test_splits_with_a_tensor_too_few_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="hold 3 tensors, expected 4"):
        open_gguf(write_splits(tmp_path, total=4)[0])


def test_a_tensor_in_two_splits_is_refused(tmp_path: Path) -> None:
    paths = write_splits(tmp_path, count=2)
    file = GgufFile().add("split.no", "u16", 1).add("split.count", "u16", 2)
    file.add_array("tensor0", np.ones(8)).write(paths[1])
    with pytest.raises(FileFormatError, match="'tensor0' is in another split"):
        open_gguf(paths[0])


def test_the_digest_follows_the_content(tmp_path: Path) -> None:
    path = tiny_gguf(TinyShape()).write(tmp_path / "m.gguf")
    first = open_gguf(path).digest
    assert len(first) == 64
    assert set(first) <= set("0123456789abcdef")
    assert open_gguf(path).digest == first
    link = tmp_path / "link.gguf"
    link.symlink_to(path)
    assert open_gguf(link).digest == first
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert open_gguf(path).digest != first


def test_what_was_taken_outlives_the_checkpoint(tmp_path: Path) -> None:
    file = GgufFile().add("a", "[str]", ["x", "y"]).add_array("t", np.ones(8))
    checkpoint = open_gguf(file.write(tmp_path / "m.gguf"))
    tensor, strings = checkpoint.tensors["t"], checkpoint.metadata["a"]
    checkpoint.close()
    checkpoint.close()
    assert len(checkpoint.tensors) == 0
    assert tensor.data.view("<f4").tolist() == [1] * 8
    assert list(strings) == ["x", "y"]


def test_keys_that_repeat_across_arrays_of_one_entry_are_distinct_arrays(tmp_path: Path) -> None:
    file = GgufFile(entries=[key_value("a", "[i32]", [1]), key_value("b", "[i32]", [2])])
    metadata = open_gguf(file.write(tmp_path / "m.gguf")).metadata
    assert (list(metadata["a"]), list(metadata["b"])) == ([1], [2])
