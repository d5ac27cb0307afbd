"""JSON Schema is enforced or refused: closes the gaps between what llguidance accepts and what it makes sure of."""

from collections.abc import Mapping
from typing import Any, cast

from wayra.base.errors import InvalidParameter

MAX_PROPERTIES = 1000
"""Of one object. A mask takes the square of the optional ones: 4 ms for a thousand."""

_DATA = frozenset({"const", "enum", "default", "examples"})
_NAME_MAPS = frozenset({"properties", "patternProperties", "$defs", "definitions"})

_YEAR = "([0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
_LEAP_YEAR = "([0-9]{2}(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)"
_DATE = (
    f"({_YEAR}-(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|{_YEAR}-(0[469]|11)-(0[1-9]|[12][0-9]|30)"
    f"|{_YEAR}-02-(0[1-9]|1[0-9]|2[0-8])|{_LEAP_YEAR}-02-29)"
)
_TIME = r"(([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9]))"

# llguidance's own take the 29th of February of any year and leap seconds at any minute.
_FORMATS = {"date": f"^{_DATE}$", "time": f"^{_TIME}$", "date-time": f"^{_DATE}T{_TIME}$"}


def enforceable(schema: object) -> dict[str, Any]:
    """A schema of equal or narrower meaning that llguidance enforces in full, or itself refuses.

    Raises InvalidParameter naming what cannot be enforced and where.
    """
    if schema is True:
        return {}
    if not isinstance(schema, Mapping):
        raise InvalidParameter(f"the JSON schema is a {type(schema).__name__}, expected an object")
    return _schema(cast(Mapping[str, Any], schema), "#")


def _schema(schema: Mapping[str, Any], path: str) -> dict[str, Any]:
    _check(schema, path)
    narrowed = {key: _keyword(key, value, f"{path}/{key}") for key, value in schema.items()}
    pattern = _FORMATS.get(schema["format"]) if isinstance(schema.get("format"), str) else None
    if pattern is not None:
        del narrowed["format"]
        others = narrowed.get("allOf", [])
        narrowed["allOf"] = [*(cast(list[Any], others) if isinstance(others, list) else [others]), {"pattern": pattern}]
    return narrowed


def _keyword(key: str, value: Any, path: str) -> Any:
    if key in _DATA:
        return value
    if key in _NAME_MAPS and isinstance(value, Mapping):
        schemas = cast(Mapping[str, Any], value)
        return {name: _value(schema, f"{path}/{name}") for name, schema in schemas.items()}
    return _value(value, path)


def _value(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        return _schema(cast(Mapping[str, Any], value), path)
    if isinstance(value, list):
        return [_value(item, f"{path}/{i}") for i, item in enumerate(cast(list[Any], value))]
    return value


def _check(schema: Mapping[str, Any], path: str) -> None:
    if "x-guidance" in schema:
        raise InvalidParameter(f"the JSON schema has 'x-guidance' at {path}, which is not supported; remove it")
    if "$id" in schema and path != "#":
        raise InvalidParameter(f"the JSON schema has '$id' at {path}, supported is only the outermost; remove it")
    properties = schema.get("properties")
    names = set(cast(Mapping[str, Any], properties)) if isinstance(properties, Mapping) else set[str]()
    if len(names) > MAX_PROPERTIES:
        raise InvalidParameter(f"the JSON schema has {len(names):,} properties at {path}, limit is {MAX_PROPERTIES:,}")
    least = schema.get("minProperties")
    required = schema.get("required")
    if not isinstance(least, int | float) or least <= 1:
        return
    num_sure = len({str(name) for name in cast(list[Any], required)} & names) if isinstance(required, list) else 0
    # Additional keys may repeat, and so count less than they are.
    if least > num_sure and (schema.get("additionalProperties") is not False or "patternProperties" in schema):
        raise InvalidParameter(
            f"the JSON schema has 'minProperties' {least} at {path}, which is enforced only where as many "
            "properties are required by name; list them"
        )
