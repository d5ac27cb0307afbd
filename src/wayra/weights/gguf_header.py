"""The header of a GGUF file, read with every length checked before anything is made from it.

Python's integers do not overflow, so sums and products of lengths are exact; each is compared with what the file
holds before it is used. Nothing here knows which tensors a model needs.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct
from types import MappingProxyType

import numpy as np

from wayra.base.errors import FileFormatError, UnsupportedModel
from wayra.base.formats import ALL as SUPPORTED_FORMATS
from wayra.weights.gguf_arrays import NumberArray, StringArray
from wayra.weights.mapped_file import MappedFile

MAGIC = b"GGUF"
DEFAULT_ALIGNMENT = 32
MAX_ALIGNMENT = 1 << 16
MAX_DIMENSIONS = 4
MAX_ELEMENTS = (1 << 63) - 1
# Far above any real file (tens of keys, thousands of tensors, a vocabulary of 262k with 515k merges); they keep the
# memory a lying file can make us use within a small multiple of its own size.
MAX_KEYS = 1 << 14
MAX_NAME_BYTES = 1 << 10
MAX_TENSORS = 1 << 16
MAX_STRINGS = 900_000
MAX_TEXT_BYTES = 16 << 20
MAX_SCALAR_TEXT_BYTES = 8 << 20

BOOL, STRING, ARRAY = 7, 8, 9
_DTYPES: Mapping[int, np.dtype[np.generic]] = MappingProxyType({
    type_id: np.dtype(code)
    for type_id, code in {
        0: "u1", 1: "i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", BOOL: "?", 10: "<u8", 11: "<i8", 12: "<f8",
    }.items()
})  # fmt: skip
_U32 = Struct("<I")
_U64 = Struct("<Q")

# (name, weights a block, bytes a block) of every type ggml defines: those we do not compute with still need a size, for
# the checks of place and overlap.
BLOCKS: Mapping[int, tuple[str, int, int]] = MappingProxyType({
    9: ("Q8_1", 32, 40), 15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4),
    27: ("I64", 1, 8), 28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36),
    **{f.ggml_id: (f.name, f.block_len, f.block_bytes) for f in SUPPORTED_FORMATS},
})  # fmt: skip
MAX_TYPE_ID = 255


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """shape: row-major. start: first byte, from the start of the file. num_bytes: None for a type of unknown size."""

    name: str
    shape: tuple[int, ...]
    type_id: int
    start: int
    num_bytes: int | None


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """num_bytes: where the tensors' data begins, after padding."""

    version: int
    metadata: Mapping[str, object]
    tensors: tuple[TensorInfo, ...]
    num_bytes: int


