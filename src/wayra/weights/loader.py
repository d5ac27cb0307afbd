"""From a model's files to the weights a Program refers to: which file it is, what the model is, every slot filled."""

import os
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from wayra.base import formats
from wayra.base.errors import FileFormatError, ModelNotFound, ShapeError, UnsupportedModel
from wayra.model.families import slots
from wayra.model.rope import rope_frequencies
from wayra.model.slots import Slot
from wayra.model.spec import ModelSpec
from wayra.model.spec_gguf import spec_from_gguf
from wayra.weights.formats import dequantise
from wayra.weights.gguf import open_gguf
from wayra.weights.names import INDEX_NAME, ROPE_FACTORS, SINGLE_NAME, is_ignorable, tensor_names
from wayra.weights.row_scaled import row_scale, scale_name
from wayra.weights.tensors import Checkpoint, Matrix, ModelWeights, RawTensor, Weight

# GGUF architectures whose converter interleaves the two halves of each rotated head of Q and K.
INTERLEAVED_ARCHITECTURES = frozenset({"llama"})
_PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".pkl", ".ckpt"})
_OLD_MAGICS = frozenset({b"lmgg", b"tjgg", b"fmgg", b"algg"})


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a model by what its file or folder holds, whatever it is called.

    Raises ModelNotFound, FileFormatError, UnsupportedModel.
    """
    if path.is_dir():
        return _open_folder(path)
    beginning = _first_bytes(path)
    if beginning[:4] == b"GGUF":
        return open_gguf(path)
    if path.name == INDEX_NAME or beginning[8:9] == b"{":
        return _open_safetensors(path)
    if not beginning:
        raise FileFormatError(f"{path} is empty; expected a GGUF or safetensors file, fetch it again")
    _refuse_pickle(path, beginning)
    if beginning[:4] in _OLD_MAGICS:
        raise UnsupportedModel(f"{path} is in a GGML format older than GGUF; convert it to GGUF")
    if beginning.startswith(b"version https://git-lfs"):
        raise FileFormatError(f"{path} is a Git LFS pointer, not the model; run `git lfs pull` where it came from")
    if path.suffix == ".safetensors":
        return _open_safetensors(path)
    raise FileFormatError(f"{path} begins with {beginning[:8]!r}; expected a GGUF or safetensors file")


def _open_safetensors(path: Path) -> Checkpoint:
    # A GGUF file, which most are, need not wait for its import.
    from wayra.weights.safetensors import open_safetensors

    return open_safetensors(path)


def model_spec(checkpoint: Checkpoint) -> ModelSpec:
    """What the checkpoint's metadata say the model is. Raises UnsupportedModel, FileFormatError."""
    if checkpoint.kind == "gguf":
        return spec_from_gguf(checkpoint.metadata, tensor_shapes=checkpoint.shapes)
    from wayra.model.spec_hf import spec_from_hf

    return spec_from_hf(checkpoint.metadata)


def load_weights(checkpoint: Checkpoint, spec: ModelSpec) -> ModelWeights:
    """Assign the checkpoint's tensors to the slots of the spec's family.

    Matrices stay in the mapped file; vectors are copied as float32.
    Raises FileFormatError on a missing tensor, ShapeError on one of another shape than the spec's, UnsupportedModel on
    one the family has no place for.
    """
    return _Loader(checkpoint, spec).load()


