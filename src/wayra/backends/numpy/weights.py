"""Weights in float32, and the two meanings of a product with weights that are not."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wayra.backends.numpy.rounding import Rounding, round_activations, round_to_words, rounding_for
from wayra.base import formats
from wayra.base.errors import OutOfMemory, ShapeError
from wayra.weights.formats import dequantise
from wayra.weights.tensors import Matrix, Weight

Floats = NDArray[np.float32]
Activations = Literal["float", "rounded"]


@dataclass(frozen=True, slots=True)
class DenseWeight:
    """A matrix slot in float32, part under part.

    parts: (values [rows, k], how activations are rounded before the product).
    """

    parts: tuple[tuple[Floats, Rounding], ...]

    def multiply(self, x: Floats, is_head: bool = False) -> Floats:
        """x @ W.T: [tokens, k] -> [tokens, rows]."""
        return np.concatenate([round_activations(x, how, is_head) @ values.T for values, how in self.parts], axis=1)

    def rows(self, ids: NDArray[np.int32]) -> Floats:
        """The rows of these ids, [len(ids), k]."""
        values = self.parts[0][0] if len(self.parts) == 1 else np.concatenate([values for values, _ in self.parts])
        return values[ids]

    @property
    def num_bytes(self) -> int:
        return sum(values.nbytes for values, _ in self.parts)


def dense_weight(weight: Weight, shape: tuple[int, ...], activations: Activations) -> DenseWeight:
    """Dequantise a slot. Raises ShapeError if it has not the shape of its slot, OutOfMemory."""
    if (weight.rows, weight.cols) != shape or any(part.cols != weight.cols for part in weight.parts):
        raise ShapeError(f"weight {weight.slot} is {weight.rows} x {weight.cols}; the model needs {shape}")
    try:
        return DenseWeight(tuple(_dense(part, activations) for part in weight.parts))
    except MemoryError:
        need_mb = 4 * weight.rows * weight.cols >> 20
        raise OutOfMemory(f"weight {weight.slot} needs {need_mb} MB in float32; use the native backend") from None


def _dense(part: Matrix, activations: Activations) -> tuple[Floats, Rounding]:
    tensor = part.tensor
    tensor.fmt.row_bytes(part.cols)
    values = dequantise(tensor.fmt, tensor.data, part.rows * part.cols).reshape(part.rows, part.cols)
    if part.row_scale is not None:
        values = values * part.row_scale[:, None]
    values = values if part.row_order is None else values[part.row_order]
    if activations == "float":
        return values, "none"
    return (round_to_words(values) if tensor.fmt == formats.F16 else values), rounding_for(tensor.fmt)
