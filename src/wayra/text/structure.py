"""What a constrained answer must look like: plain frozen data that the offline facade, the server and the engine share.

Nothing here knows tokens; `engine/grammar` turns a GrammarSpec into a constraint on them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from wayra.base.errors import InvalidParameter

MAX_SPEC_CHARS = 1 << 18
MAX_SCHEMA_DEPTH = 128
MAX_CHOICES = 10_000


@dataclass(frozen=True, slots=True)
class JsonObject:
    """Any JSON object."""


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """JSON that a schema accepts. schema: a mapping (or true), or its JSON text, which is what is kept.

    Every keyword is enforced or refused; properties come in the schema's order. Raises InvalidParameter when it is no
    JSON object, nested deeper than MAX_SCHEMA_DEPTH or longer than MAX_SPEC_CHARS.
    """

    schema: "str | Mapping[str, object] | bool"

    def __post_init__(self) -> None:
        text = self.schema if isinstance(self.schema, str) else schema_text(self.schema)
        _check_length("the JSON schema", text)
        object.__setattr__(self, "schema", schema_text(_parsed_schema(text)))

    @property
    def text(self) -> str:
        """The schema as JSON."""
        return cast(str, self.schema)


@dataclass(frozen=True, slots=True)
class Regex:
    """Text that a regular expression matches as a whole. Raises InvalidParameter when it is empty or too long."""

    pattern: str

    def __post_init__(self) -> None:
        _check_text("the regular expression", self.pattern)


@dataclass(frozen=True, slots=True)
class Grammar:
    """Text that a context-free grammar produces. lark: in llguidance's Lark dialect, beginning at the rule `start`.

    schemas: further rules, by name: JSON that a schema accepts. They are checked as a JsonSchema is.
    Raises InvalidParameter when it is empty or too long.
    """

    lark: str
    schemas: tuple[tuple[str, JsonSchema], ...] = ()

    def __post_init__(self) -> None:
        _check_text("the grammar", self.lark)
        _check_length("the grammar", "".join([self.lark, *(schema.text for _, schema in self.schemas)]))


@dataclass(frozen=True, slots=True)
class Choice:
    """Exactly one of these texts. Raises InvalidParameter when there is none, or one is empty."""

    options: tuple[str, ...]

    def __post_init__(self) -> None:
        given = cast(object, self.options)
        if isinstance(given, str) or not isinstance(given, Sequence) or not given:
            raise InvalidParameter(f"the choices are {given!r:.60}, expected a list of at least one text")
        options = tuple(cast(Sequence[object], given))
        if len(options) > MAX_CHOICES:
            raise InvalidParameter(f"there are {len(options):,} choices, at most {MAX_CHOICES:,} are taken")
        for option in options:
            _check_text("a choice", option)
        if sum(len(cast(str, option)) for option in options) > MAX_SPEC_CHARS:
            raise InvalidParameter(f"the choices have more than {MAX_SPEC_CHARS:,} characters together; shorten them")
        object.__setattr__(self, "options", tuple(dict.fromkeys(options)))


GrammarSpec = JsonObject | JsonSchema | Regex | Grammar | Choice


def schema_text(schema: object) -> str:
    """A schema as JSON text. Raises InvalidParameter when it cannot be written as JSON."""
    try:
        return json.dumps(schema, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidParameter(f"the JSON schema is not plain data ({error!s:.100}); pass an object") from error


def _parsed_schema(text: str) -> object:
    try:
        schema: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidParameter(f"the JSON schema is not JSON ({error!s:.100}); pass an object") from error
    if schema is not True and not isinstance(cast(object, schema), dict):
        raise InvalidParameter(f"the JSON schema is {text[:40]!r}, expected an object")
    depth = _depth(schema)
    if depth > MAX_SCHEMA_DEPTH:
        raise InvalidParameter(f"the JSON schema is nested {depth:,} deep, limit is {MAX_SCHEMA_DEPTH}; flatten it")
    return schema


def _depth(value: Any) -> int:
    """Levels of nesting, found without recursion."""
    depth = 0
    level: list[Any] = [value]
    while level:
        depth += 1
        inner: list[Any] = []
        for node in level:
            if isinstance(node, dict):
                inner += cast(dict[str, Any], node).values()
            elif isinstance(node, list):
                inner += cast(list[Any], node)
        level = inner
    return depth


def _check_text(name: str, text: object) -> None:
    if not isinstance(text, str) or not text:
        raise InvalidParameter(f"{name} is {text!r:.60}, expected a text that is not empty")
    _check_length(name, text)


def _check_length(name: str, text: str) -> None:
    if len(text) > MAX_SPEC_CHARS:
        raise InvalidParameter(f"{name} has {len(text):,} characters, limit is {MAX_SPEC_CHARS:,}; shorten it")
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise InvalidParameter(f"{name} holds a lone surrogate, which is not text; write it as UTF-8")
