"""What the parsers give and the backends take: raw tensors, and weights assigned to the slots of a family."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from wayra.base.formats import WeightFormat


@dataclass(frozen=True, slots=True)
class RawTensor:
    """One tensor as the file stores it.

    shape: row-major; a matrix is (out_features, in_features), so blocks run along a row.
    data: uint8, one-dimensional, read-only view of the mapped file, exactly the tensor's bytes.
    """

    name: str
    shape: tuple[int, ...]
    fmt: WeightFormat
    data: NDArray[np.uint8]


class Checkpoint(Protocol):
    """An opened, checked model file (or folder, or set of splits). Holds the mappings open until closed.

    metadata: GGUF key-values, or the decoded config.json.
    tensors: looking one up raises UnsupportedModel when it is stored in a type we do not read.
    shapes: row-major shape of every tensor, those of unreadable types included.
    digest: 64 hex digits that change when the content may have changed (used to key caches).
    """

    kind: Literal["gguf", "safetensors"]
    paths: tuple[Path, ...]
    metadata: Mapping[str, object]
    tensors: Mapping[str, RawTensor]
    shapes: Mapping[str, tuple[int, ...]]
    digest: str

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Matrix:
    """A matrix of `rows` output features by `cols` input features.

    row_order: int32 [rows] or None; row i of the matrix is stored row row_order[i] of the tensor. It undoes GGUF's
    permutation of Q and K, so that every backend knows one rotary layout only (half-split).
    row_scale: float32 [rows] or None; what the integers of an I8 tensor are multiplied with, in the tensor's order.
    """

    tensor: RawTensor
    rows: int
    cols: int
    row_order: NDArray[np.int32] | None = None
    row_scale: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Weight:
    """The content of a matrix slot: parts stacked along the rows (Q, K and V, say), each in a format of its own."""

    slot: str
    parts: tuple[Matrix, ...]

    @property
    def rows(self) -> int:
        return sum(p.rows for p in self.parts)

    @property
    def cols(self) -> int:
        return self.parts[0].cols


@dataclass(frozen=True, slots=True)
class ModelWeights:
    """Everything a Program refers to by slot name.

    vectors: float32 norms, biases and rotary frequencies, small enough to be copied.
    digest: the checkpoint's digest.
    """

    matrices: Mapping[str, Weight]
    vectors: Mapping[str, NDArray[np.float32]]
    digest: str
