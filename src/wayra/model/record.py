"""The recorder: runs a family's forward once over symbolic arrays and keeps the calls as a Program."""

from collections.abc import Mapping
from types import MappingProxyType

from wayra.base.errors import ShapeError
from wayra.model import families
from wayra.model.ops import TABLE, CallShapes
from wayra.model.program import ArrayRef, Attr, Call, Dim, Program
from wayra.model.spec import ModelSpec
from wayra.model.verify import verify
from wayra.model.vocabulary import Ops


def record(spec: ModelSpec) -> Program:
    """The verified Program of a model. Raises UnsupportedModel on an unknown family, ShapeError if shapes disagree."""
    recorder = Recorder(spec)
    inputs = {
        "token_ids": recorder.new_array(("tokens",), "i32"),
        "positions": recorder.new_array(("tokens",), "i32"),
        "logit_rows": recorder.new_array(("rows",), "i32"),
    }
    output = families.forward(recorder, spec, inputs["token_ids"], inputs["positions"], inputs["logit_rows"])
    program = Program(spec, MappingProxyType(inputs), tuple(recorder.calls), output)
    verify(program)
    return program


class Recorder(Ops[ArrayRef]):
    """Operations over symbolic arrays: each call is appended to `calls`, its outputs get shapes and fresh ids."""

    def __init__(self, spec: ModelSpec) -> None:
        self.calls: list[Call] = []
        self._num_arrays = 0
        self._weight_shapes = {slot.name: slot.shape for slot in families.slots(spec)}

    def new_array(self, shape: tuple[Dim, ...], dtype: str) -> ArrayRef:
        """A value nothing has produced yet: an input of the Program, or the output of the next call."""
        self._num_arrays += 1
        return ArrayRef(self._num_arrays - 1, shape, dtype)

    def call(
        self,
        op: str,
        inputs: tuple[ArrayRef | None, ...],
        weights: tuple[str | None, ...],
        attrs: Mapping[str, Attr],
    ) -> tuple[ArrayRef, ...]:
        entry = TABLE[op]
        shapes = CallShapes(
            tuple(None if a is None else a.shape for a in inputs),
            tuple(None if w is None else self._weight_shape(op, w) for w in weights),
            attrs,
        )
        out_shapes = entry.shapes(shapes)
        outputs = tuple(self.new_array(s, o.dtype) for s, o in zip(out_shapes, entry.outputs, strict=True))
        self.calls.append(Call(op, inputs, weights, MappingProxyType(dict(attrs)), outputs, entry.writes))
        return outputs

    def _weight_shape(self, op: str, name: str) -> tuple[int, ...]:
        if name not in self._weight_shapes:
            raise ShapeError(f"{op} asks for weight {name!r}, which the family does not declare in its slots")
        return self._weight_shapes[name]
