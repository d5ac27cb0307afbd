"""The models a plan may choose, with licence, context and where their tokens are sold."""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from types import MappingProxyType

from wayra.base.errors import InvalidParameter


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model. tunable: its weights, or its vendor's own service, can be fine-tuned. sold: (provider, name there).

    hub: the repository of its 16-bit weights; gguf: of its GGUF files; "" where none is known here.
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


def candidates(names: tuple[str, ...] = ()) -> tuple[Candidate, ...]:
    """All candidates, or those named. Raises InvalidParameter on an unknown name, with the nearest."""
    known = _all()
    for name in names:
        if name not in known:
            near = ", ".join(difflib.get_close_matches(name, known, n=3) or known)
            raise InvalidParameter(f"there is no model {name!r} to plan with; nearest: {near}")
    return tuple(row for row in known.values() if not names or row.id in names)


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
            )
            for row in document["model"]
        }
    )
