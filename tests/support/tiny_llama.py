"""A random Llama small enough to step thousands of times: two layers, odd sizes, grouped heads."""

import numpy as np

from wayra.base.formats import F32
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


def tiny_weights(spec: ModelSpec, seed: int = 0) -> ModelWeights:
    """Random F32 weights, large enough that different contexts give clearly different logits."""
    rng = np.random.default_rng(seed)
    matrices: dict[str, Weight] = {}
    vectors: dict[str, np.ndarray] = {}
    for slot in families.slots(spec):
        if slot.kind == "matrix":
            matrices[slot.name] = _matrix(slot.name, slot.shape, rng)
        elif slot.name == "rope_inv_freq":
            vectors[slot.name] = rope_frequencies(spec.rope, spec.context_len)[0]
        elif slot.name.endswith("_bias"):
            vectors[slot.name] = rng.normal(0, 0.1, slot.shape).astype(np.float32)
        else:
            vectors[slot.name] = rng.uniform(0.5, 1.5, slot.shape).astype(np.float32)
    return ModelWeights(matrices, vectors, digest=f"{seed:064x}")


def _matrix(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Weight:
    rows, cols = shape
    values = rng.normal(0, 2.0 / np.sqrt(cols), shape).astype("<f4")
    tensor = RawTensor(name, (rows, cols), F32, np.frombuffer(values.tobytes(), dtype=np.uint8))
    return Weight(name, (Matrix(tensor, rows, cols),))
