"""Rotary frequencies against values worked out by hand; parity with transformers is checked in tests/parity."""

import math

import numpy as np
import pytest

from wayra.base.errors import FileFormatError
from wayra.model.rope import rope_frequencies, yarn_magnitude
from wayra.model.spec import RopeSpec


def test_unscaled_frequencies_are_powers_of_theta() -> None:
    inv_freq, magnitude = rope_frequencies(RopeSpec(10000.0, 8), 2048)
    np.testing.assert_allclose(inv_freq, [1.0, 0.1, 0.01, 0.001], rtol=1e-6)
    assert inv_freq.dtype == np.float32
    assert magnitude == 1.0


def test_linear_scaling_divides_every_frequency() -> None:
    inv_freq, magnitude = rope_frequencies(RopeSpec(10000.0, 4, "linear", factor=4.0), 2048)
    np.testing.assert_allclose(inv_freq, [0.25, 0.0025], rtol=1e-6)
    assert magnitude == 1.0


def test_llama3_scaling_keeps_short_divides_long_and_blends_between() -> None:
    # Wavelengths 2 pi * (1, 10, 100, 1000) against a length of 256: short below 64, long above 256.
    spec = RopeSpec(10000.0, 8, "llama3", factor=8.0, original_context_len=256)
    inv_freq, _ = rope_frequencies(spec, 99999)
    np.testing.assert_allclose(inv_freq, [1.0, 0.1, 0.01 / 8, 0.001 / 8], rtol=1e-6)
    blended = rope_frequencies(RopeSpec(10000.0, 8, "llama3", factor=8.0, original_context_len=128), 99999)[0][1]
    share = (128 / (20 * math.pi) - 1) / 3
    assert blended == pytest.approx((1 - share) * 0.1 / 8 + share * 0.1, rel=1e-6)


def test_yarn_keeps_fast_pairs_and_divides_slow_ones() -> None:
    spec = RopeSpec(10000.0, 64, "yarn", factor=4.0, original_context_len=4096)
    inv_freq, magnitude = rope_frequencies(spec, 16384)
    plain = rope_frequencies(RopeSpec(10000.0, 64), 16384)[0]
    # Pairs 10.46 and 22.51 turn 32 times and once in 4096 positions: kept up to 10, divided from 23.
    np.testing.assert_allclose(inv_freq[:11], plain[:11], rtol=1e-6)
    np.testing.assert_allclose(inv_freq[23:], plain[23:] / 4, rtol=1e-6)
    kept = 1 - 6 / 13
    assert inv_freq[16] == pytest.approx(plain[16] * kept + plain[16] / 4 * (1 - kept), rel=1e-6)
    assert magnitude == pytest.approx(0.1 * math.log(4) + 1)


def test_yarn_uses_the_context_length_when_the_original_is_unknown() -> None:
    unknown = rope_frequencies(RopeSpec(10000.0, 64, "yarn", factor=4.0), 4096)[0]
    known = rope_frequencies(RopeSpec(10000.0, 64, "yarn", factor=4.0, original_context_len=4096), 7)[0]
    np.testing.assert_array_equal(unknown, known)


def test_yarn_magnitude_follows_attention_factor_then_mscale() -> None:
    assert yarn_magnitude(RopeSpec(1e4, 8, "yarn", factor=8.0, attention_factor=1.5)) == 1.5
    both = yarn_magnitude(RopeSpec(1e4, 8, "yarn", factor=8.0, mscale=2.0, mscale_all_dim=1.0))
    assert both == pytest.approx((0.2 * math.log(8) + 1) / (0.1 * math.log(8) + 1))
    assert yarn_magnitude(RopeSpec(1e4, 8, "yarn", factor=0.5)) == 1.0


@pytest.mark.parametrize(
    "changed",
    [{"theta": float("nan")}, {"theta": 0.0}, {"theta": float("inf")}, {"rotary_dim": 7}, {"rotary_dim": 0},
     {"factor": 0.0}, {"factor": -1.0}, {"original_context_len": -1}, {"beta_fast": 0.0},
     {"attention_factor": float("nan")}, {"mscale": -1.0}, {"scaling": "llama3", "high_freq_factor": 1.0}],
    ids=str,
)  # fmt: skip
def test_impossible_rope_numbers_are_refused(changed: dict[str, object]) -> None:
    with pytest.raises(FileFormatError):
        RopeSpec(**{"theta": 1e4, "rotary_dim": 8, **changed})
