"""How a product rounds what it multiplies: activations for each format of weights, and float16 weights themselves."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wayra.backends.numpy.kv import decode, encode
from wayra.base import formats
from wayra.base.formats import WeightFormat

Floats = NDArray[np.float32]
Rounding = Literal["none", "int8", "words", "bf16"]
GROUP = 32
SMALLEST = np.float32(1e-34)
"""Below it, the steps divided by it may be no float32 any more."""
INT8_STEPS = 127
FINE_STEPS = 127 * 128
"""Largest integers of an activation: in 8 bits, and in the 15 that the output head takes."""
WORD_STEPS = 8191
"""Largest integer of a weight's word. Those of activations are as large as leaves a group's products below 2**31."""
LARGEST_WORD = 32767


def rounding_for(fmt: WeightFormat) -> Rounding:
    """What activations become before they meet weights of this format."""
    match fmt:
        case formats.F32:
            return "none"
        case formats.F16:
            return "words"
        case formats.BF16:
            return "bf16"
        case _:
            return "int8"


def round_activations(x: Floats, rounding: Rounding, is_head: bool) -> Floats:
    """x [tokens, k]. The output head takes int8 finer, and bfloat16 weights with every bit of the activations."""
    match rounding:
        case "int8":
            return round_in_groups(x, FINE_STEPS if is_head else INT8_STEPS)
        case "words":
            return round_to_wide_words(x)
        case "bf16" if not is_head:
            return decode(encode(x, "bf16"), "bf16")
        case _:
            return x


def round_in_groups(x: Floats, steps: int) -> Floats:
    """x [tokens, k] as integers represent it.

    Groups are 32 consecutive k of a row (the last may be shorter). A group's scale is max|x| / steps in float32, its
    integers round-half-to-even(x * (steps / max|x|)). A group whose max|x| is below 1e-34 becomes zeros.
    """
    groups = _in_groups(x)
    largest = np.abs(groups).max(axis=-1, keepdims=True)
    inverse = np.divide(np.float32(steps), largest, out=np.zeros_like(largest), where=largest >= SMALLEST)
    integers = np.rint(groups * inverse)
    return (integers * (largest / np.float32(steps))).reshape(len(x), -1)[:, : x.shape[1]]


def round_to_wide_words(x: Floats) -> Floats:
    """x [tokens, k] as words represent it.

    Groups as above. Integers are round-half-to-even(x * f), f the eight leading bits of the smaller of 32767 / max|x|
    and 32 * 8191 / sum|x|: times weights of at most 8191 they sum to less than 2**31.
    """
    groups = _in_groups(x)
    largest, total = np.abs(groups).max(axis=-1, keepdims=True), np.abs(groups).sum(axis=-1, keepdims=True)
    usable = (largest >= SMALLEST) & np.isfinite(total)
    with np.errstate(divide="ignore", invalid="ignore"):
        most = np.minimum(np.float32(LARGEST_WORD) / largest, np.float32(GROUP * WORD_STEPS) / total)
    # The order of the sum, which is free, hardly ever reaches the leading bits.
    factor = (np.where(usable, most, 1).astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    words = np.where(usable, np.rint(groups * factor) * (1 / factor), 0).astype(np.float32)
    return words.reshape(len(x), -1)[:, : x.shape[1]]


def round_to_words(weights: Floats) -> Floats:
    """weights [rows, k], finite or not, as words represent them.

    A group's scale is the smallest bfloat16 that is not below max|w| / 8191, its words round-half-to-even(w / scale).
    A group with an infinity or a NaN becomes NaNs.
    """
    groups = _in_groups(weights)
    finite = np.isfinite(groups).all(axis=-1, keepdims=True)
    groups = np.where(finite, groups, np.float32(1))
    largest = np.abs(groups).max(axis=-1, keepdims=True)
    bits = (largest / np.float32(WORD_STEPS)).view(np.uint32)
    scale = ((bits + np.uint32(0xFFFF)) & np.uint32(0xFFFF0000)).view(np.float32)
    words = np.rint(np.divide(groups, scale, out=np.zeros_like(groups), where=largest > 0))
    return np.where(finite, words * scale, np.float32(np.nan)).reshape(len(weights), -1)[:, : weights.shape[1]]


def _in_groups(x: Floats) -> Floats:
    return np.pad(x, ((0, 0), (0, -x.shape[1] % GROUP))).reshape(len(x), -1, GROUP)
