"""Random weights of any spec in any storage format, for tests that compare backends."""

from collections.abc import Callable

import gguf
import numpy as np

from wayra.base.formats import F16, F32, WeightFormat
from wayra.model import families
from wayra.model.rope import rope_frequencies
from wayra.model.spec import ModelSpec
from wayra.weights.formats import dequantise
from wayra.weights.tensors import Matrix, ModelWeights, RawTensor, Weight

# Byte offsets of the float16 scales in a block, of formats the gguf package cannot quantise to.
_SCALE_OFFSETS = {"Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}


def stored_bytes(fmt: WeightFormat, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """uint8, row-major: values of standard deviation about 1.5 / sqrt(cols)."""
    target = 1.5 / np.sqrt(shape[1])
    if fmt.name not in _SCALE_OFFSETS:
        values = rng.normal(0, target, shape).astype(np.float32)
        if fmt in (F32, F16):
            return values.astype("<f4" if fmt == F32 else "<f2").view(np.uint8).reshape(-1)
        kind = gguf.GGMLQuantizationType[fmt.name]
        return np.ascontiguousarray(gguf.quants.quantize(values, kind)).view(np.uint8).reshape(-1)
    num_blocks = shape[0] * shape[1] // fmt.block_len
    blocks = rng.integers(0, 256, (num_blocks, fmt.block_bytes), dtype=np.uint8)
    spread = rng.uniform(0.5, 1.5, num_blocks)
    for scale in (1.0, None):
        if scale is None:
            scale = target / dequantise(fmt, blocks.reshape(-1), shape[0] * shape[1]).std()
        for offset in _SCALE_OFFSETS[fmt.name]:
            blocks[:, offset : offset + 2] = (spread * scale).astype("<f2")[:, None].view(np.uint8)
    return blocks.reshape(-1)


def _matrix(name: str, fmt: WeightFormat, shape: tuple[int, int], rng: np.random.Generator) -> Matrix:
    return Matrix(RawTensor(name, shape, fmt, stored_bytes(fmt, shape, rng)), *shape)


def _part_rows(spec: ModelSpec, parts: tuple[str, ...], rows: int) -> list[int]:
    if parts == ("q", "k", "v"):
        return [spec.q_size, spec.kv_size, spec.kv_size]
    return [rows // max(len(parts), 1)] * max(len(parts), 1)


def random_weights(spec: ModelSpec, format_of: Callable[[str, str], WeightFormat], seed: int = 0) -> ModelWeights:
    """format_of: the format of a slot (named without its layer) and a part of it ("" where it has none)."""
    rng = np.random.default_rng(seed)
    matrices: dict[str, Weight] = {}
    vectors: dict[str, np.ndarray] = {}
    for slot in families.slots(spec):
        if slot.name == "rope_inv_freq":
            vectors[slot.name] = rope_frequencies(spec.rope, spec.context_len)[0]
        elif slot.kind == "vector":
            centre, width = (0, 0.3) if slot.name.endswith("bias") else (1, 0.2)
            vectors[slot.name] = rng.normal(centre, width, slot.shape).astype(np.float32)
        else:
            rows, cols = slot.shape
            kind, parts = slot.name.rpartition(".")[2], slot.parts or ("",)
            matrices[slot.name] = Weight(
                slot.name,
                tuple(
                    _matrix(slot.name + part, format_of(kind, part), (count, cols), rng)
                    for part, count in zip(parts, _part_rows(spec, slot.parts, rows), strict=True)
                ),
            )
    return ModelWeights(matrices, vectors, digest=f"{rng.integers(1 << 62):064x}")
