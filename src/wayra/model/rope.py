"""Rotary frequencies of every scaling. Computed once, when weights are loaded; no backend knows of scalings."""

import math

import numpy as np
from numpy.typing import NDArray

from wayra.model.spec import RopeSpec

Frequencies = NDArray[np.float32]


def rope_frequencies(spec: RopeSpec, context_len: int) -> tuple[Frequencies, float]:
    """The angle per position of each rotated pair, and the factor on cos and sin (1 except for yarn).

    context_len: stands in for the length before scaling where the spec does not tell it.
    Returns: float32 [rotary_dim / 2], magnitude.
    Source: Chen et al. 2023 (linear), Peng et al. 2023 (yarn), Llama 3.1 (llama3); as in Hugging Face transformers.
    """
    exponents = np.arange(0, spec.rotary_dim, 2, dtype=np.float32) / np.float32(spec.rotary_dim)
    periods: Frequencies = np.power(np.float32(spec.theta), exponents, dtype=np.float32)
    inv_freq: Frequencies = np.reciprocal(periods)
    original_len = spec.original_context_len or context_len
    if spec.scaling == "linear":
        return inv_freq / np.float32(spec.factor), 1.0
    if spec.scaling == "llama3":
        return _llama3(inv_freq, spec, original_len), 1.0
    if spec.scaling == "yarn":
        return _yarn(periods, spec, original_len), yarn_magnitude(spec)
    return inv_freq, 1.0


def yarn_magnitude(spec: RopeSpec) -> float:
    """The factor yarn puts on cos and sin, so that attention keeps its temperature over the longer context."""
    if spec.attention_factor is not None:
        return spec.attention_factor
    if spec.mscale and spec.mscale_all_dim:
        return _mscale(spec.factor, spec.mscale) / _mscale(spec.factor, spec.mscale_all_dim)
    return _mscale(spec.factor, 1.0)


def _mscale(factor: float, weight: float) -> float:
    return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0


def _llama3(inv_freq: Frequencies, spec: RopeSpec, original_len: int) -> Frequencies:
    """Long wavelengths are divided by the factor, short ones kept, those between blended."""
    wavelengths = np.float32(2 * math.pi) / inv_freq
    blend = (np.float32(original_len) / wavelengths - np.float32(spec.low_freq_factor)) / np.float32(
        spec.high_freq_factor - spec.low_freq_factor
    )
    divided = inv_freq / np.float32(spec.factor)
    blended = (1 - blend) * divided + blend * inv_freq
    is_long = wavelengths > np.float32(original_len / spec.low_freq_factor)
    is_short = wavelengths < np.float32(original_len / spec.high_freq_factor)
    return np.where(is_long, divided, np.where(is_short, inv_freq, blended)).astype(np.float32)


def _yarn(periods: Frequencies, spec: RopeSpec, original_len: int) -> Frequencies:
    """Pairs that turn often within the original length are kept, those that turn rarely are divided by the factor."""
    low, high = _turning_pair(spec.beta_fast, spec, original_len), _turning_pair(spec.beta_slow, spec, original_len)
    if spec.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, spec.rotary_dim - 1)
    width = high - low or 0.001
    ramp = (np.arange(spec.rotary_dim // 2, dtype=np.float32) - np.float32(low)) / np.float32(width)
    kept = 1 - np.clip(ramp, 0, 1)
    divided = np.float32(1) / (np.float32(spec.factor) * periods)
    return (divided * (1 - kept) + (np.float32(1) / periods) * kept).astype(np.float32)


def _turning_pair(num_turns: float, spec: RopeSpec, original_len: int) -> float:
    """The (fractional) pair that makes `num_turns` full turns within the original length."""
    return spec.rotary_dim * math.log(original_len / (num_turns * 2 * math.pi)) / (2 * math.log(spec.theta))
