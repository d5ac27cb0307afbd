"""Packed weights say what the file said: embedding rows against the reference reading, products against the definition.

A model with no layers' worth of noise in between: what feeds back into the residual stream is zero, so that the logits
are the head times the normed embedding row, and either end can be looked at alone.
"""

from dataclasses import replace

import numpy as np
import pytest
from backend_batches import int32
from backend_registry import BACKENDS, Load
from random_weights import stored_bytes

from wayra.backends.api import BackendOptions, Model, StepBatch
from wayra.backends.numpy import NumpyBackend
from wayra.backends.numpy.rounding import round_to_words
from wayra.base.formats import ALL, F16, F32, WeightFormat
from wayra.model import families
from wayra.model.record import record
from wayra.model.rope import rope_frequencies
from wayra.model.spec import ModelSpec, RopeSpec
from wayra.weights.formats import dequantise
from wayra.weights.tensors import Matrix, ModelWeights, RawTensor, Weight

FLOATS = frozenset({"F32", "F16", "BF16"})
BOUNDS = {"F32": 1e-11, "BF16": 1e-11, "F16": 1e-9}
OPTIONS = BackendOptions(max_step_tokens=64, max_step_seqs=64, kv_dtype="f32", threads=1, packed_cache=False)
ROWS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 15, 16, 17)


@pytest.fixture(params=list(BACKENDS))
def load(request: pytest.FixtureRequest) -> Load:
    return BACKENDS[request.param]


def spec_of(hidden: int, vocab: int) -> ModelSpec:
    return ModelSpec(
        family="llama", name="ends", num_layers=1, hidden_size=hidden, num_heads=1, num_kv_heads=1, head_dim=8,
        ffn_size=8, vocab_size=vocab, context_len=64, norm_eps=1e-5, rope=RopeSpec(1e4, 8), tied_embeddings=False,
    )  # fmt: skip


def matrix(slot: str, fmt: WeightFormat, shape: tuple[int, ...], stored: np.ndarray) -> Weight:
    rows, cols = shape
    return Weight(slot, (Matrix(RawTensor(slot, (rows, cols), fmt, stored), rows, cols),))


def weights_of(spec: ModelSpec, ends: dict[str, tuple[WeightFormat, np.ndarray]]) -> ModelWeights:
    """`ends` gives "embed" and "head"; norms are one and every other matrix zero."""
    matrices: dict[str, Weight] = {}
    vectors: dict[str, np.ndarray] = {}
    for slot in families.slots(spec):
        if slot.name == "rope_inv_freq":
            vectors[slot.name] = rope_frequencies(spec.rope, spec.context_len)[0]
        elif slot.kind == "vector":
            vectors[slot.name] = np.ones(slot.shape, np.float32)
        else:
            zeros = np.zeros(4 * slot.shape[0] * slot.shape[1], np.uint8)
            fmt, stored = ends.get(slot.name, (F32, zeros))
            matrices[slot.name] = matrix(slot.name, fmt, slot.shape, stored)
    return ModelWeights(matrices, vectors, digest="0" * 64)


def as_bytes(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, "<f4").view(np.uint8).reshape(-1)


def run(model: Model, token_ids: np.ndarray) -> np.ndarray:
    """Logits of single-token sequences, one a token."""
    count = len(token_ids)
    model.allocate_kv(count)
    batch = StepBatch(
        token_ids.astype(np.int32), np.zeros(count, np.int32), np.arange(count + 1, dtype=np.int32),
        np.ones(count, np.int32), np.arange(count, dtype=np.int32)[:, None], np.arange(count, dtype=np.int32),
        return_logits=True,
    )  # fmt: skip
    logits = model.step(batch).logits
    assert logits is not None
    return np.array(logits)


def as_packed(fmt: WeightFormat, rows: np.ndarray) -> np.ndarray:
    """float16 weights are packed as words of 14 bits, all others keep every bit."""
    return round_to_words(rows) if fmt == F16 else rows


def normed(rows: np.ndarray) -> np.ndarray:
    squares = np.square(rows, dtype=np.float64).mean(axis=1, keepdims=True)
    return rows / np.sqrt(squares + 1e-5)


