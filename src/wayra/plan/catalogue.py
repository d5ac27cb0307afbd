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
    """All candidates, or those named, in any spelling of a model. Raises InvalidParameter on an unknown name."""
    wanted = {_known_id(name) for name in names}
    return tuple(row for row in _all().values() if not names or row.id in wanted)


def _known_id(name: str) -> str:
    known = _all()
    key = name.strip().lower().replace(" ", "-")
    try:
        found = key if key in known else architecture(name).name
    except (InvalidParameter, UnsupportedModel):
        found = ""
    if found not in known:
        near = difflib.get_close_matches(key, known, n=3)
        told = f"nearest: {', '.join(near)}" if near else f"there are {', '.join(known)}"
        raise InvalidParameter(f"there is no model {name[:80]!r} to plan with; {told}")
    return found


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
