"""What this machine allows at most, measured with the instructions that the kernels use."""

from dataclasses import dataclass

from wayra.backends.native import _native
from wayra.backends.native.isa import choose_isa, choose_threads
from wayra.base.errors import OutOfMemory

MIN_BUFFER_BYTES = 64 << 20
MAX_BUFFER_BYTES = 512 << 20
DEFAULT_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Peaks:
    """Of all threads together; a multiply-add is two operations. read_gb_s: memory read again and again."""

    read_gb_s: float
    int8_gop_s: float
    bf16_gop_s: float
    f32_gop_s: float


def measure_peaks(
    weights_bytes: int, threads: int | None = None, isa: str | None = None, seconds: float = DEFAULT_SECONDS
) -> Peaks:
    """Each peak is the best of passes that take so many seconds together: others can only slow one down.

    weights_bytes: size of the model whose reading is to be judged; what is read here is of that size within bounds.
    Raises BackendError, InvalidParameter, OutOfMemory.
    """
    chosen, count = choose_isa(isa), choose_threads(threads)
    size = max(MIN_BUFFER_BYTES, min(MAX_BUFFER_BYTES, weights_bytes))
    try:
        return Peaks(**_native.probe(str(chosen.kernels), count, size, seconds))
    except MemoryError:
        raise OutOfMemory(f"no room for {size / 1e6:,.0f} MB to measure memory with; close other programs") from None
