"""The sampling definition: each rule by hand, and random numbers against an independent statement of the formula."""

import math

import numpy as np
import pytest
from backend_batches import int32, sampling

from wayra.backends.numpy.sample import (
    RowSampling,
    draw_token,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    log_softmax,
    most_likely,
    uniform,
)

LOGITS = np.log(np.array([0.1, 0.4, 0.2, 0.25, 0.05], np.float32))


def choose(logits: np.ndarray = LOGITS, **changed: object) -> int:
    return RowSampling(sampling(1, **changed), 0).choose(logits)


def doubles(*values: float) -> np.ndarray:
    return np.array(values, np.float64)


def words(*ids: int) -> np.ndarray:
    return np.array([[sum(1 << i for i in ids)]], np.uint32)


def test_uniform_follows_the_documented_formula() -> None:
    with np.errstate(over="ignore"):
        for seed, draw in [(0, 0), (1, 0), (0, 1), (2**64 - 1, 2**64 - 1), (123456789, 42)]:
            z = (np.uint64(seed) ^ (np.uint64(draw) * np.uint64(0xD1342543DE82EF95))) + np.uint64(0x9E3779B97F4A7C15)
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z ^= z >> np.uint64(31)
            assert uniform(seed, draw) == float(z >> np.uint64(11)) / 2**53
    # The first output of splitmix64 seeded with 0 is a published value.
    assert uniform(0, 0) == (0xE220A8397B1DCDAF >> 11) * 2.0**-53


def test_uniform_is_uniform_over_draws_and_seeds() -> None:
    by_draw = np.array([uniform(7, draw) for draw in range(4000)])
    by_seed = np.array([uniform(seed, 7) for seed in range(4000)])
    for values in (by_draw, by_seed):
        # Ten bins of 400 expected; five standard deviations of a bin are 95.
        assert np.abs(np.histogram(values, bins=10, range=(0, 1))[0] - 400).max() < 95


def test_log_softmax_is_exact_far_from_zero() -> None:
    found = log_softmax(np.array([1000, 1000, 0], np.float32))
    np.testing.assert_allclose(found, [-math.log(2), -math.log(2), -1000 - math.log(2)])


def test_most_likely_breaks_ties_by_lower_id() -> None:
    assert most_likely(doubles(1, 3, 3, 2), 3).tolist() == [1, 2, 3]


def test_top_k_keeps_ties_by_lower_id_and_zero_keeps_all() -> None:
    probabilities = doubles(0.2, 0.3, 0.2, 0.3)
    assert keep_top_k(probabilities, 3).tolist() == [0.2, 0.3, 0, 0.3]
    assert keep_top_k(probabilities, 0) is probabilities
    assert keep_top_k(probabilities, 9) is probabilities


def test_top_p_keeps_the_smallest_set_that_reaches_it_and_at_least_one() -> None:
    probabilities = doubles(0.25, 0.5, 0.125, 0.125)
    assert keep_top_p(probabilities, 0.75).tolist() == [0.25, 0.5, 0, 0]
    assert keep_top_p(probabilities, 0.76).tolist() == [0.25, 0.5, 0.125, 0]
    assert keep_top_p(probabilities, 1e-9).tolist() == [0, 0.5, 0, 0]
    # Relative to what is left after top-k, not to 1.
    assert keep_top_p(probabilities * [0, 1, 1, 0], 0.8).tolist() == [0, 0.5, 0, 0]


def test_min_p_is_relative_to_the_most_likely() -> None:
    assert keep_min_p(doubles(0.4, 0.1, 0.2, 0.3), 0.5).tolist() == [0.4, 0, 0.2, 0.3]


def test_draw_walks_in_id_order_to_the_first_token_above() -> None:
    probabilities = doubles(0.0, 1.0, 0.0, 3.0)
    assert [draw_token(probabilities, u) for u in (0.0, 0.2499, 0.25, 0.9999)] == [1, 1, 3, 3]


def test_greedy_takes_the_lowest_id_of_a_tie() -> None:
    assert choose(np.array([0, 2, 1, 2], np.float32)) == 1


def test_sampling_is_proportional_to_probability() -> None:
    counts = np.bincount([choose(temperature=1.0, draws=draw) for draw in range(2000)], minlength=5)
    # Five standard deviations of the most likely of five are 110 draws.
    assert np.abs(counts - 2000 * np.exp(LOGITS)).max() < 110


def test_low_temperature_is_nearly_greedy_and_high_nearly_uniform() -> None:
    assert {choose(temperature=0.01, draws=draw) for draw in range(200)} == {1}
    counts = np.bincount([choose(temperature=1e4, draws=draw) for draw in range(2000)], minlength=5)
    assert np.abs(counts - 400).max() < 90


@pytest.mark.parametrize(
    ("changed", "possible"),
    [
        ({"top_k": 2}, {1, 3}),
        ({"top_p": 0.6}, {1, 3}),
        ({"min_p": 0.45}, {1, 2, 3}),
        ({"top_k": 3, "top_p": 0.7}, {1, 3}),
        ({"allowed": words(0, 4)}, {0, 4}),
        ({"allowed": words(0, 2, 4), "top_k": 1}, {2}),
    ],
    ids=str,
)
def test_filters_leave_exactly_these_tokens(changed: dict[str, object], possible: set[int]) -> None:
    assert {choose(temperature=1.0, draws=draw, **changed) for draw in range(400)} == possible


def test_bias_is_added_before_everything_else() -> None:
    bias = {"bias_starts": int32(0, 2), "bias_ids": int32(4, 4), "bias_values": np.array([2, 3], np.float32)}
    assert choose(**bias) == 4
    # The mask comes after the bias: what it forbids stays forbidden.
    assert choose(**bias, allowed=words(0, 2)) == 2


def test_repetition_penalty_divides_positive_and_multiplies_negative_logits() -> None:
    logits = np.array([2.0, 1.5, -1.0, -1.2], np.float32)
    seen = {"history_starts": int32(0, 2), "history_ids": int32(0, 2), "history_counts": int32(0, 1)}
    assert choose(logits, **seen, repetition_penalty=1.3) == 0
    assert choose(logits, **seen, repetition_penalty=1.4) == 1
    assert choose(logits[2:], history_starts=int32(0, 1), history_ids=int32(0), history_counts=int32(0),
                  repetition_penalty=1.3) == 1  # fmt: skip


def test_presence_and_frequency_count_generated_tokens_only() -> None:
    logits = np.array([2.0, 1.0], np.float32)

    def after(count: int, **penalty: float) -> int:
        history = {"history_starts": int32(0, 1), "history_ids": int32(0), "history_counts": int32(count)}
        return choose(logits, **history, **penalty)

    assert [after(count, presence_penalty=1.5) for count in (0, 1, 9)] == [0, 1, 1]
    assert [after(count, frequency_penalty=0.4) for count in (0, 2, 3)] == [0, 0, 1]


def test_logits_that_are_not_numbers_choose_some_token() -> None:
    with np.errstate(invalid="ignore"):
        assert 0 <= choose(np.full(5, np.nan, np.float32), temperature=1.0, top_p=0.5) < 5
