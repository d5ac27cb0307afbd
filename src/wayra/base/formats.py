"""The storage formats of weights: how many weights a block holds and how many bytes it takes.

Names and ids are those of GGML, which are the field's standard. The layouts themselves are read in `weights.formats`
(reference) and packed by the native backend.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from wayra.base.errors import ShapeError


@dataclass(frozen=True, slots=True)
class WeightFormat:
    """A block format. `block_len` weights of one row are stored in `block_bytes` bytes."""

    name: str
    ggml_id: int
    block_len: int
    block_bytes: int

    @property
    def bits_per_weight(self) -> float:
        return self.block_bytes * 8 / self.block_len

    @property
    def is_quantised(self) -> bool:
        return self.bits_per_weight < 16

    def row_bytes(self, cols: int) -> int:
        """Bytes of a row of `cols` weights. Raises ShapeError if a row would end inside a block."""
        if cols % self.block_len:
            raise ShapeError(
                f"a row of {cols} weights is not a whole number of {self.name} blocks of {self.block_len}; "
                "the file does not follow the format"
            )
        return cols // self.block_len * self.block_bytes


F32 = WeightFormat("F32", 0, 1, 4)
F16 = WeightFormat("F16", 1, 1, 2)
BF16 = WeightFormat("BF16", 30, 1, 2)
Q4_0 = WeightFormat("Q4_0", 2, 32, 18)
Q4_1 = WeightFormat("Q4_1", 3, 32, 20)
Q5_0 = WeightFormat("Q5_0", 6, 32, 22)
Q5_1 = WeightFormat("Q5_1", 7, 32, 24)
Q8_0 = WeightFormat("Q8_0", 8, 32, 34)
Q2_K = WeightFormat("Q2_K", 10, 256, 84)
Q3_K = WeightFormat("Q3_K", 11, 256, 110)
Q4_K = WeightFormat("Q4_K", 12, 256, 144)
Q5_K = WeightFormat("Q5_K", 13, 256, 176)
Q6_K = WeightFormat("Q6_K", 14, 256, 210)

I8 = WeightFormat("I8", 24, 1, 1)
"""Plain bytes, which mean nothing without the scales of their rows: no format of a whole tensor, so not in ALL."""

ALL: tuple[WeightFormat, ...] = (
    F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K,
)  # fmt: skip
BY_NAME: Mapping[str, WeightFormat] = MappingProxyType({f.name: f for f in ALL})
BY_GGML_ID: Mapping[int, WeightFormat] = MappingProxyType({f.ggml_id: f for f in ALL})
