"""The operation table: the closed vocabulary every Program is written in and every backend implements.

One entry an operation: what it reads and writes, the rule for its shapes and the formula for its cost. The recorder,
the verifier, the cost model and the conformance tests all read this table; nothing else defines an operation's borders.
The NumPy backend holds the meaning of each operation.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from wayra.base.errors import ShapeError
from wayra.model.program import Attr, Dim

Shape = tuple[Dim, ...]
FLOAT_BYTES = 4
"""Activations are float32 between operations."""


@dataclass(frozen=True, slots=True)
class Operand:
    """An input, weight or output by name. rank: its number of dimensions."""

    name: str
    rank: int
    dtype: str = "f32"
    optional: bool = False


@dataclass(frozen=True, slots=True)
class AttrRule:
    """The type of an attribute. A float rule takes an int too; optional ones may be None."""

    type: type[int] | type[float]
    optional: bool = False

    def accepts(self, value: Attr) -> bool:
        if value is None:
            return self.optional
        if isinstance(value, bool):
            return False
        return isinstance(value, int) or (self.type is float and isinstance(value, float))


@dataclass(frozen=True, slots=True)
class CallShapes:
    """What a shape rule or a cost formula sees of a call; None where an optional input or weight is absent."""

    inputs: tuple[Shape | None, ...]
    weights: tuple[tuple[int, ...] | None, ...]
    attrs: Mapping[str, Attr]

    def input(self, index: int) -> Shape:
        shape = self.inputs[index]
        if shape is None:
            raise ShapeError(f"input {index} is absent; the operation needs it")
        return shape

    def weight(self, index: int) -> tuple[int, ...]:
        shape = self.weights[index]
        if shape is None:
            raise ShapeError(f"weight {index} is absent; the operation needs it")
        return shape

    def int_attr(self, name: str) -> int:
        value = self.attrs[name]
        if not isinstance(value, int):
            raise ShapeError(f"attribute {name} is {value!r}; expected an integer")
        return value


@dataclass(frozen=True, slots=True)
class StepSize:
    """How large a step is: what the cost of a call depends on besides its shapes.

    tokens, rows: the dims of those names. query_lens, kv_lens: one entry a sequence, as in a step's batch.
    kv_bytes: bytes of one stored key or value element. kv_scale_bytes: of what a head of a token has beside them.
    """

    tokens: int
    rows: int
    query_lens: tuple[int, ...]
    kv_lens: tuple[int, ...]
    kv_bytes: int
    kv_scale_bytes: int = 0

    def kept_bytes(self, kv_heads: int, head_dim: int) -> int:
        """Of a token's keys and values in one layer."""
        return 2 * kv_heads * (head_dim * self.kv_bytes + self.kv_scale_bytes)

    def size(self, dim: Dim) -> int:
        if dim == "tokens":
            return self.tokens
        return self.rows if dim == "rows" else int(dim)

    def count(self, shape: Shape) -> int:
        """Elements of an array of this shape."""
        total = 1
        for dim in shape:
            total *= self.size(dim)
        return total


@dataclass(frozen=True, slots=True)
class OpCost:
    """The least work and traffic of one call, whatever the backend.

    flops: multiplications and additions, each counted as one. weights_read: elements read of each weight, in the order
    of the call's weights (their bytes depend on the format). kv_read, kv_written, activations: bytes.
    """

    flops: float
    weights_read: tuple[int, ...]
    activations: int
    kv_read: int = 0
    kv_written: int = 0


ShapeRule = Callable[[CallShapes], tuple[Shape, ...]]
CostRule = Callable[[CallShapes, tuple[Shape, ...], StepSize], OpCost]


@dataclass(frozen=True, slots=True)
class Op:
    """One operation. writes, reads: effects besides its arrays; "kv" is the cache of the layer in attribute `layer`."""

    name: str
    inputs: tuple[Operand, ...]
    weights: tuple[Operand, ...]
    attrs: Mapping[str, AttrRule]
    outputs: tuple[Operand, ...]
    shapes: ShapeRule
    cost: CostRule
    writes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()


def visible_pairs(query_len: int, kv_len: int, window: int | None) -> int:
    """How many (query, key) pairs causal attention computes when a sequence's last `query_len` tokens are queries."""
    first = kv_len - query_len
    full = query_len * first + query_len * (query_len + 1) // 2
    if window is None or kv_len <= window:
        return full
    # Queries at positions >= window see exactly `window` keys; those before see position + 1.
    short = range(first + 1, min(window, kv_len) + 1)
    return sum(short) + (query_len - len(short)) * window


def visible_keys(query_len: int, kv_len: int, window: int | None) -> int:
    """How many distinct keys of one sequence the step must read."""
    return kv_len if window is None else min(kv_len, query_len + window - 1)


