"""A random Llama small enough to step thousands of times: two layers, odd sizes, grouped heads."""

from dataclasses import replace

import numpy as np

from wayra.base.formats import (
    BF16,
    F16,
    F32,
    Q2_K,
    Q3_K,
    Q4_0,
    Q4_1,
    Q4_K,
    Q5_0,
    Q5_1,
    Q5_K,
    Q6_K,
    Q8_0,
    WeightFormat,
)  # fmt: skip
from wayra.model import families
from wayra.model.rope import rope_frequencies
from wayra.model.spec import ModelSpec, RopeSpec
from wayra.weights.tensors import Matrix, ModelWeights, RawTensor, Weight


def tiny_spec(vocab_size: int = 251, context_len: int = 512) -> ModelSpec:
    """Sizes that are multiples of nothing convenient; three query heads a KV head."""
    rope = RopeSpec(theta=10000.0, rotary_dim=16)
    return ModelSpec(
        family="llama", name="tiny", num_layers=2, hidden_size=40, num_heads=6, num_kv_heads=2, head_dim=16,
        ffn_size=72, vocab_size=vocab_size, context_len=context_len, norm_eps=1e-5, rope=rope, tied_embeddings=False,
    )  # fmt: skip


# Where a block keeps its half-precision scales, and how large they are for weights of unit size.
SCALES_OF = {
    Q8_0.name: {0: 0.015},
    Q4_0.name: {0: 0.22},
    Q4_1.name: {0: 0.22, 2: -1.65},
    Q5_0.name: {0: 0.11},
    Q5_1.name: {0: 0.11, 2: -1.65},
    Q2_K.name: {80: 0.07, 82: 0.105},
    Q3_K.name: {108: 0.016},
    Q4_K.name: {0: 0.0045, 2: 0.034},
    Q5_K.name: {0: 0.0022, 2: 0.034},
    Q6_K.name: {208: 4e-4},
}


def blocky_spec(vocab_size: int = 251, context_len: int = 512) -> ModelSpec:
    """The same with rows of whole 256-weight blocks, for the quantised formats."""
    return replace(tiny_spec(vocab_size, context_len), hidden_size=256, num_heads=16, num_kv_heads=4, ffn_size=256)


def tiny_weights(spec: ModelSpec, fmt: WeightFormat = F32, seed: int = 0) -> ModelWeights:
    """Random weights, large enough that different contexts give clearly different logits."""
    rng = np.random.default_rng(seed)
    matrices: dict[str, Weight] = {}
    vectors: dict[str, np.ndarray] = {}
    for slot in families.slots(spec):
        if slot.kind == "matrix":
            matrices[slot.name] = _matrix(slot.name, slot.shape, fmt, rng)
        elif slot.name == "rope_inv_freq":
            vectors[slot.name] = rope_frequencies(spec.rope, spec.context_len)[0]
        elif slot.name.endswith("_bias"):
            vectors[slot.name] = rng.normal(0, 0.1, slot.shape).astype(np.float32)
        else:
            vectors[slot.name] = rng.uniform(0.5, 1.5, slot.shape).astype(np.float32)
    return ModelWeights(matrices, vectors, digest=f"{seed:064x}")


def _matrix(name: str, shape: tuple[int, ...], fmt: WeightFormat, rng: np.random.Generator) -> Weight:
    rows, cols = shape
    spread = 2.0 / np.sqrt(cols)
    if fmt.block_len == 1:
        floats = rng.normal(0, spread, shape).astype("<f4")
        stored = {F32: floats, F16: floats.astype("<f2"), BF16: (floats.view("<u4") >> 16).astype("<u2")}[fmt]
        data = np.frombuffer(stored.tobytes(), dtype=np.uint8)
    else:
        blocks = rng.integers(0, 256, (rows * cols // fmt.block_len, fmt.block_bytes), dtype=np.uint8)
        for offset, scale in SCALES_OF[fmt.name].items():
            scales = (spread * scale * rng.uniform(0.5, 1.5, len(blocks))).astype("<f2")
            blocks[:, offset : offset + 2] = scales[:, None].view(np.uint8)
        data = blocks.reshape(-1)
    tensor = RawTensor(name, (rows, cols), fmt, data)
    return Weight(name, (Matrix(tensor, rows, cols),))
