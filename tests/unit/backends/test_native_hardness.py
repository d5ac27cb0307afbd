"""What the native backend must survive: garbage for a batch, weights that are no numbers, memory others have used."""

from dataclasses import fields, replace

import numpy as np
import pytest
from backend_batches import chunk_batch, int32, prompt_logits, sampling
from backend_registry import BACKENDS, Load
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tiny_llama import blocky_spec, tiny_spec, tiny_weights

from wayra.backends.api import BackendOptions, Model, SamplingBatch, StepBatch
from wayra.base.errors import BackendError, OutOfMemory, WayraError
from wayra.base.formats import ALL, F32, Q4_1, Q4_K, Q6_K, Q8_0, WeightFormat
from wayra.engine.engine import Engine
from wayra.engine.request import Request, SamplingParams
from wayra.engine.settings import EngineSettings
from wayra.model.record import record
from wayra.weights.tensors import Matrix, ModelWeights, Weight

OPTIONS = BackendOptions(max_step_tokens=64, max_step_seqs=8, threads=1, packed_cache=False)
KV_TYPES = ("f32", "f16", "bf16", "int8", "int16")
VOCAB_SIZE = 50
NUM_BLOCKS = 5


@pytest.fixture(params=list(BACKENDS))
def load(request: pytest.FixtureRequest) -> Load:
    return BACKENDS[request.param]


@pytest.fixture(scope="module")
def small_model() -> Model:
    """On the best instruction set there is, with two threads."""
    spec = tiny_spec(VOCAB_SIZE)
    best = next(isa for isa in ("avx512_bf16", "avx512", "avx2", "portable") if _runs(isa))
    model = BACKENDS[f"native-{best}"](record(spec), tiny_weights(spec), replace(OPTIONS, threads=2))
    model.allocate_kv(NUM_BLOCKS)
    return model


def _runs(isa: str) -> bool:
    module = pytest.importorskip("wayra.backends.native._native", reason="the native backend is not built here")
    return isa in module.cpu_info()["isas"]