def _fail_unless(agree: bool, message: str) -> None:
    if not agree:
        raise ShapeError(message)


def _traffic(shapes: CallShapes, outputs: tuple[Shape, ...], step: StepSize) -> int:
    """Bytes of activations read and written once each. Integer inputs are four bytes too."""
    read = sum(step.count(shape) for shape in shapes.inputs if shape is not None)
    return FLOAT_BYTES * (read + sum(step.count(shape) for shape in outputs))


def _weights_read(shapes: CallShapes) -> tuple[int, ...]:
    sizes: list[int] = []
    for shape in shapes.weights:
        size = 0 if shape is None else 1
        for dim in shape or ():
            size *= dim
        sizes.append(size)
    return tuple(sizes)


def _embed_shapes(s: CallShapes) -> tuple[Shape, ...]:
    return ((*s.input(0), s.weight(0)[1]),)


def _embed_cost(s: CallShapes, outputs: tuple[Shape, ...], step: StepSize) -> OpCost:
    return OpCost(0, (step.count(outputs[0]),), _traffic(s, outputs, step))


def _norm_shapes(s: CallShapes) -> tuple[Shape, ...]:
    x, delta, weight = s.input(0), s.inputs[1], s.weight(0)
    _fail_unless(delta is None or delta == x, f"x is {x} but delta is {delta}; they must agree")
    _fail_unless(x[1] == weight[0], f"x has {x[1]} features but the norm has {weight[0]}")
    return (x, x)


def _norm_cost(s: CallShapes, outputs: tuple[Shape, ...], step: StepSize) -> OpCost:
    per_element = 4 if s.inputs[1] is None else 5
    return OpCost(per_element * step.count(s.input(0)), _weights_read(s), _traffic(s, outputs, step))


def _linear_shapes(s: CallShapes) -> tuple[Shape, ...]:
    x, weight, bias = s.input(0), s.weight(0), s.weights[1]
    _fail_unless(x[1] == weight[1], f"the input has {x[1]} features but the weight has {weight[1]} columns")
    _fail_unless(bias is None or bias[0] == weight[0], f"the weight has {weight[0]} rows but the bias is {bias}")
    return ((x[0], weight[0]),)


def _linear_cost(s: CallShapes, outputs: tuple[Shape, ...], step: StepSize) -> OpCost:
    flops = 2 * step.count(outputs[0]) * s.weight(0)[1]
    if s.weights[1] is not None:
        flops += step.count(outputs[0])
    return OpCost(flops, _weights_read(s), _traffic(s, outputs, step))


def _logits_shapes(s: CallShapes) -> tuple[Shape, ...]:
    x, weight = s.input(0), s.weight(0)
    _fail_unless(x[1] == weight[1], f"the input has {x[1]} features but the weight has {weight[1]} columns")
    return ((x[0], weight[0]),)


def _logits_cost(s: CallShapes, outputs: tuple[Shape, ...], step: StepSize) -> OpCost:
    flops = 2 * step.count(outputs[0]) * s.weight(0)[1]
    return OpCost(flops, _weights_read(s), _traffic(s, outputs, step))


def _rope_store_shapes(s: CallShapes) -> tuple[Shape, ...]:
    qkv, positions, inv_freq = s.input(0), s.input(1), s.weight(0)
    heads, kv_heads, head_dim = s.int_attr("num_heads"), s.int_attr("num_kv_heads"), s.int_attr("head_dim")
    rotary_dim = s.int_attr("rotary_dim")
    _fail_unless(
        qkv[1] == (heads + 2 * kv_heads) * head_dim,
        f"qkv has {qkv[1]} features; {heads} query and {kv_heads} KV heads of {head_dim} need another number",
    )
    _fail_unless(positions == qkv[:1], f"positions are {positions} but qkv has rows {qkv[:1]}")
    _fail_unless(0 <= rotary_dim <= head_dim, f"rotary_dim {rotary_dim} exceeds head_dim {head_dim}")
    _fail_unless(2 * inv_freq[0] == rotary_dim, f"{inv_freq[0]} frequencies cannot rotate {rotary_dim} dimensions")
    return ((qkv[0], heads * head_dim),)


def _rope_store_cost(s: CallShapes, outputs: tuple[Shape, ...], step: StepSize) -> OpCost:
    kv_heads = s.int_attr("num_kv_heads")
    rotated = step.tokens * (s.int_attr("num_heads") + kv_heads) * s.int_attr("rotary_dim")
    written = step.tokens * step.kept_bytes(kv_heads, s.int_attr("head_dim"))
    return OpCost(3 * rotated, _weights_read(s), _traffic(s, outputs, step), kv_written=written)


