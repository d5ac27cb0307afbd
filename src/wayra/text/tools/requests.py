"""Reads tools and tool choices as the public APIs write them, and teaches them to models whose template knows none."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from wayra.base.errors import InvalidParameter
from wayra.text.structure import JsonSchema
from wayra.text.tools.events import Tool, ToolChoice

MAX_TOOLS = 128

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")

_TEACHING = (
    "You may call functions to help with the user's request. These are the functions, as JSON:\n<tools>\n{tools}\n"
    "</tools>\nTo call one, answer with an object that names it and gives its arguments, between tags:\n<tool_call>\n"
    '{{"name": "function", "arguments": {{"argument": "value"}}}}\n</tool_call>'
)


def read_tools(given: object) -> tuple[Tool, ...]:
    """Tools as in OpenAI's API: a list of {"type": "function", "function": {name, description, parameters, strict}}.

    Raises InvalidParameter saying which is wrong and how.
    """
    if given is None:
        return ()
    if isinstance(given, str | Mapping) or not isinstance(given, Sequence):
        raise InvalidParameter(f"tools is {given!r:.60}, expected a list")
    entries = cast(Sequence[object], given)
    if len(entries) > MAX_TOOLS:
        raise InvalidParameter(f"there are {len(entries):,} tools, limit is {MAX_TOOLS}; offer fewer")
    tools = tuple(_tool(entry, f"tools[{i}]") for i, entry in enumerate(entries))
    names = [tool.name for tool in tools]
    for name in names:
        if names.count(name) > 1:
            raise InvalidParameter(f"there are several tools named {name!r}; rename one")
    return tools


def read_tool_choice(given: object, tools: Sequence[Tool]) -> ToolChoice:
    """A choice as in OpenAI's API: "none", "auto", "required" or {"type": "function", "function": {"name": ...}}.

    None is "auto" where there are tools. Raises InvalidParameter for anything else, or a tool that is not there.
    """
    if given is None:
        return ToolChoice("auto" if tools else "none")
    if given == "none":
        return ToolChoice("none")
    if given == "auto":
        return ToolChoice("auto")
    if given == "required":
        if not tools:
            raise InvalidParameter("tool_choice is 'required', but there are no tools; give some")
        return ToolChoice("required")
    fields = _mapping(given)
    name = _mapping(fields.get("function")).get("name", fields.get("name"))
    if fields.get("type") != "function" or not isinstance(name, str):
        raise InvalidParameter(
            f"tool_choice is {given!r:.80}, expected 'none', 'auto', 'required' or a function to call by name"
        )
    if name not in [tool.name for tool in tools]:
        raise InvalidParameter(f"tool_choice names {name[:60]!r}, which is not among the tools; give it in tools")
    return ToolChoice("named", name)


def tool_schemas(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """The tools as chat templates read them (`ChatTemplate.render(tools=...)`)."""
    schemas: list[dict[str, Any]] = []
    for tool in tools:
        function = {"name": tool.name, "description": tool.description, "parameters": json.loads(tool.parameters)}
        schemas.append({"type": "function", "function": function})
    return schemas


def teach_tools(messages: Sequence[Mapping[str, object]], tools: Sequence[Tool]) -> list[dict[str, object]]:
    """The conversation for a template that knows no tools: they stand in the system message, calls and results as text.

    The model is asked for Hermes's format, which `hermes_format` parses and enforces.
    """
    taught = [_plain(message) for message in messages]
    if not tools:
        return taught
    listed = "\n".join(json.dumps(schema, ensure_ascii=False) for schema in tool_schemas(tools))
    teaching = _TEACHING.format(tools=listed)
    if taught and taught[0].get("role") == "system" and isinstance(taught[0].get("content"), str):
        taught[0] = {**taught[0], "content": f"{taught[0]['content']}\n\n{teaching}"}
        return taught
    return [{"role": "system", "content": teaching}, *taught]


def _plain(message: Mapping[str, object]) -> dict[str, object]:
    """A message whose calls and results are text."""
    plain = {key: value for key, value in message.items() if key not in ("tool_calls", "tool_call_id", "name")}
    if message.get("role") == "tool":
        return {
            **plain,
            "role": "user",
            "content": f"<tool_response>\n{_text(message.get('content'))}\n</tool_response>",
        }
    calls = message.get("tool_calls")
    if not isinstance(calls, list | tuple) or not calls:
        return dict(message)
    written = [_written(_mapping(_mapping(call).get("function"))) for call in cast(Sequence[object], calls)]
    text = _text(message.get("content"))
    return {**plain, "content": "\n".join([*([text] if text else []), *written])}


def _written(function: Mapping[str, object]) -> str:
    arguments = function.get("arguments")
    shown = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
    name = json.dumps(function.get("name"), ensure_ascii=False)
    return f'<tool_call>\n{{"name": {name}, "arguments": {shown}}}\n</tool_call>'


def _text(content: object) -> str:
    """The text of a content: itself, or its text parts."""
    if isinstance(content, list | tuple):
        parts = (_mapping(part).get("text") for part in cast(Sequence[object], content))
        return "\n".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _tool(entry: object, where: str) -> Tool:
    fields = _mapping(entry)
    if fields.get("type", "function") != "function":
        raise InvalidParameter(f"{where}.type is {fields.get('type')!r:.60}, supported is 'function'")
    function = _mapping(fields.get("function"))
    name, description = function.get("name"), function.get("description")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidParameter(
            f"{where}.function.name is {name!r:.60}, expected 1 to 128 letters, digits, underscores, dots and hyphens"
        )
    if description is not None and not isinstance(description, str):
        raise InvalidParameter(f"{where}.function.description is {type(description).__name__}, expected a text")
    parameters = function.get("parameters")
    if parameters is None:
        parameters = cast(object, {"type": "object", "properties": {}, "additionalProperties": False})
    if not isinstance(parameters, Mapping):
        raise InvalidParameter(f"{where}.function.parameters is {type(parameters).__name__}, expected a JSON schema")
    schema = JsonSchema(cast(Mapping[str, object], parameters))
    is_strict = function.get("strict")
    if is_strict not in (None, True, False):
        raise InvalidParameter(f"{where}.function.strict is {is_strict!r:.60}, expected true or false")
    return Tool(name, description or "", schema.text, bool(is_strict))


def _mapping(value: object) -> Mapping[str, object]:
    return cast(Mapping[str, object], value) if isinstance(value, Mapping) else {}
