"""Zamba's attention: one block's weights, or those of a few, used again in many layers, each with a cache of its own.

A block reads the layer's input beside the model's first one, so that it is twice as wide as the model.
"""

from dataclasses import dataclass

from wayra.base.errors import UnsupportedModel
from wayra.model.spec import MAX_WIDTH
from wayra.plan.configs.keys import size
from wayra.plan.configs.layers import BOTH, STATE
from wayra.plan.configs.shape import Shape
from wayra.plan.mixers import Mixer

MAX_BLOCKS = 1024


@dataclass(frozen=True, slots=True)
class Blocks:
    """linear, small: of all blocks, each counted once. repeated: weights of their projections, as often as a token
    passes them again.
    """

    linear: int
    small: int
    repeated: int


def blocks_of(shape: Shape, ffn_size: int) -> Blocks:
    """The blocks that layers share: attention and a feed-forward layer, with a norm before each."""
    keys, hidden, uses = shape.keys, shape.hidden_size, _uses(shape)
    q, kv = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    linear = 2 * hidden * (q + 2 * kv) + q * hidden + 3 * hidden * ffn_size
    small = 2 * hidden + hidden
    if keys.flag("add_bias_linear", False):
        small += 2 * ffn_size + hidden
    number = min(uses, size(keys, "num_mem_blocks", 1, most=MAX_BLOCKS))
    return Blocks(number * linear, number * small, (uses - number) * linear)


def _uses(shape: Shape) -> int:
    if other := next((kind for kind in shape.kinds if kind not in (STATE, BOTH)), None):
        raise UnsupportedModel(
            f"the planner cannot size {shape.keys.source}: a layer of kind {other} among shared ones"
        )
    return shape.kinds.count(BOTH)


def shared_attention(shape: Shape) -> Mixer:
    """What a layer with such a block keeps, and what it has of its own: a projection behind it, and adapters."""
    keys, hidden = shape.keys, shape.hidden_size
    ffn_size = size(keys, "intermediate_size", most=MAX_WIDTH)
    q, kv = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    own = hidden * hidden
    if shape.kind == "zamba2":
        rank = size(keys, "adapter_rank", 128)
        own += hidden * rank + rank * 2 * ffn_size
        if keys.flag("use_shared_attention_adapter", False):
            own += 3 * 2 * (2 * hidden * rank)
    return Mixer(
        name="shared attention",
        layers=_uses(shape),
        linear=own,
        token_values=2 * kv,
        kv_heads=shape.num_kv_heads,
        pair_operations=4 * q,
        told=f"key and value, {shape.num_kv_heads:,} heads of {shape.head_dim:,}",
    )