def _attention_shapes(s: CallShapes) -> tuple[Shape, ...]:
    q, heads, kv_heads = s.input(0), s.int_attr("num_heads"), s.int_attr("num_kv_heads")
    _fail_unless(q[1] == heads * s.int_attr("head_dim"), f"q has {q[1]} features; {heads} heads need another number")
    _fail_unless(kv_heads > 0 and heads % kv_heads == 0, f"{heads} query heads cannot share {kv_heads} KV heads")
    return (q,)


def _attention_cost(s: CallShapes, outputs: tuple[Shape, ...], step: StepSize) -> OpCost:
    heads, head_dim = s.int_attr("num_heads"), s.int_attr("head_dim")
    window = None if s.attrs["window"] is None else s.int_attr("window")
    lens = list(zip(step.query_lens, step.kv_lens, strict=True))
    pairs = sum(visible_pairs(q, kv, window) for q, kv in lens)
    keys = sum(visible_keys(q, kv, window) for q, kv in lens)
    kv_read = keys * step.kept_bytes(s.int_attr("num_kv_heads"), head_dim)
    # A pair costs a dot product (2d), its share of the softmax (about 4), and a scaled addition of V (2d).
    return OpCost(pairs * heads * (4 * head_dim + 4), (), _traffic(s, outputs, step), kv_read=kv_read)


def _swiglu_shapes(s: CallShapes) -> tuple[Shape, ...]:
    tokens, width = s.input(0)
    if not isinstance(width, int) or width % 2:
        raise ShapeError(f"gate and up together have {width} features; expected an even number")
    return ((tokens, width // 2),)


def _swiglu_cost(s: CallShapes, outputs: tuple[Shape, ...], step: StepSize) -> OpCost:
    return OpCost(5 * step.count(outputs[0]), (), _traffic(s, outputs, step))


def _take_rows_shapes(s: CallShapes) -> tuple[Shape, ...]:
    return ((s.input(1)[0], s.input(0)[1]),)


def _take_rows_cost(s: CallShapes, outputs: tuple[Shape, ...], step: StepSize) -> OpCost:
    # Only the rows taken are read.
    return OpCost(0, (), FLOAT_BYTES * (2 * step.count(outputs[0]) + step.rows))


_INT, _FLOAT = AttrRule(int), AttrRule(float)
_HEADS = {"layer": _INT, "num_heads": _INT, "num_kv_heads": _INT, "head_dim": _INT}

EMBED = Op(
    "embed", (Operand("token_ids", 1, "i32"),), (Operand("table", 2),), {}, (Operand("x", 2),),
    _embed_shapes, _embed_cost,
)  # fmt: skip
ADD_RMS_NORM = Op(
    "add_rms_norm", (Operand("x", 2), Operand("delta", 2, optional=True)), (Operand("norm", 1),), {"eps": _FLOAT},
    (Operand("x", 2), Operand("h", 2)), _norm_shapes, _norm_cost,
)  # fmt: skip
LINEAR = Op(
    "linear", (Operand("x", 2),), (Operand("weight", 2), Operand("bias", 1, optional=True)), {}, (Operand("y", 2),),
    _linear_shapes, _linear_cost,
)  # fmt: skip
ROPE_STORE = Op(
    "rope_store", (Operand("qkv", 2), Operand("positions", 1, "i32")), (Operand("inv_freq", 1),),
    {**_HEADS, "rotary_dim": _INT, "magnitude": _FLOAT}, (Operand("q", 2),),
    _rope_store_shapes, _rope_store_cost, writes=("kv",),
)  # fmt: skip
ATTENTION = Op(
    "attention", (Operand("q", 2),), (), {**_HEADS, "scale": _FLOAT, "window": AttrRule(int, optional=True)},
    (Operand("a", 2),), _attention_shapes, _attention_cost, reads=("kv",),
)  # fmt: skip
SWIGLU = Op("swiglu", (Operand("gate_up", 2),), (), {}, (Operand("s", 2),), _swiglu_shapes, _swiglu_cost)
TAKE_ROWS = Op(
    "take_rows", (Operand("x", 2), Operand("rows", 1, "i32")), (), {}, (Operand("y", 2),),
    _take_rows_shapes, _take_rows_cost,
)  # fmt: skip
LOGITS = Op(
    "logits", (Operand("x", 2),), (Operand("head", 2),), {}, (Operand("logits", 2),), _logits_shapes, _logits_cost
)

TABLE: Mapping[str, Op] = MappingProxyType(
    {op.name: op for op in (EMBED, ADD_RMS_NORM, LINEAR, ROPE_STORE, ATTENTION, SWIGLU, TAKE_ROWS, LOGITS)}
)
