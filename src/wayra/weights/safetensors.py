"""safetensors models: one file, or a folder with one file or with an index and its shards, and a config.json."""

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from wayra.base import formats
from wayra.base.errors import FileFormatError, ModelNotFound, UnsupportedModel
from wayra.base.formats import WeightFormat
from wayra.weights.mapped_file import MappedFile, identity_digest
from wayra.weights.names import INDEX_NAME, SINGLE_NAME
from wayra.weights.safetensors_json import TensorEntry, decode_header, decode_object, decode_weight_map
from wayra.weights.tensors import Checkpoint, RawTensor

CONFIG_NAME = "config.json"
MAX_HEADER_BYTES = 100_000_000
MAX_CONFIG_BYTES = 1 << 20
MAX_INDEX_BYTES = 32 << 20
MAX_SHARDS = 1000
MAX_NAMES_LEN = 1 << 10
MAX_DIMENSIONS = 8
MAX_ELEMENTS = (1 << 63) - 1

_READABLE: Mapping[str, WeightFormat] = MappingProxyType({
    "F32": formats.F32, "F16": formats.F16, "BF16": formats.BF16, "I8": formats.I8,
})  # fmt: skip
_BITS: Mapping[str, int] = MappingProxyType({
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16,
    "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64, "F4": 4,
})  # fmt: skip
_SHARD_NAME = re.compile(r".+-\d+-of-\d+\.safetensors", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Place:
    """start, end: bytes from the start of the file."""

    file: MappedFile
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


class SafeTensors(Mapping[str, RawTensor]):
    """Tensors by name, viewed when asked for; looking one up raises UnsupportedModel for a type we do not read."""

    def __init__(self, places: Mapping[str, _Place]) -> None:
        self._places = places

    def __getitem__(self, name: str) -> RawTensor:
        place = self._places[name]
        fmt = _READABLE.get(place.dtype)
        if fmt is None:
            raise UnsupportedModel(
                f"{place.file.path}: tensor {name!r} is stored as {place.dtype}; supported are "
                f"{', '.join(_READABLE)}: take an unquantised version of the model, or a GGUF file"
            )
        return RawTensor(name, place.shape, fmt, place.file.data[place.start : place.end])

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class SafetensorsCheckpoint:
    """A checked safetensors model; a `Checkpoint`. The metadata are those of config.json."""

    kind: Literal["gguf", "safetensors"] = "safetensors"

    def __init__(
        self, files: Sequence[MappedFile], places: Mapping[str, _Place], metadata: Mapping[str, object], digest: str
    ) -> None:
        self._files = tuple(files)
        self.paths = tuple(file.path for file in files)
        self.metadata: Mapping[str, object] = metadata
        self.tensors: Mapping[str, RawTensor] = SafeTensors(places)
        self.shapes: Mapping[str, tuple[int, ...]] = {name: place.shape for name, place in places.items()}
        self.digest = digest

    def close(self) -> None:
        """Let go of the files. Tensors already taken stay valid; the checkpoint itself is empty after."""
        self.metadata = MappingProxyType({})
        self.tensors = MappingProxyType({})
        for file in self._files:
            file.close()


def open_safetensors(path: Path) -> Checkpoint:
    """Open a .safetensors file (all shards, when it is one of several) or the folder of a model.

    Everything the headers, the index and config.json say is checked; no tensor is read.
    Raises ModelNotFound, FileFormatError, UnsupportedModel.
    """
    folder, index_path, single_path = _locate(path)
    files: list[MappedFile] = []
    try:
        texts = [_read_text(files, folder / CONFIG_NAME, MAX_CONFIG_BYTES)]
        config: Mapping[str, object] = decode_object(folder / CONFIG_NAME, texts[0])
        weight_map: dict[str, str] | None = None
        shard_paths = [single_path]
        if index_path is not None:
            texts.append(_read_text(files, index_path, MAX_INDEX_BYTES))
            weight_map = _weight_map(index_path, texts[1])
            shard_paths = [folder / name for name in sorted(set(weight_map.values()))]
        num_texts = len(files)
        shards: list[tuple[MappedFile, dict[str, _Place]]] = []
        for shard_path in shard_paths:
            files.append(MappedFile(shard_path))
            header, found = _read_shard(files[-1])
            texts.append(header)
            shards.append((files[-1], found))
        places = _merge(shards, weight_map)
        digest = identity_digest(files, texts)
        for file in files[:num_texts]:
            file.close()
        return SafetensorsCheckpoint(files[num_texts:], places, config, digest)
    except BaseException:
        for file in files:
            file.close()
        raise


def _locate(path: Path) -> tuple[Path, Path | None, Path]:
    """(folder, index or None, the single file). Raises ModelNotFound when a folder holds neither."""
    if not path.is_dir():
        index = path.with_name(INDEX_NAME)
        is_shard = _SHARD_NAME.fullmatch(path.name) is not None or path.name == INDEX_NAME
        return path.parent, index if is_shard and index.exists() else None, path
    if (path / SINGLE_NAME).exists():
        return path, None, path / SINGLE_NAME
    if (path / INDEX_NAME).exists():
        return path, path / INDEX_NAME, path / SINGLE_NAME
    raise ModelNotFound(f"{path} holds neither {SINGLE_NAME} nor {INDEX_NAME}; give the folder of a safetensors model")


def _read_text(files: list[MappedFile], path: Path, max_bytes: int) -> memoryview:
    """The content of a JSON file; its mapping is added to `files`, for the digest."""
    file = MappedFile(path)
    files.append(file)
    if file.size > max_bytes:
        raise FileFormatError(f"{path} has {file.size} bytes, at most {max_bytes} are expected of such a file")
    return file.data.data


def _weight_map(path: Path, text: memoryview) -> dict[str, str]:
    """Tensor name -> shard file name, every shard a plain name in the same folder."""
    weight_map = decode_weight_map(path, text)
    for tensor, shard in weight_map.items():
        if len(tensor) + len(shard) > MAX_NAMES_LEN:
            raise FileFormatError(f"{path} maps {tensor[:80]!r}... to {shard[:80]!r}..., names of unreasonable length")
        if "\0" in shard or "\\" in shard or os.path.basename(shard) != shard or not shard.endswith(".safetensors"):
            raise FileFormatError(
                f"{path} maps {tensor!r} to {shard!r}, expected the plain name of a .safetensors file; do not trust "
                "where it came from"
            )
    num_shards = len(set(weight_map.values()))
    if not 1 <= num_shards <= MAX_SHARDS:
        raise FileFormatError(f"{path} names {num_shards} shards, 1 to {MAX_SHARDS} are accepted")
    return weight_map


def _read_shard(file: MappedFile) -> tuple[memoryview, dict[str, _Place]]:
    """The header's bytes, and the checked place of every tensor of one file."""
    header_len = int.from_bytes(file.data[:8].tobytes(), "little")
    if file.size < 8 or header_len > file.size - 8:
        raise FileFormatError(
            f"{file.path}: a header of {header_len} bytes in a file of {file.size}; it is not a safetensors file, or "
            "was cut short: fetch it again"
        )
    if header_len > MAX_HEADER_BYTES:
        raise FileFormatError(f"{file.path}: a header of {header_len} bytes, at most {MAX_HEADER_BYTES} are accepted")
    header = file.data[8 : 8 + header_len].data
    data_start = 8 + header_len
    places: dict[str, _Place] = {}
    previous_end = 0
    entries = decode_header(file.path, header)
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        _check_entry(file.path, name, entry)
        start, end = entry.data_offsets
        if start != previous_end:
            trouble = "overlaps the one before it" if start < previous_end else "leaves a hole before it"
            raise FileFormatError(f"{file.path}: tensor {name!r} at byte {start} {trouble}; fetch the file again")
        previous_end = end
        places[name] = _Place(file, entry.dtype, entry.shape, data_start + start, data_start + end)
    if data_start + previous_end != file.size:
        raise FileFormatError(
            f"{file.path}: the header describes {data_start + previous_end} bytes, the file has {file.size}; "
            "it was cut short or altered: fetch it again"
        )
    return header, places


def _check_entry(path: Path, name: str, entry: TensorEntry) -> None:
    start, end = entry.data_offsets
    if len(entry.shape) > MAX_DIMENSIONS or any(dim < 0 for dim in entry.shape):
        raise FileFormatError(f"{path}: tensor {name!r} has the impossible shape {entry.shape}")
    num_weights = math.prod(entry.shape)
    if num_weights > MAX_ELEMENTS or not 0 <= start <= end:
        raise FileFormatError(f"{path}: tensor {name!r} has the impossible shape {entry.shape} or place {start}-{end}")
    bits = _BITS.get(entry.dtype)
    if bits is not None and num_weights * bits != (end - start) * 8:
        raise FileFormatError(
            f"{path}: tensor {name!r} of shape {entry.shape} in {entry.dtype} takes {num_weights * bits / 8:g} bytes, "
            f"its place has {end - start}; fetch the file again"
        )


def _merge(
    shards: Sequence[tuple[MappedFile, dict[str, _Place]]], weight_map: dict[str, str] | None
) -> dict[str, _Place]:
    """All tensors of all shards, which must be just those the index lists, each where it says."""
    merged: dict[str, _Place] = {}
    for file, places in shards:
        for name, place in places.items():
            if weight_map is not None and weight_map.get(name) != file.path.name:
                raise FileFormatError(
                    f"{file.path} holds tensor {name!r}, which the index puts in {weight_map.get(name)!r}; index and "
                    "shards do not belong together: fetch them again"
                )
            merged[name] = place
    for name, shard in (weight_map or {}).items():
        if name not in merged:
            raise FileFormatError(f"tensor {name!r} is not in {shard}, where the index puts it; fetch both again")
    return merged
