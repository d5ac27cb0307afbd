"""What a step costs at least: the operation table's formulas summed over a Program.

The planner's predictions and the "percentage of the limit" of every benchmark come from here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from wayra.base.errors import InvalidParameter
from wayra.model import families
from wayra.model.ops import FLOAT_BYTES, TABLE, CallShapes, OpCost, StepSize
from wayra.model.program import Call, Program
from wayra.model.slots import Slot

KV_BYTES: Mapping[str, int] = {"f32": 4, "f16": 2, "bf16": 2, "int8": 1, "int16": 2}
KV_SCALE_BYTES: Mapping[str, int] = {"f32": 0, "f16": 0, "bf16": 0, "int8": 4, "int16": 4}
"""Of each head of a token's key, and of its value."""


@dataclass(frozen=True, slots=True)
class Cost:
    """FLOPs (a multiply-add is two) and bytes moved. Weights count as often as the Program names them."""

    flops: float = 0.0
    weight_bytes: float = 0.0
    kv_read_bytes: int = 0
    kv_written_bytes: int = 0
    activation_bytes: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.flops + other.flops,
            self.weight_bytes + other.weight_bytes,
            self.kv_read_bytes + other.kv_read_bytes,
            self.kv_written_bytes + other.kv_written_bytes,
            self.activation_bytes + other.activation_bytes,
        )

    @property
    def memory_bytes(self) -> float:
        """Weights and KV: what cannot stay in a cache. Activations of a step usually do."""
        return self.weight_bytes + self.kv_read_bytes + self.kv_written_bytes


@dataclass(frozen=True, slots=True)
class StepCost(Cost):
    """The cost of a whole step, and of each operation in it."""

    by_op: Mapping[str, Cost] = field(default_factory=dict[str, Cost])


WeightBits = float | Mapping[str, float]
"""Bits a stored weight: one number for every matrix, or one for each matrix slot. Vectors are float32."""


def cost(
    program: Program,
    *,
    tokens: int | Sequence[int],
    rows: int,
    kv_lens: Sequence[int],
    weight_bits: WeightBits,
    kv_dtype: str = "bf16",
) -> StepCost:
    """Sum FLOPs and bytes of one step.

    tokens: those of each sequence, or a total that the sequences share evenly. rows: logit rows wanted.
    kv_lens: keys of each sequence once the step's tokens are stored.
    Prefill of n tokens: tokens=n, rows=1, kv_lens=[n]; decode of a batch: tokens=rows=len(kv_lens).
    Raises: InvalidParameter when these disagree or a slot's bits are missing.
    """
    by_op: dict[str, Cost] = {}
    costs = call_costs(program, step_size(tokens, rows, kv_lens, kv_dtype), weight_bits)
    for call, found in zip(program.calls, costs, strict=True):
        by_op[call.op] = by_op.get(call.op, Cost()) + found
    total = sum(by_op.values(), Cost())
    return StepCost(
        total.flops,
        total.weight_bytes,
        total.kv_read_bytes,
        total.kv_written_bytes,
        total.activation_bytes,
        by_op,
    )


def call_costs(program: Program, step: StepSize, weight_bits: WeightBits) -> tuple[Cost, ...]:
    """The cost of each call, in the Program's order. Raises InvalidParameter when a slot's bits are missing."""
    slots = {slot.name: slot for slot in families.slots(program.spec)}
    wanted, read = _wanted(step), _read_whole(program)
    return tuple(
        _call_cost(
            call, slots, wanted if call.op == "attention" and call.outputs[0].id not in read else step, weight_bits
        )
        for call in program.calls
    )


def _read_whole(program: Program) -> frozenset[int]:
    """Ids of the values of which more is read than the rows whose logits are wanted."""
    return frozenset(
        ref.id for call in program.calls if call.op != "take_rows" for ref in call.inputs if ref is not None
    )


def _wanted(step: StepSize) -> StepSize:
    """The part of a step that rows of logits depend on alone: the last tokens of each sequence, as evenly as can be."""
    share, rest = divmod(step.rows, len(step.kv_lens))
    counts = [min(length, share + (i < rest)) for i, length in enumerate(step.query_lens)]
    lens = [(count, kv) for count, kv in zip(counts, step.kv_lens, strict=True) if count]
    return replace(step, tokens=step.rows, query_lens=tuple(q for q, _ in lens), kv_lens=tuple(kv for _, kv in lens))


