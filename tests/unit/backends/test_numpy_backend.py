"""The NumPy backend as a whole: loading, paging, what a step reports."""

from dataclasses import replace

import numpy as np
import pytest
from backend_batches import chunk_batch, int32, prompt_logits, sampling
from tiny_llama import tiny_spec, tiny_weights

from wayra.backends.api import BackendOptions, StepBatch
from wayra.backends.numpy import NumpyBackend
from wayra.backends.numpy.backend import NumpyModel, StepOps
from wayra.base.errors import BackendError, InvalidParameter, OutOfMemory, ShapeError
from wayra.model import families
from wayra.model.record import record
from wayra.weights.tensors import ModelWeights

SPEC = tiny_spec()
WEIGHTS = tiny_weights(SPEC)
F32_KV = BackendOptions(kv_dtype="f32")
PROMPT = np.random.default_rng(3).integers(0, SPEC.vocab_size, 70).astype(np.int32)


def load(options: BackendOptions = F32_KV, weights: ModelWeights = WEIGHTS) -> NumpyModel:
    return NumpyBackend().load(record(SPEC), weights, options)


@pytest.mark.parametrize("chunks", [(1,), (31, 32, 33), (64,), tuple(range(1, 70))], ids=str)
def test_chunks_of_a_prompt_give_the_logits_of_the_whole(chunks: tuple[int, ...]) -> None:
    whole = prompt_logits(load(), PROMPT)
    np.testing.assert_allclose(prompt_logits(load(), PROMPT, chunks), whole, atol=1e-4)


def test_narrow_caches_lose_in_proportion_to_their_precision() -> None:
    exact = prompt_logits(load(), PROMPT)
    f16, bf16, int8, int16 = (
        np.sqrt(np.square(prompt_logits(load(BackendOptions(kv_dtype=kv_dtype)), PROMPT) - exact).mean())
        for kv_dtype in ("f16", "bf16", "int8", "int16")
    )
    assert 0 < f16 < 0.01 * exact.std()
    # Eleven bits against eight: an eighth of the error.
    assert 4 < bf16 / f16 < 16
    # Steps of the largest value over 127 against those of each value's own size.
    assert 1 < int8 / bf16 < 8
    # Of values 32 times as many, of keys 64 times, of queries more.
    assert 32 < int8 / int16 < 128


def test_the_forward_runs_directly_on_real_arrays() -> None:
    # What a person steps through in a debugger is what the recorded Program computes.
    model = load()
    expected = prompt_logits(model, PROMPT[:20])
    model.allocate_kv(2)
    batch = chunk_batch(PROMPT, 0, 20, [1])
    step = StepOps(model._matrices, model._vectors, model._kv, "f32", batch)
    found = families.forward(step, SPEC, batch.token_ids, batch.positions, batch.logit_rows)
    np.testing.assert_array_equal(found, expected)


def test_step_reports_log_probabilities_of_the_raw_logits() -> None:
    model = load()
    model.allocate_kv(1)
    bias = {"bias_starts": int32(0, 1), "bias_ids": int32(9), "bias_values": np.array([100], np.float32)}
    batch = replace(
        chunk_batch(PROMPT, 0, 4, [0]),
        logit_rows=int32(3),
        targets=int32(17),
        sampling=sampling(1, num_logprobs=3, **bias),
    )
    result = model.step(batch)
    assert result.logits is not None
    assert result.target_logprobs is not None
    exact = result.logits[0].astype(np.float64)
    exact -= np.log(np.exp(exact).sum())
    assert result.token_ids.tolist() == [9]
    np.testing.assert_allclose(result.logprobs, [exact[9]], atol=1e-5)
    np.testing.assert_allclose(result.target_logprobs, [exact[17]], atol=1e-5)
    assert result.top_ids[0].tolist() == np.argsort(-exact)[:3].tolist()
    np.testing.assert_allclose(result.top_logprobs[0], np.sort(exact)[::-1][:3], atol=1e-5)


def test_step_without_sampling_reports_nothing_unasked() -> None:
    model = load()
    model.allocate_kv(1)
    result = model.step(replace(chunk_batch(PROMPT, 0, 4, [0]), return_logits=False, logit_rows=int32()))
    assert (len(result.token_ids), len(result.logprobs), result.top_ids.shape) == (0, 0, (0, 0))
    assert result.logits is None
    assert result.target_logprobs is None


def test_allocating_again_forgets_what_was_stored() -> None:
    model = load()
    model.allocate_kv(3)
    model.step(chunk_batch(PROMPT, 0, 20, [1]))
    assert np.abs(model._kv).max() > 0
    model.allocate_kv(3)
    assert np.abs(model._kv).max() == 0


def test_memory_counts_weights_cache_and_bytes_of_a_block() -> None:
    model = load(BackendOptions(kv_dtype="f16"))
    model.allocate_kv(5)
    # Two layers, K and V, 32 tokens, two heads of 16, two bytes.
    assert model.kv_bytes_per_block() == 2 * 2 * 32 * 2 * 16 * 2
    report = model.memory()
    assert report.kv_bytes == 5 * model.kv_bytes_per_block()
    assert report.weights_bytes == 4 * sum(int(np.prod(slot.shape)) for slot in families.slots(SPEC))


def test_a_batch_needs_allocated_blocks() -> None:
    model = load()
    with pytest.raises(ShapeError, match="block_tables"):
        model.step(chunk_batch(PROMPT, 0, 4, [0]))


def test_loading_refuses_what_it_cannot_run() -> None:
    with pytest.raises(BackendError, match="int3"):
        load(BackendOptions(kv_dtype="int3"))
    with pytest.raises(InvalidParameter, match="'int4'"):
        NumpyBackend("int4")
    fewer = {name: weight for name, weight in WEIGHTS.matrices.items() if name != "layers.1.down"}
    with pytest.raises(ShapeError, match=r"layers\.1\.down"):
        load(weights=replace(WEIGHTS, matrices=fewer))
    short = {**WEIGHTS.vectors, "final_norm": WEIGHTS.vectors["final_norm"][:-1]}
    with pytest.raises(ShapeError, match="final_norm"):
        load(weights=replace(WEIGHTS, vectors=short))
    swapped = {**WEIGHTS.matrices, "layers.0.o": WEIGHTS.matrices["layers.0.down"]}
    with pytest.raises(ShapeError, match="40 x 72"):
        load(weights=replace(WEIGHTS, matrices=swapped))


def test_a_cache_that_cannot_fit_is_refused() -> None:
    with pytest.raises(OutOfMemory, match="KV blocks need"):
        load().allocate_kv(1 << 50)
    with pytest.raises(InvalidParameter, match="-1 KV blocks"):
        load().allocate_kv(-1)


def test_sequences_of_a_batch_do_not_see_each_other() -> None:
    model = load()
    alone = prompt_logits(model, PROMPT[:5])
    model.allocate_kv(2)
    pair = StepBatch(
        token_ids=np.concatenate([PROMPT[10:19], PROMPT[:5]]),
        positions=np.concatenate([np.arange(9), np.arange(5)]).astype(np.int32),
        query_starts=int32(0, 9, 14),
        kv_lens=int32(9, 5),
        block_tables=int32(0, 1).reshape(2, 1),
        logit_rows=np.arange(9, 14, dtype=np.int32),
        return_logits=True,
    )
    np.testing.assert_allclose(model.step(pair).logits, alone, atol=1e-4)
