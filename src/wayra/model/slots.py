"""A slot: one weight a family asks for. The weights room fills slots, Programs and backends refer to them by name."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Slot:
    """One weight of a model.

    kind: a "matrix" keeps its storage format and has shape (out_features, in_features); a "vector" is float32.
    parts: names of the matrices stacked along the rows, in order, when the slot holds several.
    optional: a model may lack it; Programs then name no weight in its place.
    """

    name: str
    kind: Literal["matrix", "vector"]
    shape: tuple[int, ...]
    parts: tuple[str, ...] = ()
    optional: bool = False