def tokens(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(1, VOCAB_SIZE, count).astype(np.int32)


def good_batch() -> StepBatch:
    return StepBatch(
        token_ids=int32(1, 2, 3, 49), positions=int32(32, 33, 34, 7), query_starts=int32(0, 3, 4), kv_lens=int32(35, 8),
        block_tables=int32(4, 0, 2, -1).reshape(2, 2), logit_rows=int32(3, 2), targets=int32(0, 49),
        sampling=sampling(2, temperature=1.0), return_logits=True,
    )  # fmt: skip


# Mostly int32 of likely lengths and values, so that something gets past the first check; now and then anything at all.
NUMBERS = st.one_of(st.integers(-2, 66), st.sampled_from([2**31 - 1, -(2**31), 2**30]))
ARRAYS = st.one_of(
    hnp.arrays(np.int32, st.integers(0, 8), elements=NUMBERS),
    hnp.arrays(np.int32, st.tuples(st.integers(0, 3), st.integers(0, 3)), elements=NUMBERS),
    hnp.arrays(
        st.sampled_from(
            [np.dtype(np.float32), np.dtype(np.uint64), np.dtype(np.uint32), np.dtype(">i4"), np.dtype(object)]
        ),
        st.integers(0, 4),
        elements=st.integers(0, 3),
    ),
    st.sampled_from([None, 3, "x", [1, 2], (), float("nan"), 2.5, np.int32(1)]),
)
BATCH_ARRAYS = [f.name for f in fields(StepBatch) if f.name not in ("sampling", "return_logits")]
SAMPLING_FIELDS = [f.name for f in fields(SamplingBatch)]


def step_or_refuse(model: Model, batch: StepBatch) -> None:
    """The step runs and gives token ids, or one of our errors says why not; nothing else may come out."""
    try:
        result = model.step(batch)
    except (WayraError, ValueError):
        return
    assert ((result.token_ids >= 0) & (result.token_ids < VOCAB_SIZE)).all()


@given(changes=st.dictionaries(st.sampled_from(BATCH_ARRAYS), ARRAYS, min_size=1, max_size=3))
def test_a_batch_with_garbage_in_it_runs_or_is_refused(small_model: Model, changes: dict[str, object]) -> None:
    step_or_refuse(small_model, replace(good_batch(), **changes))


@given(changes=st.dictionaries(st.sampled_from(SAMPLING_FIELDS), ARRAYS, min_size=1, max_size=3))
def test_sampling_with_garbage_in_it_runs_or_is_refused(small_model: Model, changes: dict[str, object]) -> None:
    batch = good_batch()
    assert batch.sampling is not None
    step_or_refuse(small_model, replace(batch, sampling=replace(batch.sampling, **changes)))


ODDITIES = (None, 3, -1, "x", [1, 2], (), float("nan"), 2.5, np.float64(1), np.zeros((), np.int32), object(), b"12")


@pytest.mark.parametrize("name", BATCH_ARRAYS + SAMPLING_FIELDS)
def test_anything_at_all_in_any_field_runs_or_is_refused(small_model: Model, name: str) -> None:
    batch = good_batch()
    assert batch.sampling is not None
    for oddity in ODDITIES:
        if name in SAMPLING_FIELDS:
            step_or_refuse(small_model, replace(batch, sampling=replace(batch.sampling, **{name: oddity})))
        else:
            step_or_refuse(small_model, replace(batch, **{name: oddity}))


@given(data=st.data())
def test_a_batch_of_nothing_but_garbage_runs_or_is_refused(small_model: Model, data: st.DataObject) -> None:
    changes = {name: data.draw(ARRAYS, name) for name in BATCH_ARRAYS}
    step_or_refuse(small_model, replace(good_batch(), **changes))


def test_query_starts_whose_differences_overflow_are_refused(small_model: Model) -> None:
    # Three differences that wrap to 2**31 - 1, 2**31 - 1 and 6: each is at least 1, and they end at 4.
    starts = np.array([0, 2**31 - 1, -2, 4], np.int32)
    batch = StepBatch(
        int32(1, 2, 3, 4), int32(0, 1, 2, 3), starts, np.full(3, 2**31 - 1, np.int32), int32(0, 1, 2)[:, None], int32()
    )
    with pytest.raises(WayraError):
        small_model.step(batch)


@pytest.mark.parametrize("num_blocks", [-1, -(1 << 62), 1 << 50, 1 << 58, 1 << 62, (1 << 63) - 1, 1 << 63, 1 << 200])
def test_a_cache_of_an_impossible_size_is_refused_and_the_model_still_runs(load: Load, num_blocks: int) -> None:
    spec = tiny_spec(VOCAB_SIZE)
    model = load(record(spec), tiny_weights(spec), OPTIONS)
    with pytest.raises(WayraError):
        model.allocate_kv(num_blocks)
    with pytest.raises(WayraError):
        model.step(good_batch())
    model.allocate_kv(NUM_BLOCKS)
    assert np.isfinite(model.step(good_batch()).logits).all()


def test_the_refusal_of_a_large_cache_says_how_large_it_would_be(load: Load) -> None:
    spec = tiny_spec(VOCAB_SIZE)
    with pytest.raises(OutOfMemory, match="KV blocks need"):
        load(record(spec), tiny_weights(spec), OPTIONS).allocate_kv(1 << 50)


@pytest.mark.parametrize("fmt", [F32, Q4_1, Q8_0, Q4_K, Q6_K], ids=lambda fmt: fmt.name)
def test_weights_of_random_bytes_never_crash_and_a_request_on_them_ends(load: Load, fmt: WeightFormat) -> None:
    spec = blocky_spec(VOCAB_SIZE)
    weights = tiny_weights(spec, fmt)
    rng = np.random.default_rng(11)
    garbage = {slot: Weight(slot, tuple(_scrambled(p, rng) for p in w.parts)) for slot, w in weights.matrices.items()}
    model = load(record(spec), ModelWeights(garbage, weights.vectors, weights.digest), OPTIONS)
    engine = Engine(model, EngineSettings(max_context=96, step_tokens=32))
    for number, temperature in enumerate((0.0, 1.0)):
        params = SamplingParams(temperature=temperature, max_tokens=4, logprobs=3, top_p=0.9, seed=1)
        engine.add(Request(str(number), tuple(tokens(40).tolist()), params))
    outputs = [output for _ in range(50) if engine.has_work() for output in engine.step()]
    assert not engine.has_work()
    engine.check_integrity()
    last = {output.request_id: output for output in outputs}
    assert set(last) == {"0", "1"}
    for output in last.values():
        assert output.finish_reason in ("length", "error")


def _scrambled(part: Matrix, rng: np.random.Generator) -> Matrix:
    data = rng.integers(0, 256, part.tensor.data.size, dtype=np.uint8)
    return replace(part, tensor=replace(part.tensor, data=data))


@pytest.mark.parametrize("kv_dtype", KV_TYPES)
def test_blocks_that_held_not_a_numbers_serve_the_next_request_alike(load: Load, kv_dtype: str) -> None:
    spec, prompt = tiny_spec(VOCAB_SIZE), tokens(45)
    options = replace(OPTIONS, kv_dtype=kv_dtype)
    model = load(record(spec), poisonable(), options)
    clean = prompt_logits(model, prompt, (20, 44))
    # Token 0 stands for a row of not-a-numbers; its keys and values fill every slot of the blocks used below.
    model.allocate_kv(3)
    blocks = [2, 1]
    model.step(chunk_batch(np.zeros(64, np.int32), 0, 64, blocks))
    after = [model.step(chunk_batch(prompt, a, b, blocks)).logits for a, b in ((0, 20), (20, 44), (44, 45))]
    np.testing.assert_array_equal(np.concatenate(after), clean)


@pytest.mark.parametrize("byte", [0x7E, 0xFE, 0xFF])
@pytest.mark.parametrize("kv_dtype", KV_TYPES)
def test_whatever_blocks_held_serves_the_next_request_alike(load: Load, kv_dtype: str, byte: int) -> None:
    # As float32, a scale of an int8 cache among them: 8e37, -2e38, not a number.
    spec, prompt = tiny_spec(VOCAB_SIZE), tokens(45)
    model = load(record(spec), tiny_weights(spec), replace(OPTIONS, kv_dtype=kv_dtype))
    clean = prompt_logits(model, prompt, (20, 44))
    model.allocate_kv(3)
    model.write_kv(int32(2, 1), np.full((2, model.kv_bytes_per_block()), byte, np.uint8))
    after = [model.step(chunk_batch(prompt, a, b, [2, 1])).logits for a, b in ((0, 20), (20, 44), (44, 45))]
    np.testing.assert_array_equal(np.concatenate(after), clean)


@pytest.mark.parametrize("kv_dtype", KV_TYPES)
def test_a_sequence_of_not_a_numbers_leaves_its_neighbours_alone(load: Load, kv_dtype: str) -> None:
    spec, prompt = tiny_spec(VOCAB_SIZE), tokens(9)
    model = load(record(spec), poisonable(), replace(OPTIONS, kv_dtype=kv_dtype))
    clean = prompt_logits(model, prompt)
    model.allocate_kv(3)
    batch = StepBatch(
        token_ids=np.concatenate([np.zeros(7, np.int32), prompt, np.zeros(3, np.int32)]),
        positions=np.concatenate([np.arange(n, dtype=np.int32) for n in (7, 9, 3)]),
        query_starts=int32(0, 7, 16, 19), kv_lens=int32(7, 9, 3), block_tables=int32(2, 0, 1)[:, None],
        logit_rows=np.arange(19, dtype=np.int32), sampling=None, return_logits=True,
    )  # fmt: skip
    logits = model.step(batch).logits
    assert logits is not None
    np.testing.assert_array_equal(logits[7:16], clean)


def poisonable() -> ModelWeights:
    """A tiny model in which the embedding of token 0 is not a number; `tokens` never gives that token."""
    weights = tiny_weights(tiny_spec(VOCAB_SIZE))
    (part,) = weights.matrices["embed"].parts
    data = part.tensor.data.copy()
    data.view("<f4")[: part.cols] = np.nan
    embed = Weight("embed", (replace(part, tensor=replace(part.tensor, data=data)),))
    return replace(weights, matrices={**weights.matrices, "embed": embed})


def test_a_closed_model_refuses_every_call(load: Load) -> None:
    spec = tiny_spec(VOCAB_SIZE)
    model = load(record(spec), tiny_weights(spec), OPTIONS)
    model.allocate_kv(NUM_BLOCKS)
    model.close()
    model.close()
    for call in (lambda: model.allocate_kv(1), lambda: model.step(good_batch()), model.memory):
        with pytest.raises(BackendError, match="closed"):
            call()


@pytest.mark.parametrize("fmt", [F32, Q4_1, Q8_0, Q4_K, Q6_K], ids=lambda fmt: fmt.name)
def test_vector_instruction_sets_and_thread_counts_give_identical_bits(fmt: WeightFormat) -> None:
    spec, prompt = blocky_spec(VOCAB_SIZE), tokens(45)
    found: dict[tuple[str, int], np.ndarray] = {}
    for isa in ("avx512", "avx2"):
        if not _runs(isa):
            pytest.skip(f"this processor has no {isa}")
        for threads in (1, 2, 3, 4):
            options = replace(OPTIONS, threads=threads)
            model = BACKENDS[f"native-{isa}"](record(spec), tiny_weights(spec, fmt), options)
            found[isa, threads] = prompt_logits(model, prompt, (17, 44))
    for which, logits in found.items():
        np.testing.assert_array_equal(logits, found["avx512", 1], err_msg=str(which))


@pytest.mark.parametrize("fmt", [F32, Q4_1, Q6_K], ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("isa", ["avx512_bf16", "avx2", "portable"])
def test_long_prompts_give_the_bits_of_short_chunks_on_any_number_of_threads(isa: str, fmt: WeightFormat) -> None:
    if not _runs(isa):
        pytest.skip(f"this processor has no {isa}")
    # Long enough that every thread takes rows of its own through all operations between two attentions.
    spec, prompt = blocky_spec(VOCAB_SIZE), tokens(330)
    options = replace(OPTIONS, max_step_tokens=330)
    load = BACKENDS[f"native-{isa}"]
    expected = prompt_logits(load(record(spec), tiny_weights(spec, fmt), options), prompt, tuple(range(25, 330, 25)))
    for threads in (1, 2, 3, 5):
        model = load(record(spec), tiny_weights(spec, fmt), replace(options, threads=threads))
        for _ in range(3):
            np.testing.assert_array_equal(prompt_logits(model, prompt), expected, err_msg=f"{threads} threads")


@pytest.mark.parametrize("fmt", [fmt for fmt in ALL if fmt != F32], ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("isa", ["avx512_bf16", "avx512"])
def test_rows_in_tiles_of_two_panels_have_the_bits_of_rows_in_tiles_of_one(isa: str, fmt: WeightFormat) -> None:
    if not _runs(isa):
        pytest.skip(f"this processor has no {isa}")
    # Rows of so many weights that such tiles take them in several blocks.
    spec, prompt = replace(blocky_spec(VOCAB_SIZE), ffn_size=2304), tokens(45)
    model = BACKENDS[f"native-{isa}"](record(spec), tiny_weights(spec, fmt), OPTIONS)
    # Seven tokens a step are one tile, which never has two panels; 45 are five, and five rows beside.
    expected = prompt_logits(model, prompt, tuple(range(7, 45, 7)))
    np.testing.assert_array_equal(prompt_logits(model, prompt), expected)
