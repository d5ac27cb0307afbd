"""Every operation x backend x weight format against the NumPy definition.

A backend only runs whole Programs, so each operation is put to the test by tiny models in which it is the hard part:
odd sizes, every GQA ratio, windows, biases, batches of unequal sequences. `COVERED_BY` says which cases test which
operation, and a test checks that the table has no operation without cases.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from backend_batches import int32, prompt_logits, sampling
from backend_registry import BACKENDS, Load
from random_weights import random_weights
from tiny_llama import tiny_spec, tiny_weights

from wayra.backends.api import BackendOptions, Model, StepBatch, StepResult
from wayra.backends.numpy import NumpyBackend
from wayra.base.formats import ALL, BF16, F16, F32, Q4_0, Q8_0, WeightFormat
from wayra.model.ops import TABLE
from wayra.model.record import record
from wayra.model.spec import ModelSpec, RopeSpec

# Float32 weights differ by the order of additions only. With rounded activations a difference in the last bit can move
# one to the next value: an error of 1/127 of its group's largest with int8, of 2**-8 of itself with bfloat16, of 1/8191
# of its group's largest with words. The bound on the mean is looser.
NMSE_FLOAT = 1e-9
NMSE_ROUNDED = 1e-7
# Words are so fine that in a second layer most moves are those of the first: all that is left is their noise.
NMSE_ALL_WORDS_MOVED = 1e-7
NMSE_MOVED = 1e-2
NMSE_MOVED_ONCE = 1e-5
FormatOf = Callable[[str, str], WeightFormat]

BASE = ModelSpec(
    family="llama", name="conformance", num_layers=2, hidden_size=72, num_heads=3, num_kv_heads=1, head_dim=40,
    ffn_size=100, vocab_size=1003, context_len=256, norm_eps=1e-5, rope=RopeSpec(10000.0, 40), tied_embeddings=False,
)  # fmt: skip


def _heads(num_heads: int, num_kv_heads: int, head_dim: int) -> ModelSpec:
    rope = RopeSpec(10000.0, head_dim)
    return replace(BASE, num_heads=num_heads, num_kv_heads=num_kv_heads, head_dim=head_dim, rope=rope)


SHAPES: Mapping[str, ModelSpec] = {
    "odd": BASE,
    "gqa1_head64": _heads(2, 2, 64),
    "gqa3_head40": _heads(6, 2, 40),
    "gqa4_head80": _heads(4, 1, 80),
    "gqa7_head128": _heads(7, 1, 128),
    "tied": replace(BASE, tied_embeddings=True),
    "biases": replace(BASE, attention_bias=True, output_bias=True, mlp_bias=True),
    "window": replace(BASE, sliding_window=5),
    "window_over_blocks": replace(BASE, sliding_window=37),
    "window_in_one_layer": replace(BASE, sliding_window=6, sliding_layers=(1,)),
    "partial_rotary": replace(BASE, rope=RopeSpec(10000.0, 16)),
    "yarn": replace(BASE, rope=RopeSpec(10000.0, 40, "yarn", factor=4.0, original_context_len=32)),
    "large_eps": replace(BASE, norm_eps=0.5),
    "one_layer": replace(BASE, num_layers=1),
}
# Rows of whole 256-blocks everywhere, so that every format can fill every matrix.
BLOCKY = replace(BASE, hidden_size=256, num_heads=4, num_kv_heads=2, head_dim=64, ffn_size=512, rope=RopeSpec(1e4, 64))
ONE_BLOCKY_LAYER = replace(BLOCKY, num_layers=1)
# Rows of 32-blocks that are not 256-blocks.
SMALL_BLOCKS = replace(
    BASE, num_layers=1, hidden_size=96, num_heads=3, num_kv_heads=1, head_dim=32, ffn_size=160, rope=RopeSpec(1e4, 32)
)

COVERED_BY: Mapping[str, tuple[str, ...]] = {
    "embed": ("odd", "tied"),
    "add_rms_norm": ("odd", "large_eps"),
    "linear": ("odd", "biases"),
    "rope_store": ("gqa1_head64", "gqa4_head80", "partial_rotary", "yarn"),
    "attention": ("gqa1_head64", "gqa3_head40", "gqa4_head80", "gqa7_head128", "window", "window_over_blocks"),
    "swiglu": ("odd", "biases"),
    "take_rows": ("odd",),
    "logits": ("odd", "tied"),
}
OPTIONS = BackendOptions(max_step_tokens=128, max_step_seqs=80, kv_dtype="f32", threads=1, packed_cache=False)
# Threads that wait for work slow the reference beside them forty times on two cores, so few cases have two.
TWO_THREADS = replace(OPTIONS, threads=2)


@pytest.fixture(params=list(BACKENDS))
def load(request: pytest.FixtureRequest) -> Load:
    return BACKENDS[request.param]


def nmse(found: np.ndarray, wanted: np.ndarray) -> float:
    """Mean squared error as a share of the mean square."""
    assert np.isfinite(found).all()
    return float(np.square(found - wanted, dtype=np.float64).mean() / np.square(wanted, dtype=np.float64).mean())


def everywhere(fmt: WeightFormat) -> FormatOf:
    """One format throughout, except V in float16: real files mix formats within a slot."""
    return lambda slot, part: F16 if part == "v" else fmt


def only_in(wanted: str, fmt: WeightFormat) -> FormatOf:
    return lambda slot, part: fmt if slot == wanted else F32


def pair(load: Load, spec: ModelSpec, formats: FormatOf, options: BackendOptions = OPTIONS) -> tuple[Model, Model]:
    """The backend's model and the specification's, with the same weights."""
    program, weights = record(spec), random_weights(spec, formats)
    return load(program, weights, options), NumpyBackend("rounded").load(program, weights, options)


def tokens(spec: ModelSpec, count: int, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, spec.vocab_size, count).astype(np.int32)


def test_every_operation_of_the_table_has_cases() -> None:
    assert set(COVERED_BY) == set(TABLE)
    for op, names in COVERED_BY.items():
        for name in names:
            assert op in {call.op for call in record(SHAPES[name]).calls}


@pytest.mark.parametrize("shape", list(SHAPES))
def test_operations_agree_with_their_definitions(load: Load, shape: str) -> None:
    spec = SHAPES[shape]
    model, reference = pair(load, spec, everywhere(F32))
    prompt = tokens(spec, 75)
    assert nmse(prompt_logits(model, prompt, (64,)), prompt_logits(reference, prompt)) <= NMSE_FLOAT


@pytest.mark.parametrize("slot", ["embed", "qkv", "o", "gate_up", "down", "head"])
@pytest.mark.parametrize("fmt", ALL, ids=lambda fmt: fmt.name)
def test_weight_format_in_one_slot_agrees_with_the_definition(load: Load, fmt: WeightFormat, slot: str) -> None:
    # One layer: an activation moved in one would move others in the next.
    model, reference = pair(load, ONE_BLOCKY_LAYER, only_in(slot, fmt))
    prompt = tokens(ONE_BLOCKY_LAYER, 21)
    # Twenty rows at once, then a single one: kernels for prefill and decode may differ.
    found, wanted = prompt_logits(model, prompt, (20,)), prompt_logits(reference, prompt, (20,))
    assert nmse(found, wanted) <= (NMSE_FLOAT if fmt == F32 else NMSE_ROUNDED)


@pytest.mark.parametrize("fmt", [f for f in ALL if f.block_len <= 32], ids=lambda fmt: fmt.name)
def test_weight_format_agrees_on_rows_of_odd_length(load: Load, fmt: WeightFormat) -> None:
    for slot in ("qkv", "down", "head"):
        model, reference = pair(load, SMALL_BLOCKS, only_in(slot, fmt))
        prompt = tokens(SMALL_BLOCKS, 21)
        found, wanted = prompt_logits(model, prompt, (20,)), prompt_logits(reference, prompt, (20,))
        assert nmse(found, wanted) <= (NMSE_FLOAT if fmt == F32 else NMSE_ROUNDED), slot


@pytest.mark.parametrize("fmt", ALL, ids=lambda fmt: fmt.name)
def test_weight_format_in_all_slots_agrees_for_most_sequences(load: Load, fmt: WeightFormat) -> None:
    # Through several quantised layers one moved integer moves others, so a few sequences may differ visibly.
    model, reference = pair(load, BLOCKY, everywhere(fmt))
    batch = single_token_sequences(BLOCKY, 40)
    errors = row_errors(*(logits_of(loaded, batch) for loaded in (model, reference)))
    assert np.median(errors) <= (NMSE_ALL_WORDS_MOVED if fmt == F16 else NMSE_FLOAT)
    assert errors.max() <= NMSE_MOVED


@pytest.mark.parametrize("fmt", [F16, BF16, Q4_0], ids=lambda fmt: fmt.name)
def test_tied_embeddings_of_a_format_serve_both_ends(load: Load, fmt: WeightFormat) -> None:
    spec = replace(BLOCKY, tied_embeddings=True)
    model, reference = pair(load, spec, only_in("embed", fmt))
    prompt = tokens(spec, 9)
    errors = row_errors(prompt_logits(model, prompt), prompt_logits(reference, prompt))
    assert np.median(errors) <= NMSE_FLOAT
    # One integer moved in one row: all that may differ, since only the head multiplies integers.
    assert errors.max() <= NMSE_MOVED_ONCE


@pytest.mark.parametrize(
    ("kv_dtype", "bound"), [("f32", NMSE_FLOAT), ("f16", 1e-7), ("bf16", 1e-6), ("int8", 1e-5), ("int16", 1e-7)]
)
def test_cache_precision_agrees_with_the_definition(load: Load, kv_dtype: str, bound: float) -> None:
    # A last-bit difference before rounding may round to the neighbour: 2**-11 (f16) or 2**-8 (bf16) of a few values,
    # 1/127 (int8) or 1/4095 (int16) of the largest of a head.
    model, reference = pair(load, BASE, everywhere(F32), replace(OPTIONS, kv_dtype=kv_dtype))
    prompt = tokens(BASE, 75)
    assert nmse(prompt_logits(model, prompt, (40,)), prompt_logits(reference, prompt, (40,))) <= bound


@pytest.mark.parametrize("kv_dtype", ["int8", "int16"])
@pytest.mark.parametrize(
    "shape",
    [
        "odd", "gqa1_head64", "gqa3_head40", "gqa4_head80", "gqa7_head128", "head42", "head256",
        "window", "window_over_blocks", "partial_rotary",
    ],
)  # fmt: skip
def test_a_cache_of_integers_agrees_with_its_definition(load: Load, shape: str, kv_dtype: str) -> None:
    # Heads of every order of Hadamard matrix and with a last quad that is not whole, over more keys than one split has.
    shapes = {**SHAPES, "head42": _heads(2, 1, 42), "head256": _heads(3, 1, 256)}
    spec = replace(shapes[shape], num_layers=1, context_len=512)
    model, reference = pair(load, spec, everywhere(F32), replace(OPTIONS, kv_dtype=kv_dtype))
    prompt = tokens(spec, 302)
    chunks = (128, 256, 300, 301)
    errors = row_errors(prompt_logits(model, prompt, chunks), prompt_logits(reference, prompt, chunks))
    # An integer moved in a query or in a key is one step in some scores of a few rows.
    assert np.median(errors) <= 1e-7
    assert errors.max() <= (1e-4 if kv_dtype == "int8" else 1e-6)


@pytest.mark.parametrize("head_dim", [40, 256, 1024])
@pytest.mark.parametrize("sums", ["scores", "values"])
@pytest.mark.parametrize("kv_dtype", ["int8", "int16"])
def test_sums_of_the_largest_integers_have_room(load: Load, kv_dtype: str, sums: str, head_dim: int) -> None:
    # Queries and keys are one number throughout, which is the largest integer. So are values where their sums are put
    # to the test, and one token again and again, whose keys weigh alike.
    spec = replace(tiny_spec(), num_heads=3, num_kv_heads=1, head_dim=head_dim, rope=RopeSpec(1e4, 2), num_layers=1)
    weights = tiny_weights(spec)
    name, weight = next((name, weight) for name, weight in weights.matrices.items() if name.endswith("qkv"))
    (part,) = weight.parts
    rows = part.tensor.data.view("<f4").reshape(part.rows, part.cols).copy()
    rows[: 3 * head_dim] = 1e-3
    rows[3 * head_dim : 5 * head_dim if sums == "values" else 4 * head_dim] = 1
    constant = replace(part, tensor=replace(part.tensor, data=rows.view(np.uint8).reshape(-1)))
    weights = replace(weights, matrices={**weights.matrices, name: replace(weight, parts=(constant,))})
    prompt = np.full(70, 7, np.int32) if sums == "values" else tokens(spec, 70)
    found, wanted = (
        prompt_logits(of(record(spec), weights, replace(OPTIONS, kv_dtype=kv_dtype)), prompt)
        for of in (load, NumpyBackend("rounded").load)
    )
    assert nmse(found, wanted) <= 1e-6


def test_sums_of_the_largest_words_have_room(load: Load) -> None:
    # Activations and weights are one number throughout: the words of both are as large as a group's sum allows.
    spec = replace(tiny_spec(), num_layers=1)
    weights = tiny_weights(spec, F16)
    ones = {name: weight for name, weight in weights.matrices.items() if name == "embed" or name.endswith("qkv")}
    assert len(ones) == 2
    for name, weight in ones.items():
        (part,) = weight.parts
        data = np.ones((part.rows, part.cols), "<f2").view(np.uint8).reshape(-1)
        ones[name] = replace(weight, parts=(replace(part, tensor=replace(part.tensor, data=data)),))
    vectors = {name: np.ones_like(v) if "norm" in name else v for name, v in weights.vectors.items()}
    weights = replace(weights, matrices={**weights.matrices, **ones}, vectors=vectors)
    prompt = tokens(spec, 9)
    found, wanted = (
        prompt_logits(of(record(spec), weights, OPTIONS), prompt) for of in (load, NumpyBackend("rounded").load)
    )
    assert nmse(found, wanted) <= NMSE_ROUNDED


def single_token_sequences(spec: ModelSpec, count: int) -> StepBatch:
    """Sequences of one token each, so that an error in one cannot reach another."""
    return StepBatch(
        token_ids=tokens(spec, count),
        positions=np.zeros(count, np.int32),
        query_starts=np.arange(count + 1, dtype=np.int32),
        kv_lens=np.ones(count, np.int32),
        block_tables=np.arange(count, dtype=np.int32)[:, None],
        logit_rows=np.arange(count, dtype=np.int32),
        return_logits=True,
    )


def logits_of(model: Model, batch: StepBatch) -> np.ndarray:
    model.allocate_kv(int(batch.block_tables.max()) + 1)
    logits = model.step(batch).logits
    assert logits is not None
    return np.array(logits)


def row_errors(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    return np.array([nmse(mine, theirs) for mine, theirs in zip(found, wanted, strict=True)])


def ragged_batch(spec: ModelSpec) -> StepBatch:
    """Three sequences at their start: 1, 33 and 7 tokens, logits of five rows, in no order."""
    return StepBatch(
        token_ids=tokens(spec, 41),
        positions=np.concatenate([np.arange(n, dtype=np.int32) for n in (1, 33, 7)]),
        query_starts=int32(0, 1, 34, 41),
        kv_lens=int32(1, 33, 7),
        block_tables=int32(4, -1, 2, 0, 5, -1).reshape(3, 2),
        logit_rows=int32(40, 0, 33, 12, 0),
        targets=int32(7, 0, 1002, 500, 3),
        sampling=sampling(5, num_logprobs=4),
        return_logits=True,
    )


@pytest.mark.parametrize("fmt", [F32, Q8_0], ids=lambda fmt: fmt.name)
def test_ragged_batch_agrees_with_the_definition(load: Load, fmt: WeightFormat) -> None:
    model, reference = pair(load, SMALL_BLOCKS, only_in("head", fmt), TWO_THREADS)
    batch = ragged_batch(SMALL_BLOCKS)
    results: list[StepResult] = []
    for loaded in (model, reference):
        loaded.allocate_kv(6)
        results.append(loaded.step(batch))
    found, wanted = results
    assert found.logits is not None
    assert wanted.logits is not None
    assert nmse(found.logits, wanted.logits) <= NMSE_ROUNDED
    np.testing.assert_array_equal(found.token_ids, wanted.logits.argmax(axis=1))
    np.testing.assert_array_equal(found.top_ids[:, 0], found.token_ids)
    for name in ("logprobs", "top_logprobs", "target_logprobs"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), atol=3e-3)


SAMPLERS: Mapping[str, Mapping[str, object]] = {
    "greedy": {},
    "temperature": {"temperature": 0.8},
    "hot": {"temperature": 5.0},
    "top_k": {"temperature": 1.0, "top_k": 7},
    "top_p": {"temperature": 1.3, "top_p": 0.7},
    "min_p": {"temperature": 1.5, "min_p": 0.05},
    "all": {"temperature": 1.1, "top_k": 40, "top_p": 0.9, "min_p": 0.01},
    "mask": {"temperature": 2.0, "allowed": np.full((64, 32), 0x10001, np.uint32)},
    "penalties": {
        "temperature": 0.9,
        "repetition_penalty": 1.3,
        "presence_penalty": 0.4,
        "frequency_penalty": 0.2,
        "history_starts": np.arange(65, dtype=np.int32),
        "history_ids": (np.arange(64, dtype=np.int32) * 31) % 1003,
        "history_counts": np.arange(64, dtype=np.int32) % 3,
    },
    "bias": {
        "temperature": 0.5,
        "bias_starts": np.arange(65, dtype=np.int32),
        "bias_ids": (np.arange(64, dtype=np.int32) * 17) % 1003,
        "bias_values": np.full(64, 4.5, np.float32),
    },
}


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_sampling_agrees_with_the_definition(load: Load, name: str) -> None:
    model, reference = pair(load, BASE, everywhere(F32))
    ids, changes = tokens(BASE, 64), dict(SAMPLERS[name])
    seeds, draws = np.arange(64, dtype=np.uint64) * np.uint64(0x123456789ABCDEF), np.arange(64, dtype=np.uint64)
    batch = StepBatch(
        token_ids=ids,
        positions=np.arange(64, dtype=np.int32),
        query_starts=int32(0, 64),
        kv_lens=int32(64),
        block_tables=int32(1, 2)[None],
        logit_rows=np.arange(64, dtype=np.int32),
        sampling=sampling(64, seeds=seeds, draws=draws, num_logprobs=3, **changes),
    )
    chosen = []
    for loaded in (model, reference):
        loaded.allocate_kv(3)
        chosen.append(loaded.step(batch).token_ids)
    # One row in 64 may sit on the border between two tokens, where the last bit of a logit decides.
    assert int((chosen[0] != chosen[1]).sum()) <= 1