def read_header(file: MappedFile) -> GgufHeader:
    """Parse and check the header of one file. Raises FileFormatError, UnsupportedModel (version, byte order)."""
    cursor = _Cursor(file)
    version = _read_version(cursor)
    num_tensors = cursor.count("tensors", MAX_TENSORS, min_bytes_each=32)
    num_keys = cursor.count("metadata keys", MAX_KEYS, min_bytes_each=13)
    metadata = _read_metadata(cursor, num_keys)
    alignment = _alignment(cursor, metadata)
    raw_tensors = _read_tensors(cursor, num_tensors)
    data_start = -(-cursor.position // alignment) * alignment
    tensors = _place_tensors(cursor, raw_tensors, data_start, alignment)
    return GgufHeader(version, metadata, tensors, min(data_start, file.size))


class _Cursor:
    """Reads forward through the file; every read is checked against its end."""

    def __init__(self, file: MappedFile) -> None:
        self.path = file.path
        self.data = file.data
        self.buffer = file.data.data
        self.size = file.size
        self.position = 0
        self.text_bytes = 0
        self.scalar_text_bytes = 0
        self.strings = 0

    def error(self, reason: str, offset: int | None = None) -> FileFormatError:
        place = self.position if offset is None else offset
        return FileFormatError(f"{self.path}: {reason} at byte {place}; the file is damaged, fetch it again")

    def take(self, num_bytes: int, what: str) -> int:
        """Step over `num_bytes`; returns where they start."""
        start = self.position
        if num_bytes > self.size - start:
            raise self.error(f"{what} of {num_bytes} bytes passes the end of the file ({self.size} bytes)")
        self.position = start + num_bytes
        return start

    def u32(self, what: str) -> int:
        return _U32.unpack_from(self.buffer, self.take(4, what))[0]

    def u64(self, what: str) -> int:
        return _U64.unpack_from(self.buffer, self.take(8, what))[0]

    def count(self, what: str, limit: int, min_bytes_each: int) -> int:
        """A count of things, each of which needs some bytes of what is left of the file."""
        start = self.position
        number = self.u64(f"the number of {what}")
        if number > limit:
            raise self.error(f"{number} {what}, at most {limit} are accepted", start)
        if number * min_bytes_each > self.size - self.position:
            raise self.error(f"{number} {what} do not fit in a file of {self.size} bytes", start)
        return number

    def text(self, what: str, max_bytes: int) -> bytes:
        start = self.position
        length = self.u64(f"the length of {what}")
        if length > max_bytes:
            raise self.error(f"{what} of {length} bytes, at most {max_bytes} are accepted", start)
        begin = self.take(length, what)
        self.scalar_text_bytes += length
        if self.scalar_text_bytes > MAX_SCALAR_TEXT_BYTES:
            raise self.error(f"more than {MAX_SCALAR_TEXT_BYTES} bytes of names and texts", start)
        return bytes(self.buffer[begin : begin + length])

    def name(self, what: str) -> str:
        start = self.position
        stored = self.text(what, MAX_NAME_BYTES)
        try:
            name = stored.decode("utf-8")
        except UnicodeDecodeError:
            raise self.error(f"{what} is not valid UTF-8", start) from None
        if not name:
            raise self.error(f"{what} is empty", start)
        return name


def _read_version(cursor: _Cursor) -> int:
    if bytes(cursor.buffer[:4]) != MAGIC:
        raise cursor.error(f"{bytes(cursor.buffer[:4])!r} where a GGUF file begins with {MAGIC!r}")
    cursor.take(4, "the magic")
    version = cursor.u32("the version")
    if version in (2, 3):
        return version
    if version & 0xFFFF == 0 and version:
        raise UnsupportedModel(f"{cursor.path} is a big-endian GGUF file; convert it to little-endian")
    if version == 0:
        raise cursor.error("version 0", 4)
    raise UnsupportedModel(f"{cursor.path} is GGUF version {version}; versions 2 and 3 are supported, convert it again")


def _read_metadata(cursor: _Cursor, num_keys: int) -> Mapping[str, object]:
    metadata: dict[str, object] = {}
    for _ in range(num_keys):
        start = cursor.position
        key = cursor.name("a metadata key")
        if key in metadata:
            raise cursor.error(f"metadata key {key!r} occurs twice", start)
        type_id = cursor.u32(f"the type of {key!r}")
        metadata[key] = _read_value(cursor, key, type_id)
    return MappingProxyType(metadata)


def _read_value(cursor: _Cursor, key: str, type_id: int) -> object:
    if type_id == STRING:
        # A text for people to read must not stop a model from loading.
        return cursor.text(f"the text of {key!r}", MAX_SCALAR_TEXT_BYTES).decode("utf-8", "replace")
    if type_id == ARRAY:
        return _read_array(cursor, key)
    dtype = _DTYPES.get(type_id)
    if dtype is None:
        raise cursor.error(f"{key!r} has the unknown value type {type_id}", cursor.position - 4)
    start = cursor.take(dtype.itemsize, f"the value of {key!r}")
    if type_id == BOOL and cursor.buffer[start] > 1:
        raise cursor.error(f"{key!r} is a boolean of value {cursor.buffer[start]}", start)
    return cursor.data[start : cursor.position].view(dtype)[0].item()


def _read_array(cursor: _Cursor, key: str) -> StringArray | NumberArray:
    start = cursor.position
    type_id = cursor.u32(f"the item type of {key!r}")
    if type_id == ARRAY:
        raise cursor.error(f"{key!r} is an array of arrays, which no known key is", start)
    if type_id == STRING:
        count = cursor.count(f"strings in {key!r}", MAX_STRINGS, min_bytes_each=8)
        return _read_strings(cursor, key, count)
    dtype = _DTYPES.get(type_id)
    if dtype is None:
        raise cursor.error(f"{key!r} is an array of the unknown type {type_id}", start)
    count = cursor.count(f"numbers in {key!r}", MAX_ELEMENTS, min_bytes_each=dtype.itemsize)
    begin = cursor.take(count * dtype.itemsize, f"the array {key!r}")
    values = cursor.data[begin : cursor.position]
    if type_id == BOOL and count and int(values.max()) > 1:
        raise cursor.error(f"{key!r} holds booleans that are neither 0 nor 1", begin)
    return NumberArray(values.view(dtype))


def _read_strings(cursor: _Cursor, key: str, count: int) -> StringArray:
    """Walk over the strings' lengths: a hundred thousand of them in some 10 ms, so nothing else happens in the loop."""
    begin = position = cursor.position
    buffer, last = cursor.buffer, cursor.size - 8
    length_at = _U64.unpack_from
    for index in range(count):
        if position > last:
            raise cursor.error(f"string {index} of {key!r} passes the end of the file ({cursor.size} bytes)", position)
        position += 8 + length_at(buffer, position)[0]
    if position > cursor.size:
        raise cursor.error(f"the last string of {key!r} passes the end of the file ({cursor.size} bytes)", begin)
    cursor.position = position
    cursor.strings += count
    cursor.text_bytes += position - begin - 8 * count
    if cursor.strings > MAX_STRINGS or cursor.text_bytes > MAX_TEXT_BYTES:
        raise cursor.error(
            f"{cursor.strings} strings of {cursor.text_bytes} bytes in arrays, at most {MAX_STRINGS} of "
            f"{MAX_TEXT_BYTES} are accepted",
            begin,
        )
    return StringArray(cursor.data[begin:position], count)


def _alignment(cursor: _Cursor, metadata: Mapping[str, object]) -> int:
    alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or isinstance(alignment, bool):
        raise cursor.error(f"general.alignment is {alignment!r}, expected an integer")
    if not 0 < alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
        raise cursor.error(f"general.alignment is {alignment}, expected a power of two up to {MAX_ALIGNMENT}")
    return alignment


def _read_tensors(cursor: _Cursor, num_tensors: int) -> list[TensorInfo]:
    """Tensor entries with `start` still relative to the data."""
    tensors: list[TensorInfo] = []
    names: set[str] = set()
    for _ in range(num_tensors):
        start = cursor.position
        name = cursor.name("a tensor name")
        if name in names:
            raise cursor.error(f"tensor {name!r} occurs twice", start)
        names.add(name)
        num_dims = cursor.u32(f"the number of dimensions of {name!r}")
        if num_dims > MAX_DIMENSIONS:
            raise cursor.error(f"tensor {name!r} has {num_dims} dimensions, at most {MAX_DIMENSIONS} exist", start)
        dims = tuple(cursor.u64(f"a dimension of {name!r}") for _ in range(num_dims))
        if any(dim == 0 for dim in dims) or math.prod(dims) > MAX_ELEMENTS:
            raise cursor.error(f"tensor {name!r} has the impossible dimensions {dims}", start)
        type_id = cursor.u32(f"the type of {name!r}")
        offset = cursor.u64(f"the offset of {name!r}")
        num_bytes = _tensor_bytes(cursor, name, dims, type_id)
        tensors.append(TensorInfo(name, dims[::-1], type_id, offset, num_bytes))
    return tensors


def _tensor_bytes(cursor: _Cursor, name: str, dims: tuple[int, ...], type_id: int) -> int | None:
    if type_id > MAX_TYPE_ID:
        raise cursor.error(f"tensor {name!r} has the impossible type {type_id}")
    if type_id not in BLOCKS:
        return None
    type_name, block_len, block_bytes = BLOCKS[type_id]
    row_len = dims[0] if dims else 1
    if row_len % block_len:
        raise cursor.error(
            f"a row of {name!r} has {row_len} weights, not a whole number of {type_name} blocks of {block_len}"
        )
    return math.prod(dims) // block_len * block_bytes


def _place_tensors(
    cursor: _Cursor, tensors: list[TensorInfo], data_start: int, alignment: int
) -> tuple[TensorInfo, ...]:
    """Turn offsets into places in the file; each must be aligned, inside the file and free of the others."""
    placed: list[TensorInfo] = []
    for tensor in tensors:
        if tensor.start % alignment:
            raise cursor.error(f"tensor {tensor.name!r} has offset {tensor.start}, not a multiple of {alignment}")
        start = data_start + tensor.start
        end = start + (tensor.num_bytes or 0)
        if end > cursor.size:
            raise cursor.error(
                f"tensor {tensor.name!r} ends at byte {end}, the file has {cursor.size} (is it incomplete?)", start
            )
        placed.append(TensorInfo(tensor.name, tensor.shape, tensor.type_id, start, tensor.num_bytes))
    previous_end, previous_name = 0, ""
    for tensor in sorted(placed, key=lambda item: item.start):
        if tensor.start < previous_end:
            raise cursor.error(f"tensor {tensor.name!r} overlaps {previous_name!r}", tensor.start)
        previous_end, previous_name = tensor.start + (tensor.num_bytes or 0), tensor.name
    return tuple(placed)
