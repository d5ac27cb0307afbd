"""GGUF files that lie, one way each: refused with the reason, before anything is made of the lie."""

import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from model_files import ARRAY, STRING, GgufFile, GgufTensor, TinyShape, key_value, text, tiny_gguf

from wayra.base.errors import FileFormatError, ModelNotFound, UnsupportedModel, WayraError
from wayra.weights.gguf import open_gguf

BLOCK = bytes(32)


def with_entry(entry: bytes) -> GgufFile:
    return GgufFile(entries=[entry])


def with_tensors(*tensors: GgufTensor) -> GgufFile:
    return GgufFile(tensors=list(tensors))


HUGE = 2**64 - 1
LIES = {
    "magic": (GgufFile(magic=b"GGUX"), "begins with"),
    "version zero": (GgufFile(version=0), "version 0"),
    "more keys than bytes": (GgufFile(num_keys=3000), "do not fit"),
    "absurd number of keys": (GgufFile(num_keys=HUGE), "at most"),
    "absurd number of tensors": (GgufFile(num_tensors=2**63), "at most"),
    "one key too many": (GgufFile(entries=[key_value("a", "str", "x" * 64)], num_keys=2), "byte"),
    "key passes the end": (with_entry(struct.pack("<Q", 1000) + b"abcdefgh"), "passes the end"),
    "absurd key length": (with_entry(struct.pack("<Q", HUGE) + b"abcdefgh"), "at most"),
    "name of 2 kB": (with_entry(key_value("k" * 2048, "u32", 1)), "at most 1024"),
    "empty key": (with_entry(key_value("", "u32", 1)), "empty"),
    "key not UTF-8": (with_entry(key_value(b"\xff", "u32", 1)), "UTF-8"),
    "repeated key": (GgufFile(entries=[key_value("a", "u32", 1)] * 2), "'a' occurs twice"),
    "value type": (with_entry(text("a") + struct.pack("<I", 13) + BLOCK), "unknown value type 13"),
    "boolean two": (with_entry(key_value("a", "bool", 2)), "boolean of value 2"),
    "booleans two": (with_entry(key_value("a", "[bool]", [0, 1, 2])), "neither 0 nor 1"),
    "text passes the end": (with_entry(text("a") + struct.pack("<IQ", STRING, 5000)), "passes the end"),
    "text of 2^63": (with_entry(text("a") + struct.pack("<IQ", STRING, 2**63)), "at most"),
    "array item type": (with_entry(text("a") + struct.pack("<IIQ", ARRAY, 99, 1) + BLOCK), "unknown type 99"),
    "nested array": (with_entry(text("a") + struct.pack("<IIQ", ARRAY, ARRAY, 1) + BLOCK), "array of arrays"),
    "array passes the end": (with_entry(text("a") + struct.pack("<IIQ", ARRAY, 4, 500)), "do not fit"),
    "array of 2^61 u64": (with_entry(text("a") + struct.pack("<IIQ", ARRAY, 10, 2**61)), "do not fit"),
    "string array count": (with_entry(text("a") + struct.pack("<IIQ", ARRAY, STRING, 500) + BLOCK), "do not fit"),
    "string in array": (with_entry(text("a") + struct.pack("<IIQQ", ARRAY, STRING, 2, 99) + BLOCK * 3), "string 1 of"),
    "last string": (with_entry(text("a") + struct.pack("<IIQQ", ARRAY, STRING, 1, HUGE) + BLOCK), "the last string"),
    "alignment 0": (with_entry(key_value("general.alignment", "u32", 0)), "power of two"),
    "alignment 48": (with_entry(key_value("general.alignment", "u32", 48)), "power of two"),
    "alignment 2^31": (with_entry(key_value("general.alignment", "u32", 2**31)), "power of two"),
    "alignment text": (with_entry(key_value("general.alignment", "str", "32")), "expected an integer"),
    "alignment boolean": (with_entry(key_value("general.alignment", "bool", 1)), "expected an integer"),
    "five dimensions": (with_tensors(GgufTensor("t", (1, 1, 1, 1, 1), BLOCK)), "5 dimensions"),
    "zero dimension": (with_tensors(GgufTensor("t", (8, 0), BLOCK)), "impossible dimensions"),
    "product over 2^63": (with_tensors(GgufTensor("t", (2**32, 2**32), BLOCK)), "impossible dimensions"),
    "dimension of 2^64-1": (with_tensors(GgufTensor("t", (HUGE,), BLOCK)), "impossible dimensions"),
    "impossible type": (with_tensors(GgufTensor("t", (8,), BLOCK, type_id=2**31)), "impossible type"),
    "half a block": (with_tensors(GgufTensor("t", (48,), BLOCK, type_id=3)), "whole number of Q4_1 blocks"),
    "tensor passes the end": (with_tensors(GgufTensor("t", (9,), BLOCK)), "the file has"),
    "offset passes the end": (with_tensors(GgufTensor("t", (8,), BLOCK, offset=32)), "the file has"),
    "offset near 2^64": (with_tensors(GgufTensor("t", (8,), BLOCK, offset=2**64 - 32)), "the file has"),
    "offset not aligned": (with_tensors(GgufTensor("t", (4,), BLOCK, offset=16)), "not a multiple of 32"),
    "unknown type past the end": (with_tensors(GgufTensor("t", (8,), BLOCK, 99, offset=64)), "the file has"),
    "overlap": (with_tensors(GgufTensor("a", (9,), BLOCK * 2), GgufTensor("b", (8,), BLOCK, offset=32)), "overlaps"),
    "same place": (with_tensors(GgufTensor("a", (8,), BLOCK), GgufTensor("b", (8,), BLOCK, offset=0)), "overlaps 'a'"),
    "repeated tensor": (with_tensors(GgufTensor("t", (8,), BLOCK), GgufTensor("t", (8,), BLOCK)), "'t' occurs twice"),
    "tensor name not UTF-8": (with_tensors(GgufTensor(b"\xc3", (8,), BLOCK)), "UTF-8"),
    "split count text": (GgufFile().add("split.count", "str", "2"), "split.count"),
    "split count negative": (GgufFile().add("split.count", "i32", -2), "split.count"),
    "split count huge": (GgufFile().add("split.count", "u64", HUGE), "splits"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_file_that_lies_is_refused_with_the_reason(tmp_path: Path, lie: str) -> None:
    file, reason = LIES[lie]
    with pytest.raises(FileFormatError, match=reason) as caught:
        open_gguf(file.write(tmp_path / "m.gguf"))
    assert "m.gguf" in str(caught.value)


@pytest.mark.parametrize(
    ("version", "reason"), [(3 << 24, "big-endian"), (2 << 24, "big-endian"), (1, "version 1"), (4, "version 4")]
)
def test_versions_and_byte_orders_we_do_not_read_are_named(tmp_path: Path, version: int, reason: str) -> None:
    with pytest.raises(UnsupportedModel, match=reason):
        open_gguf(GgufFile(version=version).write(tmp_path / "m.gguf"))


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = tiny_gguf(TinyShape(layers=1)).build()
    path = tmp_path / "m.gguf"
    for length in (*range(0, 400), *range(400, len(whole) - 32, 97)):
        path.write_bytes(whole[:length])
        with pytest.raises(FileFormatError):
            open_gguf(path)


def test_counts_that_lie_take_no_memory(tmp_path: Path) -> None:
    padding = key_value("pad", "str", "x" * 100_000)
    entry = text("a") + struct.pack("<IIQ", ARRAY, STRING, 12_000) + b"\x01" * 90_000
    path = GgufFile(entries=[padding, entry], num_tensors=3000).write(tmp_path / "m.gguf")
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError):
            open_gguf(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_too_much_text_is_refused(tmp_path: Path) -> None:
    file = GgufFile()
    for number in range(9):
        file.add(f"k{number}", "str", b"x" * (1 << 20))
    with pytest.raises(FileFormatError, match="names and texts"):
        open_gguf(file.write(tmp_path / "m.gguf"))


def test_places_that_are_not_files_are_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.gguf"
    os.mkfifo(pipe)
    for path in (tmp_path / "absent.gguf", tmp_path, pipe, Path("/dev/null"), tmp_path / "nul\0.gguf"):
        with pytest.raises(ModelNotFound):
            open_gguf(path)
    empty = tmp_path / "empty.gguf"
    empty.touch()
    with pytest.raises(FileFormatError, match="empty"):
        open_gguf(empty)


def test_errors_can_be_printed_whatever_the_file_says(tmp_path: Path) -> None:
    file = GgufFile(entries=[key_value("\u202e\x1b[31m", "bool", 2)])
    with pytest.raises(WayraError) as caught:
        open_gguf(file.write(tmp_path / "m.gguf"))
    message = str(caught.value)
    message.encode("utf-8")
    assert "\x1b" not in message
    assert "\u202e" not in message


def test_no_tensor_data_is_copied_when_opening(tmp_path: Path) -> None:
    path = GgufFile().add_array("t", np.zeros(2 << 20)).write(tmp_path / "m.gguf")
    tracemalloc.start()
    try:
        checkpoint = open_gguf(path)
        assert checkpoint.tensors["t"].data.size == 8 << 20
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
