"""Grammars that force an answer to be tool calls, in the form a model was trained on."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from wayra.base.errors import InvalidParameter
from wayra.text.structure import Grammar, JsonSchema, schema_text
from wayra.text.tools.events import Tool

MAX_CALLS = 32
"""In one forced answer: a small model would otherwise go on to its last token."""


@dataclass(frozen=True, slots=True)
class CallForm:
    """How the calls of a JSON format are written.

    start, end: around all of them; between: from one call to the next. Bodies of Lark rules, empty for nothing.
    before, middle, after: around the name and the arguments of one call, likewise.
    """

    before: str
    middle: str
    after: str
    between: str
    start: str = ""
    end: str = ""


def literal(text: str) -> str:
    """A text as it stands in a rule."""
    return json.dumps(text, ensure_ascii=False)


def forced_calls(form: CallForm, tools: Sequence[Tool], parallel: bool) -> Grammar:
    """One call or, when parallel, up to MAX_CALLS, of these tools with arguments their schemas accept."""
    calls = [f"{form.before} {_name(tool)} {form.middle} args_{i} {form.after}" for i, tool in enumerate(tools)]
    rest = f"({form.between} call){{0,{MAX_CALLS - 1}}}" if parallel else ""
    lark = f"start: {form.start} call {rest} {form.end}\ncall: {_either(calls)}"
    return Grammar(lark, tuple((f"args_{i}", _object_schema(tool)) for i, tool in enumerate(tools)))


def triggered_calls(form: CallForm, tag: str, tag_rule: str, tools: Sequence[Tool]) -> Grammar:
    """Text as the model likes, but after each `tag` a call whose arguments the tool's schema accepts.

    tag: as text. tag_rule: how `form.before` begins with it; when it is a control token the text cannot hold it.
    """
    rest = (form.start or form.before).removeprefix(tag_rule)
    before = rest if not form.start else f"{rest} {form.before}"
    calls = [f"{before} {_name(t)} {form.middle} args_{i} {form.after} {form.end}" for i, t in enumerate(tools)]
    trigger = f"trigger[lazy]: TEXT {literal(tag)}" if tag_rule == literal(tag) else f"trigger: TEXT {tag_rule}"
    lark = f"start: (trigger call)* TEXT\n{trigger}\ncall: {_either(calls)}\nTEXT: /(.|\\n)*/"
    return Grammar(lark, tuple((f"args_{i}", _object_schema(tool)) for i, tool in enumerate(tools)))


def free_or_calls(forced: Grammar, opening: str, tag: str, tag_rule: str) -> Grammar:
    """Text as the model likes, unless it begins with `opening`: then the calls that `forced` allows, and nothing else.

    tag: as text, may stand before the calls and nowhere else. tag_rule: how a rule says it.
    """
    text = rf"/[ \t\n\r]*([^ \t\n\r{re.escape(opening)}](.|\n)*)?/"
    if tag_rule == literal(tag):
        text += rf" & ~/(.|\n)*{re.escape(tag)}(.|\n)*/"
    lark = f"start: TEXT | ({tag_rule})? calls\ncalls: {forced.lark.removeprefix('start: ')}\nTEXT: {text}"
    return Grammar(lark, forced.schemas)


def python_calls(tools: Sequence[Tool], parallel: bool) -> Grammar:
    """A Python list of one call or, when parallel, up to MAX_CALLS; keyword arguments in the schema's order.

    Raises InvalidParameter for parameters that are no plain list of properties.
    """
    rules: list[str] = []
    schemas: list[tuple[str, JsonSchema]] = []
    for i, tool in enumerate(tools):
        _add_call(f"call_{i}", tool, rules, schemas)
    rest = f'(", " call){{0,{MAX_CALLS - 1}}}' if parallel else ""
    calls = _either([f"call_{i}" for i in range(len(tools))])
    return Grammar("\n".join([f'start: "[" call {rest} "]"', f"call: {calls}", *rules]), tuple(schemas))


def _add_call(rule: str, tool: Tool, rules: list[str], schemas: list[tuple[str, JsonSchema]]) -> None:
    """Rules for one call: `first_k` and `rest_k` continue with the properties from the k-th on."""
    schema = cast(dict[str, Any], json.loads(tool.parameters))
    properties, required = _properties(tool, schema)
    shared = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    rules.append(f"{rule}: {literal(tool.name + '(')} {rule}_first_0 {literal(')')}")
    for k, (name, inner) in enumerate(properties.items()):
        value = _python_word(inner)
        if value is None:
            value = f"{rule}_value_{k}"
            whole = {**cast(dict[str, Any], inner), **shared} if isinstance(inner, dict) else inner
            schemas.append((value, JsonSchema(schema_text(cast(object, whole)))))
        keyword = f"{literal(name + '=')} ({value}) {rule}_rest_{k + 1}"
        is_optional = name not in required
        rules.append(f"{rule}_first_{k}: {keyword}" + (f" | {rule}_first_{k + 1}" if is_optional else ""))
        rules.append(f'{rule}_rest_{k}: ", " {keyword}' + (f" | {rule}_rest_{k + 1}" if is_optional else ""))
    rules.append(f'{rule}_first_{len(properties)}: ""')
    rules.append(f'{rule}_rest_{len(properties)}: ""')


def _properties(tool: Tool, schema: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    unknown = set(schema) - {
        "type", "properties", "required", "additionalProperties", "$defs", "definitions", "title", "description",
        "$schema",
    }  # fmt: skip
    properties, required = schema.get("properties", {}), schema.get("required", [])
    names = cast(list[str], required) if isinstance(required, list) else []
    fits = isinstance(properties, dict) and isinstance(required, list) and set(names) <= set(cast(Any, properties))
    if unknown or not fits:
        seen = ", ".join(sorted(unknown)) or "properties and required that disagree"
        raise InvalidParameter(
            f"the parameters of tool {tool.name!r} have {seen}; this model writes calls as Python, which needs a plain "
            "list of properties"
        )
    for name in cast(dict[str, Any], properties):
        if not name.isidentifier():
            raise InvalidParameter(f"the tool {tool.name!r} has a parameter {name[:40]!r}, which is no Python name")
    return cast(dict[str, Any], properties), set(names)


def _python_word(schema: object) -> str | None:
    """Python writes these words differently from JSON; models of this format write Python's."""
    if not isinstance(schema, Mapping) or set(cast(Mapping[str, Any], schema)) - {"type", "description", "title"}:
        return None
    kind = cast(Mapping[str, Any], schema).get("type")
    return '"True" | "False"' if kind == "boolean" else '"None"' if kind == "null" else None


def _name(tool: Tool) -> str:
    """The name as the inside of a JSON string."""
    return literal(json.dumps(tool.name, ensure_ascii=False)[1:-1])


def _object_schema(tool: Tool) -> JsonSchema:
    schema = cast(dict[str, Any], json.loads(tool.parameters))
    return JsonSchema(schema_text({"type": "object", **schema}))


def _either(rules: Sequence[str]) -> str:
    return " | ".join(rules)
