"""int8 matrices with one scale a row, as compressed-tensors stores them: found, checked, and with scale beside row."""

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
    """float32 [rows]: the scales of an int8 matrix. Raises FileFormatError, ShapeError, UnsupportedModel."""
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
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise FileFormatError(f"{where}: {name!r} holds scales that are negative or not finite; fetch it again")
    return values


def scaled_rows(matrix: Matrix) -> NDArray[np.uint8]:
    """The bytes of a row-scaled matrix: of each row its float32 scale, then its integers. Copies."""
    assert matrix.row_scale is not None
    rows = np.empty((len(matrix.row_scale), 4 + matrix.cols), np.uint8)
    rows[:, :4] = matrix.row_scale.astype("<f4").view(np.uint8).reshape(-1, 4)
    rows[:, 4:] = matrix.tensor.data.view(np.uint8).reshape(len(rows), -1)
    return rows.reshape(-1)
