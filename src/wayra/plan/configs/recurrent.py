"""Recurrences with a number a channel: RecurrentGemma's gated linear unit (RG-LRU) and RWKV's weighted sums."""

from wayra.model.spec import MAX_WIDTH
from wayra.plan.configs.keys import size
from wayra.plan.configs.shape import Shape, whole
from wayra.plan.mixers import Mixer

NARROW_BYTES, WIDE_BYTES = 2, 4
MAX_KERNEL = 256


def gated_unit(shape: Shape, layers: int) -> Mixer:
    """RG-LRU behind a convolution, beside a gate; its own two gates are squares a head."""
    keys, hidden = shape.keys, shape.hidden_size
    width = size(keys, "lru_width", hidden, most=MAX_WIDTH)
    kernel = size(keys, "conv1d_width", 4, most=MAX_KERNEL)
    square = whole(keys, "lru_width", width, shape.num_heads)
    return Mixer(
        name="gated linear recurrence",
        layers=layers,
        linear=3 * hidden * width + 2 * width * square,
        # Biases of the projections, of the gates and of the convolution; what the recurrence decays by.
        small=2 * width + hidden + 2 * width + width * (kernel + 1) + width,
        state_bytes=(kernel - 1) * width * NARROW_BYTES + width * WIDE_BYTES,
        token_operations=2 * kernel * width + 4 * width,
        told=f"convolution {kernel - 1} x {width:,} values of {NARROW_BYTES} bytes, {width:,} carried of {WIDE_BYTES}",
    )


def weighted_sums(shape: Shape, layers: int) -> Mixer:
    """RWKV 4: a numerator, a denominator and a maximum a channel, and the token before, which both parts mix in."""
    keys, hidden = shape.keys, shape.hidden_size
    width = size(keys, "attention_hidden_size", hidden, most=MAX_WIDTH)
    return Mixer(
        name="RWKV",
        layers=layers,
        linear=4 * hidden * width,
        small=3 * hidden + 2 * width,
        state_bytes=2 * hidden * NARROW_BYTES + 3 * width * WIDE_BYTES,
        token_operations=12 * width,
        told=f"the token before, 2 x {hidden:,} values of {NARROW_BYTES} bytes, and 3 x {width:,} of {WIDE_BYTES}",
    )
