"""The models a plan may choose, with licence, context and where their tokens are sold."""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from types import MappingProxyType

from wayra.base.errors import InvalidParameter, UnsupportedModel
from wayra.plan.models import architecture


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model. tunable: its weights, or its vendor's own service, can be fine-tuned. sold: (provider, name there).

    hub: the repository of its 16-bit weights; fp8, int4: of those quantised for cards; gguf: of its GGUF files; ""
    where none is known here.
    """

    id: str
    title: str
    open_weights: bool
    tunable: bool
    licence: str
    context_len: int
    sold: tuple[tuple[str, str], ...]
    hub: str = ""
    gguf: str = ""
    fp8: str = ""
    int4: str = ""


def candidates(names: tuple[str, ...] = ()) -> tuple[Candidate, ...]:
    """All candidates, or those named, in any spelling of a model: of the table of shapes too, where it is open.

    Raises: InvalidParameter on an unknown name.
    """
    if not names:
        return tuple(_all().values())
    wanted = {found.id: found for found in (_named(name) for name in names)}
    known = tuple(row for row in _all().values() if row.id in wanted)
    return *known, *(row for row in wanted.values() if row.id not in _all())


def _named(name: str) -> Candidate:
    known = _all()
    key = name.strip().lower().replace(" ", "-")
    if key in known:
        return known[key]
    try:
        shape = architecture(name)
        if shape.note.startswith("hypothetical"):
            raise UnsupportedModel(f"{shape.title} is no model that exists")
    except (InvalidParameter, UnsupportedModel):
        near = difflib.get_close_matches(key, known, n=3)
        told = f"nearest: {', '.join(near)}" if near else f"there are {', '.join(known)}"
        raise InvalidParameter(f"there is no model {name[:80]!r} to plan with; {told}") from None
    return known.get(shape.name) or Candidate(
        id=shape.name,
        title=shape.title,
        open_weights=True,
        tunable=True,
        licence="not known here, see its model card",
        context_len=shape.context_len,
        sold=(),
    )


@lru_cache(maxsize=1)
def _all() -> Mapping[str, Candidate]:
    document = tomllib.loads(resources.files("wayra.plan").joinpath("data/models.toml").read_text("utf-8"))
    return MappingProxyType(
        {
            row["id"]: Candidate(
                row["id"],
                row["title"],
                row["open_weights"],
                row["tunable"],
                row["licence"],
                row["context"],
                tuple((provider, name) for provider, name in row.get("sold", [])),
                row.get("hub", ""),
                row.get("gguf", ""),
                row.get("fp8", ""),
                row.get("int4", ""),
            )
            for row in document["model"]
        }
    )
