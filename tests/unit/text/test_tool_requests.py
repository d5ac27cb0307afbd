"""Tools and choices as the public APIs write them are read strictly; models without a tool template are taught."""

import json
from typing import Any

import pytest
from chat_samples import WEATHER_TOOL

from wayra.base.errors import InvalidParameter
from wayra.text.tools import ToolChoice, read_tool_choice, read_tools, teach_tools, tool_schemas


def function(**fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", **fields}}


def test_a_tool_is_read_and_written_again_for_the_template() -> None:
    tools = read_tools([WEATHER_TOOL])
    assert (tools[0].name, tools[0].is_strict) == ("get_weather", False)
    assert tool_schemas(tools) == [WEATHER_TOOL]


def test_a_tool_without_parameters_takes_none() -> None:
    (tool,) = read_tools([function(strict=True)])
    assert tool.is_strict
    assert json.loads(tool.parameters) == {"type": "object", "properties": {}, "additionalProperties": False}


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("tools", "expected a list"),
        ([function()] * 200, "limit is 128"),
        ([function(), function()], "several tools named 'f'"),
        ([{"type": "web_search"}], r"tools\[0\]\.type"),
        ([{"type": "function"}], r"tools\[0\]\.function\.name"),
        ([function(name='a"b')], "name"),
        ([function(description=3)], "description"),
        ([function(parameters=[1])], "parameters"),
        ([function(strict="yes")], "strict"),
        ([3], "name"),
    ],
)
def test_malformed_tools_are_refused_by_place(given: object, named: str) -> None:
    with pytest.raises(InvalidParameter, match=named):
        read_tools(given)


def test_a_choice_is_read() -> None:
    tools = read_tools([function()])
    assert read_tool_choice(None, tools) == read_tool_choice("auto", tools) == ToolChoice("auto")
    assert read_tool_choice(None, ()) == read_tool_choice("none", tools) == ToolChoice("none")
    assert read_tool_choice("required", tools) == ToolChoice("required")
    assert read_tool_choice(function(), tools) == ToolChoice("named", "f")
    for wrong in ("any", 3, function(name="g"), {"type": "allowed_tools"}, {}):
        with pytest.raises(InvalidParameter, match="tool_choice"):
            read_tool_choice(wrong, tools)
    with pytest.raises(InvalidParameter, match="no tools"):
        read_tool_choice("required", ())


def test_a_template_without_tools_gets_them_as_text() -> None:
    called = {"function": {"name": "get_weather", "arguments": '{"city": "Lima"}'}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "22 degrees"}]},
    ]
    system, user, assistant, result = teach_tools(messages, read_tools([WEATHER_TOOL]))
    assert str(system["content"]).startswith("Be brief.\n\nYou may call functions")
    assert '"name": "get_weather"' in str(system["content"])
    assert user == messages[1]
    wanted = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Lima"}}\n</tool_call>'
    assert assistant == {"role": "assistant", "content": wanted}
    assert result == {"role": "user", "content": "<tool_response>\n22 degrees\n</tool_response>"}
    assert teach_tools(messages[1:2], read_tools([WEATHER_TOOL]))[0]["role"] == "system"
    assert teach_tools(messages[:2], ()) == messages[:2]
