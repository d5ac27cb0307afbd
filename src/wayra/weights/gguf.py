"""GGUF model files, one or a set of splits, opened as one checkpoint."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from wayra.base.errors import FileFormatError, ModelNotFound, UnsupportedModel
from wayra.base.formats import ALL as SUPPORTED_FORMATS
from wayra.base.formats import BY_GGML_ID
from wayra.weights.gguf_header import BLOCKS, GgufHeader, TensorInfo, read_header
from wayra.weights.mapped_file import MappedFile, identity_digest
from wayra.weights.tensors import Checkpoint, RawTensor

MAX_SPLITS = 1024
_SPLIT_NAME = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)


class GgufTensors(Mapping[str, RawTensor]):
    """Tensors by name, viewed when asked for.

    Looking one up raises UnsupportedModel when it is stored in a type we do not read, so that a file is refused only
    if a tensor that is needed cannot be used.
    """

    def __init__(self, parts: Sequence[tuple[MappedFile, GgufHeader]]) -> None:
        """Raises FileFormatError when two parts hold a tensor of the same name."""
        self._places: dict[str, tuple[MappedFile, TensorInfo]] = {}
        for file, header in parts:
            for info in header.tensors:
                if info.name in self._places:
                    raise FileFormatError(
                        f"{file.path}: tensor {info.name!r} is in another split too; fetch both again"
                    )
                self._places[info.name] = (file, info)

    def __getitem__(self, name: str) -> RawTensor:
        file, info = self._places[name]
        fmt = BY_GGML_ID.get(info.type_id)
        if fmt is None or info.num_bytes is None:
            stored = BLOCKS[info.type_id][0] if info.type_id in BLOCKS else f"the unknown type {info.type_id}"
            supported = ", ".join(f.name for f in SUPPORTED_FORMATS)
            raise UnsupportedModel(
                f"{file.path}: tensor {name!r} is stored as {stored}; supported are {supported}: "
                "take a file quantised to one of these"
            )
        return RawTensor(name, info.shape, fmt, file.data[info.start : info.start + info.num_bytes])

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class GgufCheckpoint:
    """A checked GGUF file or set of splits; a `Checkpoint`. The metadata are those of the first split.

    layouts: type and bytes of every tensor, those of unreadable types included.
    """

    kind: Literal["gguf", "safetensors"] = "gguf"

    def __init__(self, files: Sequence[MappedFile], headers: Sequence[GgufHeader]) -> None:
        self._files = tuple(files)
        self.paths = tuple(file.path for file in files)
        self.metadata: Mapping[str, object] = headers[0].metadata
        self.tensors: Mapping[str, RawTensor] = GgufTensors(list(zip(files, headers, strict=True)))
        self.shapes: Mapping[str, tuple[int, ...]] = {
            tensor.name: tensor.shape for header in headers for tensor in header.tensors
        }
        self.layouts: Mapping[str, TensorInfo] = {
            tensor.name: tensor for header in headers for tensor in header.tensors
        }
        self.digest = identity_digest(
            files, [file.data[: header.num_bytes].data for file, header in zip(files, headers, strict=True)]
        )

    def close(self) -> None:
        """Let go of the files. Tensors and arrays already taken stay valid; the checkpoint itself is empty after."""
        self.metadata = MappingProxyType({})
        self.tensors = MappingProxyType({})
        for file in self._files:
            file.close()


def open_gguf(path: Path) -> Checkpoint:
    """Open a GGUF file, or all parts of a split one given any of them.

    Everything the header says is checked; no tensor is read. Raises ModelNotFound, FileFormatError, UnsupportedModel.
    """
    files: list[MappedFile] = []
    try:
        first = MappedFile(path)
        files.append(first)
        header = read_header(first)
        num_splits = _split_field(first, header, "split.count", default=1)
        if num_splits <= 1:
            return GgufCheckpoint(files, [header])
        return _open_splits(path, num_splits, files)
    except BaseException:
        for file in files:
            file.close()
        raise


def _open_splits(path: Path, num_splits: int, files: list[MappedFile]) -> Checkpoint:
    """Open every part afresh, in order, into `files` (so that the caller can close them on failure)."""
    matched = _SPLIT_NAME.fullmatch(path.name)
    if matched is None or int(matched["count"]) != num_splits or num_splits > MAX_SPLITS:
        raise FileFormatError(
            f"{path} says it is one of {num_splits} splits, but is not named "
            f"...-00001-of-{num_splits:05}.gguf; give the splits the names they had"
        )
    files.pop().close()
    headers: list[GgufHeader] = []
    for number in range(num_splits):
        part_path = path.with_name(f"{matched['stem']}-{number + 1:05}-of-{num_splits:05}.gguf")
        try:
            part = MappedFile(part_path)
        except ModelNotFound as error:
            raise ModelNotFound(f"{path.name} is one of {num_splits} splits, all are needed: {error}") from None
        files.append(part)
        header = read_header(part)
        seen = (_split_field(part, header, "split.no"), _split_field(part, header, "split.count"))
        if seen != (number, num_splits):
            raise FileFormatError(
                f"{part_path} says it is split {seen[0]} (counted from 0) of {seen[1]}, expected {number} of "
                f"{num_splits}; the splits do not belong together, fetch them again"
            )
        headers.append(header)
    total = sum(len(header.tensors) for header in headers)
    expected = _split_field(files[0], headers[0], "split.tensors.count", default=total)
    if total != expected:
        raise FileFormatError(f"{path.name}: the splits hold {total} tensors, expected {expected}; fetch them again")
    return GgufCheckpoint(files, headers)


def _split_field(file: MappedFile, header: GgufHeader, key: str, default: int | None = None) -> int:
    value = header.metadata.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise FileFormatError(f"{file.path}: {key} is {value!r}, expected a whole number; fetch the splits again")
    return value