class _Loader:
    def __init__(self, checkpoint: Checkpoint, spec: ModelSpec) -> None:
        self.checkpoint = checkpoint
        self.spec = spec
        self.stored = checkpoint.tensors
        self.where = checkpoint.paths[0]
        architecture = checkpoint.metadata.get("general.architecture")
        self.is_interleaved = checkpoint.kind == "gguf" and architecture in INTERLEAVED_ARCHITECTURES

    def load(self) -> ModelWeights:
        matrices: dict[str, Weight] = {}
        vectors: dict[str, NDArray[np.float32]] = {}
        used: set[str] = set()
        for slot in slots(self.spec):
            if slot.name == "rope_inv_freq":
                vectors[slot.name] = self._rope_inv_freq(slot)
                continue
            names = tensor_names(self.checkpoint.kind, slot, self.stored)
            if slot.optional and not any(name in self.stored for name in names):
                continue
            used.update(names)
            tensors = [self._tensor(name, slot) for name in names]
            used.update(scale_name(tensor.name) for tensor in tensors if tensor.fmt == formats.I8)
            if slot.kind == "matrix":
                matrices[slot.name] = self._weight(slot, tensors)
            else:
                vectors[slot.name] = self._vector(slot, tensors)
        self._refuse_unexpected(used)
        return ModelWeights(MappingProxyType(matrices), MappingProxyType(vectors), self.checkpoint.digest)

    def _tensor(self, name: str, slot: Slot) -> RawTensor:
        if name not in self.stored:
            raise FileFormatError(
                f"{self.where} lacks the tensor {name!r} (for {slot.name}); the file is incomplete, fetch it again"
            )
        return self.stored[name]

    def _part_rows(self, slot: Slot) -> tuple[int, ...]:
        """Rows of each part of a slot."""
        if slot.parts == ("q", "k", "v"):
            return self.spec.q_size, self.spec.kv_size, self.spec.kv_size
        num_parts = len(slot.parts) or 1
        return (slot.shape[0] // num_parts,) * num_parts

    def _check_shape(self, tensor: RawTensor, expected: tuple[int, ...]) -> None:
        if tensor.shape != expected:
            raise ShapeError(
                f"{self.where}: tensor {tensor.name!r} has shape {list(tensor.shape)}, the model's metadata ask for "
                f"{list(expected)}; the file contradicts itself, fetch it again"
            )

    def _row_order(self, slot: Slot, part: int) -> NDArray[np.int32] | None:
        if not self.is_interleaved or slot.parts != ("q", "k", "v") or part == 2:
            return None
        num_heads = self.spec.num_heads if part == 0 else self.spec.num_kv_heads
        return half_split_row_order(num_heads, self.spec.head_dim, self.spec.rope.rotary_dim)

    def _weight(self, slot: Slot, tensors: list[RawTensor]) -> Weight:
        cols = slot.shape[1]
        parts: list[Matrix] = []
        for index, (tensor, rows) in enumerate(zip(tensors, self._part_rows(slot), strict=True)):
            self._check_shape(tensor, (rows, cols))
            scales = row_scale(tensor, self.stored, self.where) if tensor.fmt == formats.I8 else None
            parts.append(Matrix(tensor, rows, cols, self._row_order(slot, index), scales))
        return Weight(slot.name, tuple(parts))

    def _vector(self, slot: Slot, tensors: list[RawTensor]) -> NDArray[np.float32]:
        pieces: list[NDArray[np.float32]] = []
        for index, (tensor, rows) in enumerate(zip(tensors, self._part_rows(slot), strict=True)):
            self._check_shape(tensor, (rows,))
            if tensor.fmt == formats.I8:
                raise UnsupportedModel(f"{self.where}: the vector {tensor.name!r} is stored as int8; expected floats")
            values = dequantise(tensor.fmt, tensor.data, rows)
            order = self._row_order(slot, index)
            pieces.append(values if order is None else values[order])
        return np.concatenate(pieces)

    def _rope_inv_freq(self, slot: Slot) -> NDArray[np.float32]:
        inv_freq = rope_frequencies(self.spec.rope, self.spec.context_len)[0].astype(np.float32, copy=False)
        if self.checkpoint.kind != "gguf" or ROPE_FACTORS not in self.stored:
            return inv_freq
        tensor = self.stored[ROPE_FACTORS]
        self._check_shape(tensor, slot.shape)
        factors = dequantise(tensor.fmt, tensor.data, slot.shape[0])
        with np.errstate(all="ignore"):
            divided = inv_freq / factors
        if not (np.isfinite(factors).all() and (factors > 0).all() and np.isfinite(divided).all()):
            raise FileFormatError(
                f"{self.where}: {ROPE_FACTORS!r} holds factors that are not positive or far too small; fetch it again"
            )
        return divided

    def _refuse_unexpected(self, used: set[str]) -> None:
        unexpected = sorted(
            name
            for name in self.stored
            if name not in used
            and not is_ignorable(self.checkpoint.kind, name, tied_embeddings=self.spec.tied_embeddings)
        )
        if unexpected:
            more = f" and {len(unexpected) - 3} more" if len(unexpected) > 3 else ""
            raise UnsupportedModel(
                f"{self.where} holds tensors that a {self.spec.family} model of {self.spec.num_layers} layers has no "
                f"place for: {', '.join(map(repr, unexpected[:3]))}{more}; leaving them out would change its answers"
            )


def half_split_row_order(num_heads: int, head_dim: int, rotary_dim: int) -> NDArray[np.int32]:
    """Where each row of a half-split Q or K is stored when its rotated pairs are interleaved.

    Interleaved, rows 2p and 2p + 1 of a head turn together; half-split, rows p and p + rotary_dim / 2. Rows past
    rotary_dim do not turn and stay. Returns int32 [num_heads * head_dim].
    """
    within = np.arange(head_dim, dtype=np.int32)
    pairs = within[: rotary_dim // 2]
    within = np.concatenate((2 * pairs, 2 * pairs + 1, within[rotary_dim:]))
    heads = np.arange(num_heads, dtype=np.int32) * head_dim
    return (heads[:, None] + within[None, :]).reshape(-1).astype(np.int32)


def _first_bytes(path: Path) -> bytes:
    """Up to 32 bytes. Raises ModelNotFound."""
    if not path.exists():
        raise ModelNotFound(f"{path} does not exist; check the path")
    if not path.is_file():
        raise ModelNotFound(f"{path} is not a regular file; give the path of a model file or folder")
    try:
        with path.open("rb") as file:
            return file.read(32)
    except OSError as error:
        raise ModelNotFound(f"{path} cannot be read: {os.strerror(error.errno or 0)}; check its permissions") from None


def _refuse_pickle(path: Path, beginning: bytes) -> None:
    if path.suffix in _PICKLE_SUFFIXES or beginning[:4] == b"PK\x03\x04" or beginning[:1] == b"\x80":
        raise UnsupportedModel(
            f"{path} is a PyTorch pickle, which can run code when it is read, so it is not; convert it to safetensors"
        )


def _open_folder(folder: Path) -> Checkpoint:
    """A folder with safetensors, or with just one GGUF model."""
    if (folder / SINGLE_NAME).exists() or (folder / INDEX_NAME).exists():
        return _open_safetensors(folder)
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise ModelNotFound(f"{folder} cannot be read: {os.strerror(error.errno or 0)}") from None
    models = [name for name in names if name.endswith(".gguf") and ("-of-" not in name or "-00001-of-" in name)]
    if len(models) == 1:
        return open_checkpoint(folder / models[0])
    if models:
        raise ModelNotFound(f"{folder} holds several models: {', '.join(models[:5])}; give the path of one of them")
    pickles = [name for name in names if Path(name).suffix in _PICKLE_SUFFIXES]
    if pickles:
        _refuse_pickle(folder / pickles[0], b"")
    raise ModelNotFound(f"{folder} holds neither {SINGLE_NAME}, {INDEX_NAME} nor a .gguf file; give a model's folder")
