"""Reference dequantisation of every weight format, in plain vectorised NumPy.

This is the definition the packed kernels are held to; it favours legibility over speed. It knows bytes and blocks only:
no files, no models. Every product below is exact in float32 (an 11-bit scale times a 6-bit scale times a 6-bit weight),
so the one rounding left, that of the final subtraction or addition, is the same whatever the order.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wayra.base import formats
from wayra.base.errors import ShapeError
from wayra.base.formats import WeightFormat

# NumPy's stubs widen the type of every product; the arrays are uint8 and float32 throughout.
Bytes = NDArray[np.integer[Any]]
Floats = NDArray[np.floating[Any]]


def dequantise(fmt: WeightFormat, data: NDArray[np.uint8], count: int) -> NDArray[np.float32]:
    """Decode `count` weights stored in `fmt`.

    data: uint8, one-dimensional, exactly the bytes of those weights. Returns a new float32 array [count].
    Raises ShapeError when count is not a whole number of blocks or data is not as long as that takes.
    """
    if count < 0 or count % fmt.block_len:
        raise ShapeError(f"{count} weights are not a whole number of {fmt.name} blocks of {fmt.block_len}")
    expected = count // fmt.block_len * fmt.block_bytes
    if data.ndim != 1 or data.size != expected:
        raise ShapeError(f"{count} {fmt.name} weights take {expected} bytes, got {data.size}")
    blocks = np.ascontiguousarray(data).reshape(-1, fmt.block_bytes)
    # A file may hold infinite or undefined scales; what they give is for the model to show, not a reason to warn.
    with np.errstate(all="ignore"):
        return _DECODERS[fmt.name](blocks).reshape(count).astype(np.float32, copy=False)


def _half(blocks: Bytes, start: int) -> Floats:
    """The float16 at byte `start` of each block, float32 [blocks, 1]."""
    return blocks[:, start : start + 2].copy().view("<f2").astype(np.float32)


def _nibbles(packed: Bytes) -> Bytes:
    """Low nibbles of all bytes of a block, then the high ones: [..., n] -> [..., 2 * n]."""
    return np.concatenate((packed & 15, packed >> 4), axis=-1)


def _fifth_bits(blocks: Bytes, start: int) -> Bytes:
    """Bit j of the little-endian 32-bit word at `start`, shifted to the fifth place: [blocks, 32]."""
    return np.unpackbits(blocks[:, start : start + 4].astype(np.uint8, copy=False), axis=1, bitorder="little") << 4


def _from_f32(blocks: Bytes) -> Floats:
    return blocks.view("<f4").astype(np.float32)


def _from_f16(blocks: Bytes) -> Floats:
    return blocks.view("<f2").astype(np.float32)


def _from_bf16(blocks: Bytes) -> Floats:
    return (blocks.view("<u2").astype(np.uint32) << 16).view(np.float32)


def _from_i8(blocks: Bytes) -> Floats:
    return blocks.view(np.int8).astype(np.float32)


def _from_q4_0(blocks: Bytes) -> Floats:
    """scale f16, 16 bytes of nibbles; weight j and j + 16 share a byte. w = d * (q - 8)."""
    return _half(blocks, 0) * (_nibbles(blocks[:, 2:]).astype(np.float32) - 8)


def _from_q4_1(blocks: Bytes) -> Floats:
    """scale f16, minimum f16, 16 bytes of nibbles. w = d * q + m."""
    return _half(blocks, 0) * _nibbles(blocks[:, 4:]).astype(np.float32) + _half(blocks, 2)


def _from_q5_0(blocks: Bytes) -> Floats:
    """scale f16, 32 fifth bits, 16 bytes of nibbles. w = d * (q - 16)."""
    quants = _nibbles(blocks[:, 6:]) | _fifth_bits(blocks, 2)
    return _half(blocks, 0) * (quants.astype(np.float32) - 16)


def _from_q5_1(blocks: Bytes) -> Floats:
    """scale f16, minimum f16, 32 fifth bits, 16 bytes of nibbles. w = d * q + m."""
    quants = _nibbles(blocks[:, 8:]) | _fifth_bits(blocks, 4)
    return _half(blocks, 0) * quants.astype(np.float32) + _half(blocks, 2)


def _from_q8_0(blocks: Bytes) -> Floats:
    """scale f16, 32 signed bytes. w = d * q."""
    return _half(blocks, 0) * blocks[:, 2:].view(np.int8).astype(np.float32)


def _two_bit_planes(packed: Bytes) -> Bytes:
    """64 bytes of 2-bit weights -> [blocks, 16 groups, 16 weights].

    Each half of 128 weights lies in 32 bytes: bits 0-1 hold its first 32 weights, bits 2-3 the next, and so on.
    """
    halves = packed.reshape(-1, 2, 1, 32)
    shifts = np.array([0, 2, 4, 6], dtype=np.uint8).reshape(1, 1, 4, 1)
    return ((halves >> shifts) & 3).reshape(-1, 16, 16)


def _from_q2_k(blocks: Bytes) -> Floats:
    """16 bytes (scale low, minimum high nibble), 64 bytes of 2-bit weights, d f16, dmin f16."""
    scales = _half(blocks, 80) * (blocks[:, :16] & 15).astype(np.float32)
    minima = _half(blocks, 82) * (blocks[:, :16] >> 4).astype(np.float32)
    quants = _two_bit_planes(blocks[:, 16:80]).astype(np.float32)
    return scales[:, :, None] * quants - minima[:, :, None]


def _from_q3_k(blocks: Bytes) -> Floats:
    """32 bytes of third bits, 64 bytes of 2-bit weights, 12 bytes holding 16 six-bit scales, d f16.

    A cleared third bit subtracts 4. Scales: low nibbles in bytes 0-7 (scales 0-7 low, 8-15 high), high pairs of bits in
    bytes 8-11; they are stored plus 32.
    """
    low = _nibbles(blocks[:, 96:104])
    shifts = np.array([0, 2, 4, 6], dtype=np.uint8).reshape(1, 4, 1)
    high = ((blocks[:, None, 104:108] >> shifts) & 3).reshape(-1, 16)
    scales = _half(blocks, 108) * ((low | (high << 4)).astype(np.float32) - 32)
    planes = np.arange(8, dtype=np.uint8).reshape(1, 8, 1)
    third_bits = ((blocks[:, None, :32] >> planes) & 1).reshape(-1, 16, 16)
    quants = (_two_bit_planes(blocks[:, 32:96]) | (third_bits << 2)).astype(np.float32) - 4
    return scales[:, :, None] * quants


def _six_bit_scales(packed: Bytes) -> tuple[Floats, Floats]:
    """12 bytes -> 8 scales and 8 minima of six bits, float32 [blocks, 8] each.

    Bytes 0-3 hold scales 0-3 and bytes 4-7 minima 0-3 in their low six bits; bytes 8-11 hold the low nibbles of scales
    and minima 4-7, whose upper two bits are the top bits of the first eight bytes.
    """
    first, second, third = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate((first & 63, (third & 15) | ((first >> 6) << 4)), axis=1)
    minima = np.concatenate((second & 63, (third >> 4) | ((second >> 6) << 4)), axis=1)
    return scales.astype(np.float32), minima.astype(np.float32)


def _from_q4_k(blocks: Bytes) -> Floats:
    """d f16, dmin f16, 12 bytes of scales, 128 bytes of nibbles: 32 bytes hold 32 low weights, then 32 high."""
    scales, minima = _six_bit_scales(blocks[:, 4:16])
    quants = _nibbles(blocks[:, 16:].reshape(-1, 4, 32)).reshape(-1, 8, 32).astype(np.float32)
    return (_half(blocks, 0) * scales)[:, :, None] * quants - (_half(blocks, 2) * minima)[:, :, None]


def _from_q5_k(blocks: Bytes) -> Floats:
    """As Q4_K, with 32 bytes of fifth bits before the nibbles: bit s of byte l belongs to weight l of group s."""
    scales, minima = _six_bit_scales(blocks[:, 4:16])
    groups = np.arange(8, dtype=np.uint8).reshape(1, 8, 1)
    fifth = ((blocks[:, None, 16:48] >> groups) & 1) << 4
    quants = (_nibbles(blocks[:, 48:].reshape(-1, 4, 32)).reshape(-1, 8, 32) | fifth).astype(np.float32)
    return (_half(blocks, 0) * scales)[:, :, None] * quants - (_half(blocks, 2) * minima)[:, :, None]


def _from_q6_k(blocks: Bytes) -> Floats:
    """128 bytes of low nibbles, 64 bytes of upper bit pairs, 16 signed scales, d f16. w = d * scale * (q - 32).

    Each half of 128 weights: 64 bytes give 64 low then 64 high nibbles; 32 bytes give four planes of upper bits.
    """
    low = _nibbles(blocks[:, :128].reshape(-1, 2, 64)).reshape(-1, 16, 16)
    high = _two_bit_planes(blocks[:, 128:192]) << 4
    scales = _half(blocks, 208) * blocks[:, 192:208].view(np.int8).astype(np.float32)
    return scales[:, :, None] * ((low | high).astype(np.float32) - 32)


_DECODERS: Mapping[str, Callable[[Bytes], Floats]] = MappingProxyType({
    formats.F32.name: _from_f32,
    formats.F16.name: _from_f16,
    formats.BF16.name: _from_bf16,
    formats.I8.name: _from_i8,
    formats.Q4_0.name: _from_q4_0,
    formats.Q4_1.name: _from_q4_1,
    formats.Q5_0.name: _from_q5_0,
    formats.Q5_1.name: _from_q5_1,
    formats.Q8_0.name: _from_q8_0,
    formats.Q2_K.name: _from_q2_k,
    formats.Q3_K.name: _from_q3_k,
    formats.Q4_K.name: _from_q4_k,
    formats.Q5_K.name: _from_q5_k,
    formats.Q6_K.name: _from_q6_k,
})  # fmt: skip
