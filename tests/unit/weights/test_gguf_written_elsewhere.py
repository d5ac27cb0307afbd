"""Files written by the field's own package: formats, metadata and splits as others write them."""

from pathlib import Path

import numpy as np
import pytest

from wayra.base import formats
from wayra.weights.formats import dequantise
from wayra.weights.gguf import open_gguf

gguf = pytest.importorskip("gguf")


def random_tensors() -> dict[str, tuple[int, np.ndarray]]:
    """One tensor a format, as (type id, stored rows): [4, row bytes] uint8, any bits."""
    rng = np.random.default_rng(0)
    return {
        fmt.name: (fmt.ggml_id, rng.integers(0, 256, (4, fmt.row_bytes(512)), dtype=np.uint8)) for fmt in formats.ALL
    }


@pytest.mark.parametrize("tensors_per_split", [0, 5])
def test_every_format_and_kind_of_metadata_comes_back(tmp_path: Path, tensors_per_split: int) -> None:
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama", split_max_tensors=tensors_per_split)
    writer.add_token_list(["a", "ñ", "", "<s>"])
    writer.add_token_types([1, 2, 3, -4])
    writer.add_token_scores([0.5, -1.0, 0.0, 2.0])
    writer.add_add_bos_token(True)
    writer.add_rope_freq_base(5e5)
    tensors = random_tensors()
    for name, (type_id, stored) in tensors.items():
        writer.add_tensor(name, stored, raw_dtype=gguf.GGMLQuantizationType(type_id))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    paths = sorted(tmp_path.glob("*.gguf"))
    assert len(paths) == (3 if tensors_per_split else 1)
    checkpoint = open_gguf(paths[-1])
    assert checkpoint.paths == tuple(paths)
    assert checkpoint.metadata["general.architecture"] == "llama"
    assert list(checkpoint.metadata["tokenizer.ggml.tokens"]) == ["a", "ñ", "", "<s>"]
    assert list(checkpoint.metadata["tokenizer.ggml.token_type"]) == [1, 2, 3, -4]
    assert list(checkpoint.metadata["tokenizer.ggml.scores"]) == [0.5, -1.0, 0.0, 2.0]
    assert checkpoint.metadata["tokenizer.ggml.add_bos_token"] is True
    assert checkpoint.metadata["llama.rope.freq_base"] == 5e5
    assert set(checkpoint.tensors) == set(tensors)
    for name, (_, stored) in tensors.items():
        tensor = checkpoint.tensors[name]
        assert (tensor.fmt.name, tensor.shape) == (name, (4, 512))
        assert np.array_equal(tensor.data, stored.reshape(-1))
        assert dequantise(tensor.fmt, tensor.data, 4 * 512).shape == (2048,)