@pytest.mark.parametrize("fmt", ALL, ids=lambda fmt: fmt.name)
def test_embedding_rows_are_those_of_the_reference_reading(load: Load, fmt: WeightFormat) -> None:
    # The head is the identity: logit i is the normed element i, up to the rounding of the norm.
    hidden = 256 if fmt.block_len == 256 else 96
    spec = spec_of(hidden, 96 if hidden == 96 else 256)
    stored = stored_bytes(fmt, (spec.vocab_size, hidden), np.random.default_rng(1))
    rows = as_packed(fmt, dequantise(fmt, stored, spec.vocab_size * hidden).reshape(-1, hidden))
    identity = as_bytes(np.eye(spec.vocab_size, hidden))
    model = load(record(spec), weights_of(spec, {"embed": (fmt, stored), "head": (F32, identity)}), OPTIONS)
    for first in range(0, spec.vocab_size, 32):
        ids = np.arange(first, first + 32)
        np.testing.assert_allclose(run(model, ids), normed(rows[ids]), rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("fmt", ALL, ids=lambda fmt: fmt.name)
def test_every_code_and_scale_of_a_block_is_read_as_the_reference_reads_it(load: Load, fmt: WeightFormat) -> None:
    # Blocks of random bytes: signs, subnormal scales, all codes. Infinities and not-a-numbers are left out.
    cols, vocab = max(fmt.block_len, 32), 160
    rng = np.random.default_rng(2)
    blocks = rng.integers(0, 256, (vocab * cols // fmt.block_len, fmt.block_bytes), dtype=np.uint8)
    stored = blocks.reshape(-1)
    rows = as_packed(fmt, dequantise(fmt, stored, vocab * cols).reshape(-1, cols))
    usable = np.flatnonzero(np.isfinite(rows).all(axis=1) & (np.abs(rows).max(axis=1) < 1e8))
    assert fmt.name in FLOATS or len(usable) > vocab // 8
    spec = spec_of(cols, max(vocab, cols))
    stored = np.concatenate([stored, np.zeros((spec.vocab_size - vocab) * len(stored) // vocab, np.uint8)])
    identity = as_bytes(np.eye(spec.vocab_size, cols))
    model = load(record(spec), weights_of(spec, {"embed": (fmt, stored), "head": (F32, identity)}), OPTIONS)
    for first in range(0, len(usable), 32):
        ids = usable[first : first + 32]
        np.testing.assert_allclose(run(model, ids)[:, :cols], normed(rows[ids]), rtol=4e-6, atol=1e-6)


def cases(fmt: WeightFormat) -> list[tuple[int, int]]:
    """(columns, rows) of a matrix: one block, some, an odd number of panels, one row too many for a panel."""
    if fmt.block_len == 256:
        return [(256, 1), (256, 17), (768, 33), (1280, 47)]
    if fmt.block_len == 32:
        return [(32, 1), (32, 16), (96, 31), (224, 65), (544, 17)]
    return [(1, 1), (7, 3), (33, 16), (100, 31), (257, 65)]


@pytest.mark.parametrize("fmt", ALL, ids=lambda fmt: fmt.name)
def test_products_of_any_size_agree_with_the_definition(load: Load, fmt: WeightFormat) -> None:
    for cols, vocab in cases(fmt):
        spec = spec_of(cols, vocab)
        rng = np.random.default_rng(cols + vocab)
        embed = as_bytes(rng.normal(0, 1, (vocab, cols)))
        head = stored_bytes(fmt, (vocab, cols), rng)
        weights = weights_of(spec, {"embed": (F32, embed), "head": (fmt, head)})
        model = load(record(spec), weights, OPTIONS)
        reference = NumpyBackend("rounded").load(record(spec), weights, OPTIONS)
        for rows in ROWS:
            ids = rng.integers(0, vocab, rows)
            found, wanted = run(model, ids), run(reference, ids)
            error = np.square(found - wanted, dtype=np.float64).sum() / np.square(wanted, dtype=np.float64).sum()
            # A last bit of the norm may move an activation to the next integer: of int8 a few in 10,000.
            assert error <= BOUNDS.get(fmt.name, 1e-7), (cols, vocab, rows)


@pytest.mark.parametrize("fmt", ALL, ids=lambda fmt: fmt.name)
def test_a_row_order_is_followed(load: Load, fmt: WeightFormat) -> None:
    cols, vocab = max(fmt.block_len, 32), 45
    spec = spec_of(cols, vocab)
    rng = np.random.default_rng(9)
    embed, head = as_bytes(rng.normal(0, 1, (vocab, cols))), stored_bytes(fmt, (vocab, cols), rng)
    plain = weights_of(spec, {"embed": (F32, embed), "head": (fmt, head)})
    order = rng.permutation(vocab).astype(np.int32)
    part = replace(plain.matrices["head"].parts[0], row_order=order)
    turned = replace(plain, matrices={**plain.matrices, "head": Weight("head", (part,))})
    ids = np.arange(vocab)
    straight = run(load(record(spec), plain, OPTIONS), ids)
    np.testing.assert_array_equal(run(load(record(spec), turned, OPTIONS), ids), straight[:, order])


@pytest.mark.parametrize("fmt", [f for f in ALL if f.is_quantised], ids=lambda fmt: fmt.name)
def test_activations_too_small_for_an_integer_scale_count_as_zero(load: Load, fmt: WeightFormat) -> None:
    # The first group is tiny, the second is not: only the second may be seen in the logits.
    cols = max(2 * 32, fmt.block_len)
    spec = spec_of(cols, 16)
    rng = np.random.default_rng(10)
    head = stored_bytes(fmt, (16, cols), rng)
    embed = rng.normal(0, 1, (16, cols)).astype(np.float32)
    results = []
    for smallness in (0.0, 1e-38):
        embed[:, :32] = np.float32(smallness)
        weights = weights_of(spec, {"embed": (F32, as_bytes(embed)), "head": (fmt, head)})
        results.append(run(load(record(spec), weights, OPTIONS), int32(*range(16))))
    np.testing.assert_array_equal(*results)
    reference = NumpyBackend("rounded").load(record(spec), weights, OPTIONS)
    np.testing.assert_allclose(results[0], run(reference, int32(*range(16))), atol=2e-3)
