"""Native sampling against the NumPy definition: the same token for the same (seed, draw), and the right frequencies.

A model whose weights are all zero has logits of zero, so that the biases of a row are its logits, whatever is wanted.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from backend_batches import int32, sampling
from backend_registry import BACKENDS
from tiny_llama import tiny_spec, tiny_weights

from wayra.backends.api import BackendOptions, Model, SamplingBatch, StepBatch, StepResult
from wayra.backends.numpy.sample import RowSampling
from wayra.model.record import record
from wayra.weights.tensors import ModelWeights

MAX_ROWS = 64
MakeModel = Callable[[int], Model]


@pytest.fixture(params=list(BACKENDS))
def make_model(request: pytest.FixtureRequest) -> MakeModel:
    def make(vocab_size: int) -> Model:
        spec = tiny_spec(vocab_size, context_len=MAX_ROWS)
        weights = tiny_weights(spec)
        still = {name: np.zeros_like(v) if name == "final_norm" else v for name, v in weights.vectors.items()}
        options = BackendOptions(max_step_tokens=MAX_ROWS, max_step_seqs=MAX_ROWS, kv_dtype="f32", threads=1)
        silent = ModelWeights(weights.matrices, still, weights.digest)
        model = BACKENDS[request.param](record(spec), silent, replace(options, packed_cache=False))
        model.allocate_kv(2)
        return model

    return make


def biased(logits: np.ndarray, **changed: object) -> SamplingBatch:
    """Rows [rows, vocab] of logits, given as biases."""
    rows, vocab = logits.shape
    return sampling(
        rows,
        bias_starts=np.arange(rows + 1, dtype=np.int32) * vocab,
        bias_ids=np.tile(np.arange(vocab, dtype=np.int32), rows),
        bias_values=np.ascontiguousarray(logits, np.float32).reshape(-1),
        **changed,
    )


def step(model: Model, how: SamplingBatch) -> StepResult:
    rows = len(how.temperature)
    positions = np.arange(rows, dtype=np.int32)
    return model.step(
        StepBatch(
            np.zeros(rows, np.int32), positions, int32(0, rows), int32(rows), int32(0, 1)[None], positions, sampling=how
        )
    )


def chosen(model: Model, how: SamplingBatch) -> np.ndarray:
    return step(model, how).token_ids


def defined(how: SamplingBatch, vocab: int) -> np.ndarray:
    zeros = np.zeros(vocab, np.float32)
    return np.array([RowSampling(how, row).choose(zeros) for row in range(len(how.temperature))])


def random_parameters(rng: np.random.Generator, rows: int, vocab: int) -> dict[str, object]:
    """Every parameter on or off at random, row by row."""

    def some(off: float, low: float, high: float) -> np.ndarray:
        return np.where(rng.random(rows) < 0.5, off, rng.uniform(low, high, rows)).astype(np.float32)

    lengths = rng.integers(0, min(8, vocab), rows)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    seen = [rng.choice(vocab, n, replace=False) for n in lengths]
    allowed = rng.integers(0, 1 << 32, (rows, -(-vocab // 32)), dtype=np.uint32)
    allowed[:, 0] |= 1
    return {
        "temperature": some(0.0, 0.05, 4.0),
        "top_k": np.where(rng.random(rows) < 0.5, 0, rng.integers(1, 2 * vocab, rows)).astype(np.int32),
        "top_p": some(1.0, 0.01, 0.999),
        "min_p": some(0.0, 0.0, 0.9),
        "repetition_penalty": some(1.0, 0.5, 2.0),
        "presence_penalty": some(0.0, -2.0, 2.0),
        "frequency_penalty": some(0.0, -2.0, 2.0),
        "seeds": rng.integers(0, 1 << 64, rows, dtype=np.uint64),
        "draws": rng.integers(0, 1 << 20, rows, dtype=np.uint64),
        "history_starts": starts,
        "history_ids": np.concatenate(seen).astype(np.int32),
        "history_counts": rng.integers(0, 4, starts[-1]).astype(np.int32),
        "allowed": allowed if rng.random() < 0.5 else None,
    }


@pytest.mark.parametrize("vocab", [1, 2, 15, 16, 17, 31, 33, 100, 257, 1003])
def test_every_parameter_chooses_the_token_of_the_definition(make_model: MakeModel, vocab: int) -> None:
    model = make_model(vocab)
    rng = np.random.default_rng(vocab)
    differing = total = 0
    for _ in range(6):
        logits = rng.normal(0, 3, (MAX_ROWS, vocab))
        how = biased(logits, **random_parameters(rng, MAX_ROWS, vocab))
        differing += int((chosen(model, how) != defined(how, vocab)).sum())
        total += MAX_ROWS
    # A draw, or the last token of a top-p set, may lie on a border; one in a thousand is far more than do.
    assert differing <= max(1, total // 1000)


@pytest.mark.parametrize("vocab", [7, 16, 45, 300])
def test_ties_go_to_the_lower_id(make_model: MakeModel, vocab: int) -> None:
    model = make_model(vocab)
    rng = np.random.default_rng(vocab)
    logits = rng.integers(0, 3, (MAX_ROWS, vocab)).astype(np.float32)
    assert chosen(model, biased(logits)).tolist() == logits.argmax(axis=1).tolist()
    for changed in ({"top_k": 3}, {"top_k": 1}, {"top_p": 0.4}, {"top_k": 5, "top_p": 0.7}):
        seeds = np.arange(MAX_ROWS, dtype=np.uint64)
        how = biased(logits, temperature=1.0, seeds=seeds, **changed)
        assert int((chosen(model, how) != defined(how, vocab)).sum()) <= 1, changed


def test_draws_fall_in_proportion_to_the_probabilities(make_model: MakeModel) -> None:
    vocab, draws = 37, 6400
    model = make_model(vocab)
    logits = np.random.default_rng(3).normal(0, 1, vocab).astype(np.float32)
    counts = np.zeros(vocab)
    for first in range(0, draws, MAX_ROWS):
        how = biased(
            np.tile(logits, (MAX_ROWS, 1)),
            temperature=0.8,
            seeds=7,
            draws=np.arange(first, first + MAX_ROWS, dtype=np.uint64),
        )
        counts += np.bincount(chosen(model, how), minlength=vocab)
    wanted = np.exp(logits.astype(np.float64) / 0.8)
    wanted *= draws / wanted.sum()
    # 36 degrees of freedom: chi-square exceeds 68 once in a thousand, and the seed is fixed.
    assert float((np.square(counts - wanted) / wanted).sum()) < 68


def test_filtered_draws_keep_the_proportions_of_what_is_left(make_model: MakeModel) -> None:
    vocab, draws = 50, 3200
    model = make_model(vocab)
    logits = np.random.default_rng(4).normal(0, 1.5, vocab).astype(np.float32)
    best = np.argsort(-logits)[:6]
    counts = np.zeros(vocab)
    for first in range(0, draws, MAX_ROWS):
        seeds = np.arange(first, first + MAX_ROWS, dtype=np.uint64)
        counts += np.bincount(
            chosen(model, biased(np.tile(logits, (MAX_ROWS, 1)), temperature=1.0, top_k=6, seeds=seeds)),
            minlength=vocab,
        )
    assert set(np.flatnonzero(counts)) == set(best)
    wanted = np.exp(logits[best].astype(np.float64))
    wanted *= draws / wanted.sum()
    # 5 degrees of freedom: above 20.5 once in a thousand.
    assert float((np.square(counts[best] - wanted) / wanted).sum()) < 20.5


@pytest.mark.parametrize("temperature", [1e-3, 1e-20, 1e-38, 1e-40, 1.4e-45])
def test_a_tiny_temperature_chooses_the_likeliest(make_model: MakeModel, temperature: float) -> None:
    vocab = 40
    logits = np.random.default_rng(5).permuted(np.tile(np.linspace(-3, 3, vocab), (MAX_ROWS, 1)), axis=1)
    how = biased(logits, temperature=temperature, seeds=np.arange(MAX_ROWS, dtype=np.uint64))
    assert chosen(make_model(vocab), how).tolist() == logits.argmax(axis=1).tolist()


def test_an_enormous_bias_forces_or_forbids_a_token(make_model: MakeModel) -> None:
    vocab = 33
    model = make_model(vocab)
    logits = np.zeros((MAX_ROWS, vocab))
    forced = np.arange(MAX_ROWS) % vocab
    logits[np.arange(MAX_ROWS), forced] = 1e30
    seeds = np.arange(MAX_ROWS, dtype=np.uint64)
    for temperature in (0.0, 1.0, 100.0):
        how = biased(logits, temperature=temperature, seeds=seeds)
        assert chosen(model, how).tolist() == forced.tolist()
        found = chosen(model, biased(-logits, temperature=temperature, seeds=seeds))
        assert not (found == forced).any()


def test_only_allowed_tokens_are_chosen_whatever_the_rest(make_model: MakeModel) -> None:
    vocab = 75
    model = make_model(vocab)
    rng = np.random.default_rng(6)
    only = rng.integers(0, vocab, MAX_ROWS)
    allowed = np.zeros((MAX_ROWS, 3), np.uint32)
    allowed[np.arange(MAX_ROWS), only // 32] = np.uint32(1) << (only % 32).astype(np.uint32)
    for temperature in (0.0, 2.0):
        how = biased(rng.normal(0, 9, (MAX_ROWS, vocab)), temperature=temperature, allowed=allowed)
        assert chosen(model, how).tolist() == only.tolist()


def test_log_probabilities_are_those_of_the_raw_logits(make_model: MakeModel) -> None:
    vocab = 21
    how = biased(np.random.default_rng(8).normal(0, 4, (MAX_ROWS, vocab)), temperature=1.0, num_logprobs=5)
    result = step(make_model(vocab), how)
    # The bias decides what is drawn; the model itself finds every token equally likely.
    np.testing.assert_allclose(result.logprobs, -np.log(vocab), rtol=1e-6)
    np.testing.assert_array_equal(result.top_ids, np.tile(np.arange(5), (MAX_ROWS, 1)))
    np.testing.assert_allclose(result.top_logprobs, -np.log(vocab), rtol=1e-6)
