"""Weights in float32, and the two meanings of a product with a quantised weight."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wayra.base.errors import OutOfMemory, ShapeError
from wayra.weights.formats import dequantise
from wayra.weights.tensors import Matrix, Weight

Floats = NDArray[np.float32]
Activations = Literal["float", "int8"]
ACTIVATION_GROUP = 32
SMALLEST = np.float32(1e-34)
"""Below it, the steps divided by it may be no float32 any more."""
INT8_STEPS = 127
FINE_STEPS = 127 * 128
"""Largest integers of an activation: in 8 bits, and in the 15 that the output head takes."""


def round_activations(x: Floats, steps: int = INT8_STEPS) -> Floats:
    """x [tokens, k] as integer activations represent it.

    Groups are 32 consecutive k of a row (the last may be shorter). A group's scale is max|x| / steps in float32, its
    integers round-half-to-even(x * (steps / max|x|)). A group whose max|x| is below 1e-34 becomes zeros.
    """
    width = x.shape[1]
    groups = np.pad(x, ((0, 0), (0, -width % ACTIVATION_GROUP))).reshape(len(x), -1, ACTIVATION_GROUP)
    largest = np.abs(groups).max(axis=-1, keepdims=True)
    inverse = np.divide(np.float32(steps), largest, out=np.zeros_like(largest), where=largest >= SMALLEST)
    integers = np.rint(groups * inverse)
    return (integers * (largest / np.float32(steps))).reshape(len(x), -1)[:, :width]


@dataclass(frozen=True, slots=True)
class DenseWeight:
    """A matrix slot in float32, part under part.

    parts: (values [rows, k], whether activations are rounded to integers before the product).
    """

    parts: tuple[tuple[Floats, bool], ...]

    def multiply(self, x: Floats, steps: int = INT8_STEPS) -> Floats:
        """x @ W.T: [tokens, k] -> [tokens, rows]. steps: the largest integer of a rounded activation."""
        rounded = round_activations(x, steps) if any(rounds for _, rounds in self.parts) else x
        return np.concatenate([(rounded if rounds else x) @ values.T for values, rounds in self.parts], axis=1)

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
        return DenseWeight(
            tuple((_dense(part), part.tensor.fmt.is_quantised and activations == "int8") for part in weight.parts)
        )
    except MemoryError:
        need_mb = 4 * weight.rows * weight.cols >> 20
        raise OutOfMemory(f"weight {weight.slot} needs {need_mb} MB in float32; use the native backend") from None


def _dense(part: Matrix) -> Floats:
    tensor = part.tensor
    tensor.fmt.row_bytes(part.cols)
    values = dequantise(tensor.fmt, tensor.data, part.rows * part.cols).reshape(part.rows, part.cols)
    return values if part.row_order is None else values[part.row_order]
