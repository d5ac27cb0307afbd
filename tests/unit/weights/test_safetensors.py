"""safetensors models: sound ones are read exactly, and each way of lying is refused with its reason."""

import json
from pathlib import Path

import numpy as np
import pytest
from model_files import TinyShape, pack_safetensors, safetensors_bytes, tiny_arrays

from wayra.base.errors import FileFormatError, ModelNotFound, UnsupportedModel, WayraError
from wayra.weights.formats import dequantise
from wayra.weights.safetensors import INDEX_NAME, open_safetensors


def write_model(folder: Path, content: bytes, config: object = None) -> Path:
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"} if config is None else config))
    path = folder / "model.safetensors"
    path.write_bytes(content)
    return path


def write_shards(folder: Path, weight_map: dict[str, str] | None = None) -> Path:
    (folder / "config.json").write_text("{}")
    for number in (1, 2):
        arrays = {f"t{number}": np.full(4, number), f"u{number}": np.full((2, 2), -number)}
        (folder / f"model-0000{number}-of-00002.safetensors").write_bytes(pack_safetensors(arrays))
    names = {f"{letter}{number}": f"model-0000{number}-of-00002.safetensors" for letter in "tu" for number in (1, 2)}
    index = {"metadata": {"total_size": 64}, "weight_map": names if weight_map is None else names | weight_map}
    (folder / INDEX_NAME).write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_tensors_are_read_exactly(tmp_path: Path, dtype: str) -> None:
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float32([-0.5])}
    checkpoint = open_safetensors(write_model(tmp_path, pack_safetensors(arrays, dtype)).parent)
    assert checkpoint.kind == "safetensors"
    assert checkpoint.metadata == {"model_type": "llama"}
    assert checkpoint.shapes == {"a": (2, 3), "b": (1,)}
    for name, values in arrays.items():
        tensor = checkpoint.tensors[name]
        assert (tensor.shape, tensor.fmt.name) == (values.shape, dtype)
        np.testing.assert_array_equal(dequantise(tensor.fmt, tensor.data, values.size), values.reshape(-1))


def test_a_file_written_by_the_reference_package_is_read_alike(tmp_path: Path) -> None:
    writer = pytest.importorskip("safetensors.numpy")
    arrays = tiny_arrays(TinyShape())
    path = write_model(tmp_path, writer.save(arrays, metadata={"format": "pt", "note": 'a "quoted": {text}'}))
    tensors = open_safetensors(path).tensors
    assert set(tensors) == set(arrays)
    for name, values in arrays.items():
        np.testing.assert_array_equal(tensors[name].data.view("<f4").reshape(values.shape), values)


