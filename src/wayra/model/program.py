"""The recorded Program: a flat list of calls into the operation table, with shapes, weights and effects."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from wayra.model.spec import ModelSpec

Dim = int | Literal["tokens", "rows"]
Attr = int | float | str | bool | None


@dataclass(frozen=True, slots=True)
class ArrayRef:
    """A value of the Program. `id` is unique; "tokens" and "rows" are fixed by the batch of a step."""

    id: int
    shape: tuple[Dim, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Call:
    """One operation.

    inputs: arrays read; None where an optional input is absent.
    weights: slot names, in the order the operation's table entry gives; None where an optional weight is absent.
    effects: what it writes besides its outputs, e.g. ("kv",).
    """

    op: str
    inputs: tuple[ArrayRef | None, ...]
    weights: tuple[str | None, ...]
    attrs: Mapping[str, Attr]
    outputs: tuple[ArrayRef, ...]
    effects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """inputs: the batch arrays by name ("token_ids", "positions", "logit_rows"). output: the logits, [rows, vocab]."""

    spec: ModelSpec
    inputs: Mapping[str, ArrayRef]
    calls: tuple[Call, ...]
    output: ArrayRef
