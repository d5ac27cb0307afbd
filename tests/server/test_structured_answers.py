"""Structured output and tool calls over the wire: enforced, parsed, streamed, and refused by name."""

import json
import re
from typing import Any

import pytest
from live_server import LiveServer

CHAT = "/v1/chat/completions"
ASK: list[Any] = [{"role": "user", "content": "What is the weather in Lima?"}]
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Lima", "Oslo"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}


def answer(server: LiveServer, **fields: Any) -> Any:
    found = server.post(CHAT, {"messages": ASK, "temperature": 0, "max_tokens": 200, **fields})
    assert found.status == 200, found.body
    return found


def content(server: LiveServer, **fields: Any) -> str:
    choice = answer(server, **fields).json["choices"][0]
    assert choice["finish_reason"] == "stop"
    text: str = choice["message"]["content"]
    return text


def test_a_json_schema_is_followed(real_server: LiveServer) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}}
    for temperature in (0, 1.5):
        person = json.loads(content(real_server, response_format=form, temperature=temperature, seed=3))
        assert set(person) == {"name", "age"}
        assert 0 <= person["age"] <= 120
        assert len(person["name"]) <= 12


def test_regex_choice_and_grammar_are_followed(real_server: LiveServer) -> None:
    assert re.fullmatch(r"[a-c]{3}-\d\d", content(real_server, structured_outputs={"regex": r"[a-c]{3}-\d\d"}))
    assert content(real_server, structured_outputs={"choice": ["yes", "no"]}) in ("yes", "no")
    grammar = 'start: "<" word ">"\nword: /[a-z]{2,5}/'
    assert re.fullmatch(r"<[a-z]{2,5}>", content(real_server, structured_outputs={"grammar": grammar}))
    assert json.loads(content(real_server, structured_outputs={"json": PERSON}))["age"] >= 0


def test_completions_follow_a_form_too(real_server: LiveServer) -> None:
    fields = {"prompt": "Is the sky blue?", "temperature": 0, "structured_outputs": {"choice": [" yes", " no"]}}
    (choice,) = real_server.post("/v1/completions", fields).json["choices"]
    assert choice["text"] in (" yes", " no")


def test_a_required_call_is_made_and_its_arguments_follow_their_schema(real_server: LiveServer) -> None:
    choice = answer(real_server, tools=[WEATHER], tool_choice="required").json["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    call = choice["message"]["tool_calls"][0]
    assert (call["type"], call["function"]["name"]) == ("function", "get_weather")
    assert call["id"].startswith("call_")
    assert json.loads(call["function"]["arguments"])["city"] in ("Lima", "Oslo")


def test_a_named_call_is_that_call(real_server: LiveServer) -> None:
    named = {"type": "function", "function": {"name": "get_time"}}
    choice = answer(real_server, tools=[WEATHER, CLOCK], tool_choice=named).json["choices"][0]
    assert [call["function"]["name"] for call in choice["message"]["tool_calls"]] == ["get_time"]


def test_a_streamed_call_joins_to_the_whole_one(real_server: LiveServer) -> None:
    fields = {"tools": [WEATHER], "tool_choice": "required", "parallel_tool_calls": False}
    (whole,) = answer(real_server, **fields).json["choices"][0]["message"]["tool_calls"]
    events = answer(real_server, **fields, stream=True).events
    parts = [part for e in events for c in e["choices"] for part in c["delta"].get("tool_calls", [])]
    assert parts[0]["function"] == {"name": "get_weather", "arguments": ""}
    assert parts[0]["id"].startswith("call_")
    assert {part["index"] for part in parts} == {0}
    assert "".join(part["function"]["arguments"] for part in parts) == whole["function"]["arguments"]
    assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert not any(c["delta"].get("content") for e in events for c in e["choices"])


def test_text_without_a_call_stays_text(real_server: LiveServer) -> None:
    plain = answer(real_server, tools=[WEATHER], tool_choice="none", max_tokens=8).json["choices"][0]
    assert plain == answer(real_server, max_tokens=8).json["choices"][0]
    fields = {"tools": [WEATHER], "max_tokens": 12, "logprobs": True}
    free = answer(real_server, **fields).json["choices"][0]
    events = answer(real_server, **fields, stream=True).events
    text = "".join(c["delta"].get("content", "") for e in events for c in e["choices"])
    assert text == (free["message"]["content"] or "")
    streamed = [entry for e in events for c in e["choices"] if c["logprobs"] for entry in c["logprobs"]["content"]]
    assert streamed == free["logprobs"]["content"]


def test_a_conversation_with_calls_and_results_goes_on(real_server: LiveServer) -> None:
    call = answer(real_server, tools=[WEATHER], tool_choice="required").json["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": call["tool_calls"][0]["id"], "content": "22 degrees"}
    choice = answer(real_server, messages=[*ASK, call, result], tools=[WEATHER], max_tokens=8).json["choices"][0]
    assert choice["message"]["content"] or choice["message"]["tool_calls"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_object"}, "structured_outputs": {"regex": "a"}}, "structured_outputs"),
        ({"response_format": {"type": "json_object"}, "tools": [WEATHER]}, "response_format"),
        ({"structured_outputs": {"regex": "("}}, None),
        ({"structured_outputs": {"grammar": "start: nonsense"}}, None),
        ({"structured_outputs": {"regex": "(a{1000}){1000}"}}, None),
        ({"structured_outputs": {"yaml": {}}}, "structured_outputs.yaml"),
        ({"structured_outputs": {"choice": []}}, "structured_outputs.choice"),
        ({"tools": [WEATHER, WEATHER]}, "tools"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tools": [WEATHER], "tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "nonesuch"}}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
    ],
)  # fmt: skip
def test_forms_and_tools_that_cannot_be_are_refused(
    server: LiveServer, fields: dict[str, Any], param: str | None
) -> None:
    found = server.post(CHAT, {"messages": ASK, "max_tokens": 4, **fields})
    assert found.status == 400, found.body
    if param is not None:
        assert found.error["param"] == param
