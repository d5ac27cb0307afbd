"""One file a model family: the weights it asks for (`slots`) and its forward over the operations."""

from wayra.base.errors import UnsupportedModel
from wayra.model.families import llama
from wayra.model.slots import Slot
from wayra.model.spec import ModelSpec
from wayra.model.vocabulary import A, Ops

__all__ = ["forward", "slots"]


def slots(spec: ModelSpec) -> tuple[Slot, ...]:
    """Every weight a model of this spec has. Raises UnsupportedModel on an unknown family."""
    if spec.family == "llama":
        return llama.slots(spec)
    raise _unknown(spec.family)


def forward(ops: Ops[A], spec: ModelSpec, token_ids: A, positions: A, logit_rows: A) -> A:
    """Run the forward of the spec's family. Raises UnsupportedModel on an unknown family."""
    if spec.family == "llama":
        return llama.forward(ops, spec, token_ids, positions, logit_rows)
    raise _unknown(spec.family)


def _unknown(family: str) -> UnsupportedModel:
    return UnsupportedModel(f"model family {family!r} is not supported; wayra runs: llama")
