"""Checks a Program before any backend trusts it: shapes, order of definition, weights, effects."""

from wayra.base.errors import ShapeError
from wayra.model import families
from wayra.model.ops import TABLE, CallShapes, Op, Operand
from wayra.model.program import ArrayRef, Attr, Call, Program

INPUTS = {"token_ids": ("tokens",), "positions": ("tokens",), "logit_rows": ("rows",)}


def verify(program: Program) -> None:
    """Raises ShapeError naming the first call that is wrong.

    Holds afterwards: every operation is in the table with the operands, attributes and effects of its entry; every
    value is defined once and before use, with the shape the table derives; every weight is a slot of the family, used
    in the kind its operation expects; each layer's cache is written before it is read; the output is [rows, vocab].
    """
    _check_inputs(program)
    slots = {slot.name: slot for slot in families.slots(program.spec)}
    defined: dict[int, ArrayRef] = {ref.id: ref for ref in program.inputs.values()}
    stored: dict[tuple[str, Attr], tuple[Attr, Attr]] = {}
    for index, call in enumerate(program.calls):
        where = f"call {index} ({call.op})"
        entry = TABLE.get(call.op)
        if entry is None:
            raise ShapeError(f"{where}: no such operation in the table")
        _check_operands(where, call, entry)
        _check_attrs(where, call, entry, program.spec.num_layers)
        for ref in call.inputs:
            if ref is not None and defined.get(ref.id) != ref:
                raise ShapeError(f"{where}: reads value {ref.id}, which nothing before it defines with that shape")
        for name in call.weights:
            if name is not None and name not in slots:
                raise ShapeError(f"{where}: weight {name!r} is not a slot of family {program.spec.family!r}")
        weights = tuple(None if name is None else slots[name].shape for name in call.weights)
        _check_ranks(where, tuple(weights), entry.weights)
        _check_outputs(where, call, entry, weights)
        for ref in call.outputs:
            if ref.id in defined:
                raise ShapeError(f"{where}: defines value {ref.id} a second time")
            defined[ref.id] = ref
        _check_effects(where, call, entry, stored)
    _check_output(program, defined)


def _check_inputs(program: Program) -> None:
    found = {name: ref.shape for name, ref in program.inputs.items()}
    if found != INPUTS or any(ref.dtype != "i32" for ref in program.inputs.values()):
        raise ShapeError(f"the inputs are {found}; expected i32 {INPUTS}")
    if len({ref.id for ref in program.inputs.values()}) != len(INPUTS):
        raise ShapeError("two inputs have the same id")


def _check_operands(where: str, call: Call, entry: Op) -> None:
    for kind, given, wanted in (("inputs", call.inputs, entry.inputs), ("weights", call.weights, entry.weights)):
        if len(given) != len(wanted):
            raise ShapeError(f"{where}: has {len(given)} {kind}, expected {len(wanted)}")
        for value, operand in zip(given, wanted, strict=True):
            if value is None and not operand.optional:
                raise ShapeError(f"{where}: {kind[:-1]} {operand.name} is absent but not optional")
    for ref, operand in zip(call.inputs, entry.inputs, strict=True):
        if ref is not None and ref.dtype != operand.dtype:
            raise ShapeError(f"{where}: input {operand.name} is {ref.dtype}, expected {operand.dtype}")
    _check_ranks(where, tuple(None if ref is None else ref.shape for ref in call.inputs), entry.inputs)


def _check_ranks(where: str, shapes: tuple[tuple[object, ...] | None, ...], operands: tuple[Operand, ...]) -> None:
    for shape, operand in zip(shapes, operands, strict=True):
        if shape is not None and len(shape) != operand.rank:
            raise ShapeError(f"{where}: {operand.name} has shape {shape}, expected {operand.rank} dimensions")


def _check_attrs(where: str, call: Call, entry: Op, num_layers: int) -> None:
    if set(call.attrs) != set(entry.attrs):
        raise ShapeError(f"{where}: has attributes {sorted(call.attrs)}, expected {sorted(entry.attrs)}")
    for name, rule in entry.attrs.items():
        if not rule.accepts(call.attrs[name]):
            raise ShapeError(f"{where}: attribute {name} is {call.attrs[name]!r}, expected {rule.type.__name__}")
    layer = call.attrs.get("layer", 0)
    if not (isinstance(layer, int) and 0 <= layer < num_layers):
        raise ShapeError(f"{where}: layer {layer} of a model of {num_layers} layers")


def _check_outputs(where: str, call: Call, entry: Op, weights: tuple[tuple[int, ...] | None, ...]) -> None:
    try:
        shapes = entry.shapes(
            CallShapes(tuple(None if ref is None else ref.shape for ref in call.inputs), weights, call.attrs)
        )
    except ShapeError as error:
        raise ShapeError(f"{where}: {error}") from None
    found = tuple(ref.shape for ref in call.outputs)
    if found != shapes:
        raise ShapeError(f"{where}: declares outputs of shape {found}, the table derives {shapes}")
    for ref, operand in zip(call.outputs, entry.outputs, strict=True):
        if ref.dtype != operand.dtype:
            raise ShapeError(f"{where}: output {operand.name} is {ref.dtype}, expected {operand.dtype}")


def _check_effects(where: str, call: Call, entry: Op, stored: dict[tuple[str, Attr], tuple[Attr, Attr]]) -> None:
    """stored: for (effect, layer) of the calls so far, the KV heads and their size; updated with this call."""
    if call.effects != entry.writes:
        raise ShapeError(f"{where}: declares effects {call.effects}, the table says {entry.writes}")
    layer, heads = call.attrs.get("layer"), (call.attrs.get("num_kv_heads"), call.attrs.get("head_dim"))
    for effect in entry.reads:
        if (effect, layer) not in stored:
            raise ShapeError(f"{where}: reads the {effect} of layer {layer} before anything writes it")
        if stored[effect, layer] != heads:
            raise ShapeError(f"{where}: reads {effect} as (heads, size) {heads}, written as {stored[effect, layer]}")
    for effect in entry.writes:
        if (effect, layer) in stored:
            raise ShapeError(f"{where}: writes the {effect} of layer {layer} a second time")
        stored[effect, layer] = heads


def _check_output(program: Program, defined: dict[int, ArrayRef]) -> None:
    output = program.output
    if defined.get(output.id) != output:
        raise ShapeError(f"the output, value {output.id}, is never defined with that shape")
    if output.shape != ("rows", program.spec.vocab_size) or output.dtype != "f32":
        raise ShapeError(f"the output is {output.dtype} {output.shape}, expected f32 (rows, {program.spec.vocab_size})")
