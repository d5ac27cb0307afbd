"""Lowers a Program to the executor's operations: every value gets a buffer in the forms its readers need.

A reader that multiplies quantised weights wants int8 groups, float16 weights words, bfloat16 weights bfloat16; every
other wants floats. Buffers share memory once the value in them is dead. The residual stream is updated in place.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from wayra.backends.native import _native
from wayra.backends.native.packing import Span, span_name
from wayra.base import formats
from wayra.base.errors import BackendError
from wayra.model.program import ArrayRef, Attr, Call, Program
from wayra.weights.tensors import ModelWeights

GROUP_LEN = 32
_BETWEEN_STRETCHES = frozenset({"attention", "logits"})
"""All threads share these; the executor takes rows through the operations between two of them without a barrier."""
_QUANTISES_OUTPUT = frozenset({"add_rms_norm", "swiglu", "take_rows"})


@dataclass(slots=True)
class _Value:
    """A value of the Program: what its readers need, and when the last of them has run.

    only_rows: nobody reads other rows than those whose logits are wanted.
    """

    ref: ArrayRef
    f32: bool = False
    int8: bool = False
    fine: bool = False
    words: bool = False
    bf16: bool = False
    last_use: int = -1
    quantised_by_producer: bool = False
    only_rows: bool = True

    @property
    def has_groups(self) -> bool:
        return self.int8 or self.words or self.bf16


_Kind = tuple[int, bool, bool, bool, bool, bool, bool]
"""What the executor is told of a buffer: columns, rows of logits, floats, int8 groups, finer ones, words, bfloat16."""


@dataclass(frozen=True, slots=True)
class _Free:
    """Memory that is free again since `stretch`, where it held rows of `kind`."""

    owner: int
    kind: _Kind
    stretch: int


@dataclass(slots=True)
class _Buffers:
    """Executor buffers of the values alive with their owner of memory and kind, and memory that is free again."""

    index: dict[int, int] = field(default_factory=dict[int, int])
    owner: dict[int, int] = field(default_factory=dict[int, int])
    kind: dict[int, _Kind] = field(default_factory=dict[int, "_Kind"])
    free: list[_Free] = field(default_factory=list[_Free])

    def take_free(self, kind: _Kind, stretch: int) -> int:
        """The owner of free memory for a value made in `stretch`, or -1.

        Threads take different rows through a stretch side by side: within one, memory goes on only to rows of the same
        kind, which lie where the old ones did.
        """
        for place, free in reversed(list(enumerate(self.free))):
            if free.stretch < stretch or free.kind == kind:
                return self.free.pop(place).owner
        return -1


def lower(program: Program, weights: ModelWeights, spans: Mapping[str, Span], model: _native.Model) -> None:
    """Add every weight, buffer and operation of the Program to `model` and finish it.

    Raises BackendError naming an operation the executor lacks.
    """
    _Lowering(program, weights, spans, model).run()


class _Lowering:
    def __init__(
        self, program: Program, weights: ModelWeights, spans: Mapping[str, Span], model: _native.Model
    ) -> None:
        self._program = program
        self._weights = weights
        self._spans = spans
        self._model = model
        self._matrices: dict[str, list[int]] = {}
        self._vectors: dict[str, int] = {}
        self._rope: tuple[str, float] | None = None
        self._aliases = _residual_aliases(program)
        self._values = self._read_values()
        self._buffers = _Buffers()
        self._stretch = 0

    def run(self) -> None:
        for number, call in enumerate(self._program.calls):
            self._stretch += call.op in _BETWEEN_STRETCHES
            self._lower_call(call)
            self._release(number)
            self._stretch += call.op in _BETWEEN_STRETCHES
        self._model.finish()

    def _home(self, ref: ArrayRef) -> int:
        """Id of the value whose buffer this one lives in."""
        return self._aliases.get(ref.id, ref.id)

    def _read_values(self) -> dict[int, _Value]:
        values: dict[int, _Value] = {}
        updated = set(self._aliases.values())
        for number, call in enumerate(self._program.calls):
            for ref in call.outputs:
                home = self._home(ref)
                value = values.setdefault(home, _Value(ref, last_use=number))
                # Groups made when the value was new would not follow an update in place.
                value.quantised_by_producer = home not in updated and _quantises_output(call)
                value.f32 |= call.op in {"attention", "embed", "linear", "rope_store"}
            for ref in call.inputs:
                value = None if ref is None else values.get(self._home(ref))
                if value is None:
                    continue  # the batch's own arrays are no values of the executor
                value.last_use = number
                self._note_read(value, call)
        return values

    def _note_read(self, value: _Value, call: Call) -> None:
        value.only_rows &= call.op == "take_rows"
        if call.op not in {"linear", "logits"}:
            value.f32 = True
            return
        for part in self._weights.matrices[str(call.weights[0])].parts:
            is_head = call.op == "logits"
            # Embeddings are made of what the head multiplies.
            value.f32 |= is_head
            match part.tensor.fmt:
                case formats.F16:
                    value.words = True
                case formats.BF16 if not is_head:
                    value.bf16 = True
                case formats.F32 | formats.BF16:
                    value.f32 = True
                case _:
                    value.int8 = True
                    # A third of all divergence from exact logits came from 8 bits here: docs/kernels.md.
                    value.fine |= is_head
        if not value.quantised_by_producer:
            value.f32 = True

    def _release(self, number: int) -> None:
        for home in [h for h in self._buffers.index if self._values[h].last_use == number]:
            index = self._buffers.index.pop(home)
            self._buffers.free.append(_Free(self._buffers.owner[index], self._buffers.kind[index], self._stretch))

    def _buffer(self, ref: ArrayRef | None) -> int:
        """The buffer of a live value, -1 for an absent one."""
        return -1 if ref is None else self._buffers.index[self._home(ref)]

    def _new_buffer(self, ref: ArrayRef) -> int:
        value = self._values[self._home(ref)]
        cols = ref.shape[1]
        assert isinstance(cols, int)
        kind = (cols, ref.shape[0] == "rows", value.f32, value.int8, value.fine, value.words, value.bf16)
        shares = self._buffers.take_free(kind, self._stretch)
        index = self._model.add_buffer(*kind, shares)
        self._buffers.kind[index] = kind
        self._buffers.owner[index] = index if shares < 0 else shares
        self._buffers.index[self._home(ref)] = index
        return index

    def _parts(self, slot: str | None) -> list[int]:
        name = str(slot)
        if name not in self._matrices:
            spans = [self._spans[span_name(name, i)] for i in range(len(self._weights.matrices[name].parts))]
            self._matrices[name] = [
                self._model.add_matrix(s.format_id, s.matrix.rows, s.matrix.cols, s.offset) for s in spans
            ]
        return self._matrices[name]

    def _vector(self, slot: str | None) -> int:
        if slot is None:
            return -1
        if slot not in self._vectors:
            self._vectors[slot] = self._model.add_vector(self._weights.vectors[slot])
        return self._vectors[slot]

    def _quantise_input(self, call: Call) -> bool:
        ref = call.inputs[0]
        assert ref is not None
        value = self._values[self._home(ref)]
        return value.has_groups and not value.quantised_by_producer

    def _lower_call(self, call: Call) -> None:
        match call.op:
            case "embed":
                self._model.embed(self._only_part(call), self._new_buffer(call.outputs[0]))
            case "add_rms_norm":
                self._lower_norm(call)
            case "linear":
                out = self._new_buffer(call.outputs[0])
                bias = self._vector(call.weights[1])
                parts = self._parts(call.weights[0])
                self._model.linear(self._buffer(call.inputs[0]), out, parts, bias, self._quantise_input(call))
            case "rope_store":
                self._lower_rope(call)
            case "attention":
                self._lower_attention(call)
            case "swiglu":
                self._model.swiglu(self._buffer(call.inputs[0]), self._new_buffer(call.outputs[0]))
            case "take_rows":
                self._model.take_rows(self._buffer(call.inputs[0]), self._new_buffer(call.outputs[0]))
            case "logits":
                self._model.logits(self._buffer(call.inputs[0]), self._only_part(call), self._quantise_input(call))
            case _:
                raise BackendError(f"the native backend has no operation {call.op!r}")

    def _only_part(self, call: Call) -> int:
        (part,) = self._parts(call.weights[0])
        return part

    def _lower_norm(self, call: Call) -> None:
        x, delta = self._buffer(call.inputs[0]), self._buffer(call.inputs[1])
        out = self._new_buffer(call.outputs[1])
        self._model.add_rms_norm(x, delta, self._vector(call.weights[0]), _number(call.attrs, "eps"), out)

    def _lower_rope(self, call: Call) -> None:
        rope = (str(call.weights[0]), _number(call.attrs, "magnitude"))
        if self._rope is None:
            self._rope = rope
            self._model.set_rope(self._vector(rope[0]), rope[1])
        if rope != self._rope:
            raise BackendError("the native backend rotates every layer alike; this Program does not")
        heads = [_integer(call.attrs, n) for n in ("num_heads", "num_kv_heads", "head_dim", "rotary_dim")]
        qkv, out = self._buffer(call.inputs[0]), self._new_buffer(call.outputs[0])
        self._model.rope_store(qkv, out, _integer(call.attrs, "layer"), heads)

    def _lower_attention(self, call: Call) -> None:
        heads = [_integer(call.attrs, n) for n in ("num_heads", "num_kv_heads", "head_dim")]
        window = 0 if call.attrs["window"] is None else _integer(call.attrs, "window")
        q, out = self._buffer(call.inputs[0]), self._new_buffer(call.outputs[0])
        scale = _number(call.attrs, "scale")
        only_rows = self._values[self._home(call.outputs[0])].only_rows
        self._model.attention(q, out, _integer(call.attrs, "layer"), heads, scale, window, only_rows)


def _quantises_output(call: Call) -> bool:
    whole_heads = call.op == "attention" and _integer(call.attrs, "head_dim") % GROUP_LEN == 0
    return whole_heads or call.op in _QUANTISES_OUTPUT


def _residual_aliases(program: Program) -> dict[int, int]:
    """add_rms_norm returns the residual it was given, updated: both are one buffer, the first one's.

    Raises BackendError where a residual is read after its update.
    """
    aliases: dict[int, int] = {}
    overwritten: set[int] = set()
    for number, call in enumerate(program.calls):
        if any(ref is not None and ref.id in overwritten for ref in call.inputs):
            raise BackendError(f"call {number} ({call.op}) reads a residual that the native backend updated in place")
        if call.op == "add_rms_norm":
            source = call.inputs[0]
            assert source is not None
            home = aliases.get(source.id, source.id)
            if call.inputs[1] is not None:
                overwritten |= {home, *(value for value, other in aliases.items() if other == home)}
            aliases[call.outputs[0].id] = home
    return aliases


def _integer(attrs: Mapping[str, Attr], name: str) -> int:
    value = attrs[name]
    assert isinstance(value, int)
    return value


def _number(attrs: Mapping[str, Attr], name: str) -> float:
    value = attrs[name]
    assert isinstance(value, int | float)
    return float(value)
