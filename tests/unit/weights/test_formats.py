"""Every format against the independent reader of the field's own package, value for value."""

import numpy as np
import pytest

from wayra.base import formats as weight_formats
from wayra.base.errors import ShapeError
from wayra.base.formats import WeightFormat
from wayra.weights.formats import dequantise

gguf = pytest.importorskip("gguf")

NUM_BLOCKS = 257
HALF_OFFSETS = {
    "Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,),
    "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,),
}  # fmt: skip


def random_blocks(fmt: WeightFormat, seed: int) -> np.ndarray:
    """Random bytes whose float fields are finite: any bit pattern is legal for the packed integers."""
    rng = np.random.default_rng(seed)
    if not fmt.is_quantised:
        values = rng.normal(size=NUM_BLOCKS * 16).astype(np.float32)
        if fmt.name == "F16":
            return values.astype(np.float16).view(np.uint8)
        if fmt.name == "BF16":
            return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
        return values.view(np.uint8)
    blocks = rng.integers(0, 256, size=(NUM_BLOCKS, fmt.block_bytes), dtype=np.uint8)
    for start in HALF_OFFSETS[fmt.name]:
        halves = rng.normal(scale=0.05, size=(NUM_BLOCKS, 1)).astype(np.float16)
        blocks[:, start : start + 2] = halves.view(np.uint8)
    return blocks.reshape(-1)


@pytest.mark.parametrize("fmt", weight_formats.ALL, ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_dequantised_values_equal_those_of_the_reference_package(fmt: WeightFormat, seed: int) -> None:
    data = random_blocks(fmt, seed)
    count = data.size // fmt.block_bytes * fmt.block_len
    ours = dequantise(fmt, data, count)
    theirs = gguf.dequantize(data, gguf.GGMLQuantizationType(fmt.ggml_id)).astype(np.float32)
    assert ours.dtype == np.float32
    assert np.isfinite(ours).all()
    np.testing.assert_array_equal(ours, theirs.reshape(-1))


@pytest.mark.parametrize("fmt", weight_formats.ALL, ids=lambda fmt: fmt.name)
def test_block_sizes_agree_with_the_reference_package(fmt: WeightFormat) -> None:
    expected = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(fmt.ggml_id)]
    assert (fmt.block_len, fmt.block_bytes) == expected


def test_read_only_and_strided_bytes_decode_like_their_copy() -> None:
    data = random_blocks(weight_formats.Q4_K, 3)
    wide = np.zeros(data.size * 2, dtype=np.uint8)
    wide[::2] = data
    strided = wide[::2]
    strided.flags.writeable = False
    count = NUM_BLOCKS * 256
    expected = dequantise(weight_formats.Q4_K, data, count)
    np.testing.assert_array_equal(dequantise(weight_formats.Q4_K, strided, count), expected)


def test_no_weights_decode_to_an_empty_array() -> None:
    assert dequantise(weight_formats.Q6_K, np.empty(0, dtype=np.uint8), 0).shape == (0,)


@pytest.mark.parametrize(("count", "size"), [(31, 18), (32, 17), (32, 19), (-32, 0), (64, 18)])
def test_a_wrong_length_is_refused(count: int, size: int) -> None:
    with pytest.raises(ShapeError):
        dequantise(weight_formats.Q4_0, np.zeros(size, dtype=np.uint8), count)
