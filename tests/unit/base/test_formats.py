"""Block formats are facts of the files; they are compared with those of the gguf package."""

import gguf
import pytest

from wayra.base.errors import ShapeError
from wayra.base.formats import ALL, BF16, BY_GGML_ID, BY_NAME, F32, Q4_1, Q4_K, WeightFormat


@pytest.mark.parametrize("fmt", ALL, ids=lambda fmt: fmt.name)
def test_every_format_has_the_id_and_block_of_the_reference(fmt: WeightFormat) -> None:
    kind = gguf.GGMLQuantizationType[fmt.name]
    assert fmt.ggml_id == int(kind)
    assert (fmt.block_len, fmt.block_bytes) == gguf.GGML_QUANT_SIZES[kind]


def test_formats_are_found_by_name_and_by_id() -> None:
    assert BY_NAME["Q4_K"] is Q4_K
    assert BY_GGML_ID[3] is Q4_1
    assert len(BY_NAME) == len(BY_GGML_ID) == len(ALL)


@pytest.mark.parametrize(("fmt", "bits"), [(F32, 32.0), (BF16, 16.0), (Q4_1, 5.0), (Q4_K, 4.5)])
def test_bits_per_weight_count_scales_and_minima(fmt: WeightFormat, bits: float) -> None:
    assert fmt.bits_per_weight == bits
    assert fmt.is_quantised == (bits < 16)


def test_a_row_takes_whole_blocks() -> None:
    assert Q4_1.row_bytes(576) == 18 * 20
    assert F32.row_bytes(7) == 28


def test_a_row_that_ends_inside_a_block_is_refused_with_both_lengths() -> None:
    with pytest.raises(ShapeError, match=r"a row of 100 weights is not a whole number of Q4_1 blocks of 32"):
        Q4_1.row_bytes(100)
