"""int8 matrices with one scale a row, as compressed-tensors stores them: found, checked, and as blocks of Q8_0.

Repeating a row's scale in each of its blocks costs 6 % of memory and gives every backend one kind of 8-bit weights.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wayra.base import formats
from wayra.base.errors import FileFormatError, ShapeError, UnsupportedModel
from wayra.weights.formats import dequantise
from wayra.weights.tensors import Matrix, RawTensor

_SUFFIX = "_scale"


def scale_name(tensor_name: str) -> str:
    """Of the tensor that holds the scales of another's rows."""
    return tensor_name + _SUFFIX


def row_scale(tensor: RawTensor, stored: Mapping[str, RawTensor], where: Path) -> NDArray[np.float32]:
    """float32 [rows]: the scales of an int8 matrix, rounded to float16 as blocks of Q8_0 hold them.

    Scales in bfloat16 that float16 has in its normal range are kept exactly. Raises FileFormatError, ShapeError,
    UnsupportedModel.
    """
    name = scale_name(tensor.name)
    rows, cols = tensor.shape
    if name not in stored:
        raise FileFormatError(f"{where} lacks {name!r}, the scales of the int8 tensor {tensor.name!r}; fetch it again")
    scales = stored[name]
    if scales.shape not in ((rows,), (rows, 1)):
        raise ShapeError(f"{where}: {name!r} has shape {list(scales.shape)}, expected one scale a row, {[rows, 1]}")
    if scales.fmt.is_quantised:
        raise FileFormatError(f"{where}: {name!r} is stored as {scales.fmt.name}; expected floats")
    if cols % formats.Q8_0.block_len:
        raise UnsupportedModel(f"{where}: rows of {tensor.name!r} hold {cols} int8 weights, expected a multiple of 32")
    values = dequantise(scales.fmt, scales.data, rows)
    with np.errstate(over="ignore"):
        kept = values.astype(np.float16).astype(np.float32)
    if not (np.isfinite(values).all() and (values >= 0).all() and (np.abs(kept - values) <= values * 2**-10).all()):
        raise FileFormatError(
            f"{where}: {name!r} holds scales that are negative, not finite or beyond float16; fetch it again"
        )
    return kept


def as_q8_0(matrix: Matrix) -> NDArray[np.uint8]:
    """The bytes of a row-scaled matrix as blocks of Q8_0, row-major. Copies."""
    assert matrix.row_scale is not None
    fmt = formats.Q8_0
    blocks = np.empty((matrix.rows, matrix.cols // fmt.block_len, fmt.block_bytes), np.uint8)
    scales = matrix.row_scale.astype("<f2").view(np.uint8).reshape(-1, 1, 2)
    blocks[:, :, :2] = scales
    blocks[:, :, 2:] = matrix.tensor.data.reshape(matrix.rows, -1, fmt.block_len)
    return blocks.reshape(-1)
