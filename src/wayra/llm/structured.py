"""What callers may pass as `structured`: specs, JSON schemas, and types whose schema is derived."""

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any, cast, get_origin, is_typeddict

import msgspec

from wayra.base.errors import InvalidParameter
from wayra.text.structure import Choice, Grammar, GrammarSpec, JsonObject, JsonSchema, Regex

Structured = GrammarSpec | Mapping[str, object] | type
"""A spec, a JSON schema, or a type that has one: msgspec Struct, dataclass, TypedDict, pydantic model, list[int].

Objects of types have no keys beyond those declared.
"""


def as_spec(structured: object) -> GrammarSpec:
    """The spec of what a caller passed. Raises InvalidParameter for anything that gives no schema."""
    if isinstance(structured, JsonObject | JsonSchema | Regex | Grammar | Choice):
        return structured
    if isinstance(structured, Mapping):
        return JsonSchema(cast(Mapping[str, object], structured))
    if isinstance(structured, type) or get_origin(structured) is not None:
        return JsonSchema(_closed(_schema_of(structured)))
    raise InvalidParameter(
        f"structured is {structured!r:.80}, expected a JSON schema, a type, or a JsonObject, JsonSchema, Regex, "
        "Grammar or Choice"
    )


def _schema_of(given: Any) -> dict[str, Any]:
    # msgspec takes these for "anything".
    if given is object or given in (set, frozenset, bytes, bytearray, memoryview, tuple):
        raise InvalidParameter(f"structured is the type {given.__name__}, which has no JSON schema; describe it by one")
    try:
        if hasattr(given, "model_json_schema"):
            return given.model_json_schema()
        return msgspec.json.schema(given)
    except (TypeError, ValueError, NameError, RecursionError) as error:
        kind = "dataclass" if is_dataclass(given) else "TypedDict" if is_typeddict(given) else "type"
        raise InvalidParameter(f"the {kind} {given!r:.60} has no JSON schema ({error!s:.200}); pass one") from error


def _closed(schema: Any) -> Any:
    """The schema with no further keys in objects whose properties are listed."""
    if isinstance(schema, list):
        return [_closed(item) for item in cast(list[Any], schema)]
    if not isinstance(schema, dict):
        return schema
    fields = cast(dict[str, Any], schema)
    closed = {key: _closed(value) for key, value in fields.items()}
    if fields.get("type") == "object" and "properties" in fields:
        closed.setdefault("additionalProperties", False)
    return closed
