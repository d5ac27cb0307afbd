"""The real default model, every key and tensor against the reader of the field's own package."""

from pathlib import Path

import numpy as np
import pytest

from wayra.weights.gguf import open_gguf
from wayra.weights.gguf_arrays import NumberArray, StringArray

gguf = pytest.importorskip("gguf")


@pytest.fixture(scope="module")
def reader(smollm2_path: Path):
    return gguf.GGUFReader(smollm2_path)


def test_every_metadata_key_has_the_value_the_reference_reader_finds(smollm2_path: Path, reader) -> None:
    metadata = open_gguf(smollm2_path).metadata
    # The reader adds the three header fields under a prefix of its own.
    theirs = {name: item.contents() for name, item in reader.fields.items() if not name.startswith("GGUF.")}
    ours = {
        key: list(value) if isinstance(value, StringArray | NumberArray) else value for key, value in metadata.items()
    }
    assert list(ours) == list(theirs)
    for key, value in theirs.items():
        assert ours[key] == value, key


def test_every_tensor_has_the_shape_type_and_bytes_the_reference_reader_finds(smollm2_path: Path, reader) -> None:
    tensors = open_gguf(smollm2_path).tensors
    assert list(tensors) == [tensor.name for tensor in reader.tensors]
    for theirs in reader.tensors:
        ours = tensors[theirs.name]
        assert ours.shape == tuple(int(dim) for dim in theirs.shape[::-1])
        assert ours.fmt.ggml_id == int(theirs.tensor_type)
        assert np.array_equal(ours.data, theirs.data.reshape(-1).view(np.uint8))
        assert not ours.data.flags.writeable
