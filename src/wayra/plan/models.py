"""The models that the planner knows by name: the dated table shipped with the package, however a name is spelled."""

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import lru_cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from wayra.base.errors import InvalidParameter, UnsupportedModel
from wayra.plan.architecture import Architecture, Experts, from_spec
from wayra.plan.configs.reader import from_config

__all__ = ["Architecture", "Experts", "architecture", "architectures", "from_spec"]


def architecture(name: str) -> Architecture:
    """A shipped description by name or alias, however it is spelled.

    Raises: UnsupportedModel where the weights are closed, InvalidParameter on an unknown name, with the nearest.
    """
    table, aliases = _shipped()
    key = name.strip().lower()
    found = table.get(aliases.get(key, key)) or table.get(aliases.get(spelled := _as_key(key), spelled))
    if found is None and (vendor := _closed(key)):
        raise UnsupportedModel(
            f"{name[:80]!r} cannot be run on hardware of one's own: {vendor} has not published its weights; "
            "wayra plan weighs closed models by the prices of their APIs"
        )
    if found is None:
        near = difflib.get_close_matches(key[:80], [*table, *aliases], n=3, cutoff=0.4)
        told = f"nearest: {', '.join(near)}" if near else "it knows llama-3.1-8b, mixtral-8x7b and others like these"
        raise InvalidParameter(
            f"the planner knows no model {name[:80]!r}; {told}; or give a config.json or a GGUF file"
        )
    return found


def _as_key(name: str) -> str:
    """ "Llama 3.1 70B Instruct" and "meta-llama/Llama-3.1-70B-Instruct" as the table writes them."""
    last = name.rpartition("/")[2].replace(" ", "-").replace("_", "-").removeprefix("meta-")
    return _TUNED.sub("", last)


_TUNED = re.compile(r"-(instruct|chat|base|hf|it)\b")
_CLOSED: Mapping[str, str] = MappingProxyType(
    {
        r"gpt-?(3|3\.5|4|4o|4\.1|5)\b(?!.*oss)": "OpenAI",
        r"chatgpt\b": "OpenAI",
        r"claude\b": "Anthropic",
        r"gemini\b": "Google",
        r"palm\b": "Google",
        r"rt-?2\b": "Google DeepMind",
        r"alphaproof\b": "Google DeepMind",
        r"grok-?(1\.5|3|4)": "xAI",
    }
)


def _closed(name: str) -> str:
    """Whose model this is, if its weights were never published; else ""."""
    plain = name.rpartition("/")[2].replace(" ", "-").replace("_", "-")
    return next((vendor for pattern, vendor in _CLOSED.items() if re.match(pattern, plain)), "")


def architectures() -> tuple[Architecture, ...]:
    """All shipped descriptions."""
    return tuple(_shipped()[0].values())


@lru_cache(maxsize=1)
def _shipped() -> tuple[Mapping[str, Architecture], Mapping[str, str]]:
    document = tomllib.loads(resources.files("wayra.plan").joinpath("data/architectures.toml").read_text("utf-8"))
    known = {field.name for field in fields(Architecture)}
    table: dict[str, Architecture] = {}
    aliases: dict[str, str] = {}
    for row in document["architecture"]:
        given = {key: value for key, value in row.items() if key in known and key != "experts"}
        if "experts" in row:
            given["experts"] = Experts(**row["experts"])
        if "config" in row:
            made = replace(from_config(row["config"], name=row["name"], source=row["source"]), **_said(row))
        elif "like" in row:
            made = replace(table[row["like"]], **given)
        else:
            made = Architecture(**given)
        table[made.name] = made
        aliases.update(dict.fromkeys(row.get("aliases", ()), made.name))
    return MappingProxyType(table), MappingProxyType(aliases)


def _said(row: Mapping[str, Any]) -> dict[str, Any]:
    """Of a row with a config, what is told of it besides."""
    return {key: row[key] for key in ("title", "as_of", "verified", "note") if key in row}