def step_size(tokens: int | Sequence[int], rows: int, kv_lens: Sequence[int], kv_dtype: str) -> StepSize:
    """Check and bundle the size of a step. Raises InvalidParameter."""
    if isinstance(tokens, int):
        share, rest = divmod(tokens, len(kv_lens) or 1)
        if rest:
            raise InvalidParameter(f"{tokens} tokens cannot be shared evenly by {len(kv_lens)} sequences; give a list")
        tokens = [share] * len(kv_lens)
    if not kv_lens or len(tokens) != len(kv_lens):
        raise InvalidParameter(f"{len(tokens)} token counts for {len(kv_lens)} sequences; expected one each")
    if any(not 1 <= q <= kv for q, kv in zip(tokens, kv_lens, strict=True)):
        raise InvalidParameter("a sequence has between one token and its KV length in a step")
    if not 0 <= rows <= sum(tokens):
        raise InvalidParameter(f"{rows} logit rows of {sum(tokens)} tokens")
    if kv_dtype not in KV_BYTES:
        raise InvalidParameter(f"kv_dtype {kv_dtype!r} is unknown; expected one of {', '.join(KV_BYTES)}")
    return StepSize(sum(tokens), rows, tuple(tokens), tuple(kv_lens), KV_BYTES[kv_dtype], KV_SCALE_BYTES[kv_dtype])


def _call_cost(call: Call, slots: Mapping[str, Slot], step: StepSize, weight_bits: WeightBits) -> Cost:
    entry = TABLE[call.op]
    shapes = CallShapes(
        tuple(None if ref is None else ref.shape for ref in call.inputs),
        tuple(None if name is None else slots[name].shape for name in call.weights),
        call.attrs,
    )
    found: OpCost = entry.cost(shapes, tuple(ref.shape for ref in call.outputs), step)
    weight_bytes = sum(
        count * slot_bits(slots[name], weight_bits) / 8
        for name, count in zip(call.weights, found.weights_read, strict=True)
        if name is not None
    )
    return Cost(found.flops, weight_bytes, found.kv_read, found.kv_written, found.activations)


def slot_bits(slot: Slot, weight_bits: WeightBits) -> float:
    """Bits a weight of this slot. Raises InvalidParameter when the mapping lacks a matrix."""
    if slot.kind == "vector":
        return 8.0 * FLOAT_BYTES
    if isinstance(weight_bits, Mapping):
        if slot.name not in weight_bits:
            raise InvalidParameter(f"weight_bits lacks slot {slot.name!r}; give its bits a weight")
        return weight_bits[slot.name]
    return float(weight_bits)


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes a loaded model needs. activation_bytes: the largest sum of values alive at once in a step."""

    weight_bytes: float
    kv_bytes_per_token: int
    activation_bytes: int


def memory(program: Program, *, tokens: int, rows: int, weight_bits: WeightBits, kv_dtype: str = "bf16") -> MemoryNeed:
    """What weights, KV cache and a step of this size take at least. Raises InvalidParameter."""
    spec = program.spec
    step = step_size([tokens], rows, [tokens], kv_dtype)
    weight_bytes = 0.0
    for slot in families.slots(spec):
        weight_bytes += step.count(slot.shape) * slot_bits(slot, weight_bits) / 8
    kv_bytes = spec.num_layers * step.kept_bytes(spec.num_kv_heads, spec.head_dim)
    return MemoryNeed(weight_bytes, kv_bytes, _peak_activation_bytes(program, step))


def _peak_activation_bytes(program: Program, step: StepSize) -> int:
    last_use = {ref.id: i for i, call in enumerate(program.calls) for ref in call.inputs if ref is not None}
    last_use[program.output.id] = len(program.calls)
    alive: dict[int, int] = {}
    peak = 0
    for i, call in enumerate(program.calls):
        alive.update({ref.id: FLOAT_BYTES * step.count(ref.shape) for ref in call.outputs})
        peak = max(peak, sum(alive.values()))
        alive = {ref_id: size for ref_id, size in alive.items() if last_use.get(ref_id, -1) > i}
    return peak