@pytest.mark.parametrize("given", ["", INDEX_NAME, "model-00002-of-00002.safetensors"])
def test_all_shards_open_from_folder_index_or_any_shard(tmp_path: Path, given: str) -> None:
    checkpoint = open_safetensors(write_shards(tmp_path) / given)
    assert [path.name for path in checkpoint.paths] == [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    assert set(checkpoint.tensors) == {"t1", "u1", "t2", "u2"}
    assert checkpoint.tensors["u2"].data.view("<f4").tolist() == [-2] * 4


@pytest.mark.parametrize(
    "shard",
    [
        "../model.safetensors",
        "/etc/passwd",
        "a/b.safetensors",
        "..\\x.safetensors",
        "..",
        "",
        "x.bin",
        "a\0.safetensors",
    ],
)
def test_a_shard_outside_the_folder_is_refused(tmp_path: Path, shard: str) -> None:
    with pytest.raises(FileFormatError, match="plain name"):
        open_safetensors(write_shards(tmp_path, {"t1": shard}))


def test_index_and_shards_must_agree(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="'t1'"):
        open_safetensors(write_shards(tmp_path, {"t1": "model-00002-of-00002.safetensors"}))
    with pytest.raises(FileFormatError, match="'absent' is not in"):
        open_safetensors(write_shards(tmp_path, {"absent": "model-00001-of-00002.safetensors"}))
    with pytest.raises(ModelNotFound, match="model-9"):
        open_safetensors(write_shards(tmp_path, {"t9": "model-9.safetensors"}))
    folder = write_shards(tmp_path)
    weight_map = json.loads((folder / INDEX_NAME).read_text())["weight_map"]
    del weight_map["u2"]
    (folder / INDEX_NAME).write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(FileFormatError, match="'u2', which the index puts in None"):
        open_safetensors(folder)


@pytest.mark.parametrize(
    "index", ["[]", "{}", '{"weight_map": []}', '{"weight_map": {}}', '{"weight_map": {"a": 1}}', "{"]
)
def test_a_malformed_index_is_refused(tmp_path: Path, index: str) -> None:
    folder = write_shards(tmp_path)
    (folder / INDEX_NAME).write_text(index)
    with pytest.raises(FileFormatError):
        open_safetensors(folder)


def entry(dtype: str = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def huge_dimension(num_digits: int) -> bytes:
    return safetensors_bytes(b'{"a":{"dtype":"F32","shape":[%s],"data_offsets":[0,8]}}' % (b"9" * num_digits), bytes(8))


WHOLE = '"dtype":"F32","shape":[2],"data_offsets":[0,8]'


def written(header: str) -> bytes:
    return safetensors_bytes(header.encode(), bytes(8))


LIES: dict[str, tuple[bytes, str]] = {
    "shorter than a length": (b"\x01\x02", "a header of"),
    "header passes the end": (safetensors_bytes({}, header_len=99), "a header of 99"),
    "header of 2^64-1": (safetensors_bytes({}, header_len=2**64 - 1), "a header of"),
    "header not an object": (safetensors_bytes(b"[1, 2]"), "does not begin"),
    "header not JSON": (safetensors_bytes(b'{"a": '), "malformed"),
    "header not UTF-8": (safetensors_bytes(b'{"\xff": 1}'), "malformed"),
    "string without end": (safetensors_bytes(b'{"' + b'\\"' * 1_000_000), "malformed"),
    "text after the object": (safetensors_bytes(b"{} {}"), "malformed"),
    "deep nesting": (safetensors_bytes(b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "malformed"),
    "deep notes": (safetensors_bytes(b'{"__metadata__": ' + b'{"a":' * 9000 + b"1" + b"}" * 9001), "malformed"),
    "entry a number": (safetensors_bytes({"a": 3}), "malformed 'a'"),
    "entry without a type": (safetensors_bytes({"a": {"shape": [2], "data_offsets": [0, 8]}}, bytes(8)), "malformed"),
    "name of 2 kB": (safetensors_bytes({"k" * 2048: entry()}, bytes(8)), "2048 characters"),
    "unknown field": (safetensors_bytes({"a": entry() | {"more": 1}}, bytes(8)), "malformed"),
    "fractional dimension": (safetensors_bytes({"a": entry(shape=[2.5])}, bytes(8)), "malformed"),
    "three offsets": (safetensors_bytes({"a": entry(offsets=[0, 8, 8])}, bytes(8)), "malformed"),
    "notes not text": (safetensors_bytes({"__metadata__": {"a": 1}}), "malformed"),
    "negative dimensions": (safetensors_bytes({"a": entry(shape=[-1, -2])}, bytes(8)), "impossible shape"),
    "nine dimensions": (safetensors_bytes({"a": entry(shape=[1] * 8 + [2])}, bytes(8)), "impossible shape"),
    "product over 2^63": (safetensors_bytes({"a": entry(shape=[2**40, 2**40])}, bytes(8)), "impossible shape"),
    "dimension of 4000 digits": (huge_dimension(4000), "digits|impossible"),
    "dimension of 9000 digits": (huge_dimension(9000), "malformed"),
    "negative offset": (safetensors_bytes({"a": entry(offsets=[-8, 0])}, bytes(8)), "impossible"),
    "end before start": (safetensors_bytes({"a": entry(offsets=[8, 0])}, bytes(8)), "impossible"),
    "wrong size": (safetensors_bytes({"a": entry(shape=[3])}, bytes(8)), "takes 12 bytes, its place has 8"),
    "half a byte": (safetensors_bytes({"a": entry("F4", [3], [0, 2])}, bytes(2)), "takes 1.5 bytes"),
    "hole at the start": (safetensors_bytes({"a": entry(offsets=[8, 16])}, bytes(16)), "leaves a hole"),
    "hole at the end": (safetensors_bytes({"a": entry()}, bytes(9)), "describes"),
    "past the end": (safetensors_bytes({"a": entry(shape=[4], offsets=[0, 16])}, bytes(8)), "describes"),
    "overlap": (safetensors_bytes({"a": entry(), "b": entry(offsets=[4, 12])}, bytes(12)), "overlaps"),
    "same place": (safetensors_bytes({"a": entry(), "b": entry()}, bytes(8)), "overlaps"),
    "repeated tensor": (written(f'{{"a":{{{WHOLE}}},"a":{{{WHOLE}}}}}'), "occur twice"),
    "repeated field": (written(f'{{"a":{{"shape":[1,2],{WHOLE}}}}}'), "occur twice"),
    "repeated under an escape": (written(f'{{"a":{{{WHOLE}}},"\\u0061":{{{WHOLE}}}}}'), "occur twice"),
    "repeated notes": (safetensors_bytes(b'{"__metadata__":{"a":"1","a":"2"}}'), "occur twice"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_file_that_lies_is_refused_with_the_reason(tmp_path: Path, lie: str) -> None:
    content, reason = LIES[lie]
    with pytest.raises(FileFormatError, match=reason) as caught:
        open_safetensors(write_model(tmp_path, content))
    assert "model.safetensors" in str(caught.value)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = pack_safetensors({"a": np.ones(4), "b": np.ones((2, 2))})
    for length in range(len(whole)):
        with pytest.raises(FileFormatError):
            open_safetensors(write_model(tmp_path, whole[:length]))


@pytest.mark.parametrize(("dtype", "size"), [("I64", 16), ("F8_E4M3", 2), ("U8", 2), ("NF4", 7)])
def test_a_type_we_do_not_read_is_refused_only_when_needed(tmp_path: Path, dtype: str, size: int) -> None:
    header = {"fine": entry(offsets=[0, 8]), "odd": entry(dtype, [2], [8, 8 + size])}
    tensors = open_safetensors(write_model(tmp_path, safetensors_bytes(header, bytes(8 + size)))).tensors
    assert tensors["fine"].data.size == 8
    with pytest.raises(UnsupportedModel, match=f"'odd' is stored as {dtype}"):
        tensors["odd"]


def test_names_and_notes_that_look_like_json_do_not_confuse_the_count_of_keys(tmp_path: Path) -> None:
    arrays = {'a":"b': np.ones(2), "c\\": np.ones(2), "d: {": np.ones(2)}
    checkpoint = open_safetensors(write_model(tmp_path, pack_safetensors(arrays), {"x": ['y": ', {"z": "\\"}]}))
    assert set(checkpoint.tensors) == set(arrays)


@pytest.mark.parametrize(
    "config", ['{"a": 1, "a": 2}', '{"b": {"a": 1, "a": 1}}', "[]", "", "nul", '{"a": NaN}', "\ufeff{}"]
)
def test_a_malformed_configuration_is_refused(tmp_path: Path, config: str) -> None:
    path = write_model(tmp_path, pack_safetensors({"a": np.ones(2)}))
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(FileFormatError, match=r"config\.json"):
        open_safetensors(path)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"neither model\.safetensors nor"):
        open_safetensors(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(pack_safetensors({"a": np.ones(2)}))
    with pytest.raises(ModelNotFound, match=r"config\.json"):
        open_safetensors(tmp_path)


def test_the_digest_follows_configuration_and_index(tmp_path: Path) -> None:
    folder = write_shards(tmp_path)
    digests = {open_safetensors(folder).digest}
    (folder / "config.json").write_text('{"rope_theta": 1}')
    digests.add(open_safetensors(folder).digest)
    (folder / INDEX_NAME).write_text((folder / INDEX_NAME).read_text() + " ")
    digests.add(open_safetensors(folder).digest)
    assert len(digests) == 3


def test_errors_can_be_printed_whatever_the_file_says(tmp_path: Path) -> None:
    for name in ("\\ud800", "\\u001b[31m", "\\u202e"):
        content = safetensors_bytes(
            b'{"%s":{"dtype":"F32","shape":[9],"data_offsets":[0,8]}}' % name.encode(), bytes(8)
        )
        with pytest.raises(WayraError) as caught:
            open_safetensors(write_model(tmp_path, content))
        message = str(caught.value)
        message.encode("utf-8")
        assert "\x1b" not in message
        assert "\u202e" not in message


def test_errors_do_not_pass_on_the_names_of_unknown_fields(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="unknown field") as caught:
        open_safetensors(write_model(tmp_path, safetensors_bytes({"a": entry() | {"\x1b[2J": 1}}, bytes(8))))
    assert "\x1b" not in str(caught.value)
