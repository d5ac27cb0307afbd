"""OpenAI's Responses API: with the official client, unchanged, and event by event over the socket."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from live_server import LiveServer, is_idle
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

RESPONSES = "/v1/responses"
ASK = "What is the capital of France?"
WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Lima", "Oslo"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
CALLED: dict[str, Any] = {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": "{}"}


class City(BaseModel):
    name: str
    is_large: bool


@pytest.fixture
def client(server: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as found:
        yield found


@pytest.fixture
def real_client(real_server: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{real_server.url}/v1", api_key="none") as found:
        yield found


@pytest.fixture
def model(client: openai.OpenAI) -> str:
    return client.models.list().data[0].id


@pytest.fixture
def real_model(real_client: openai.OpenAI) -> str:
    return real_client.models.list().data[0].id


def chat_text(server: LiveServer, messages: list[Any], **fields: Any) -> str:
    answer = server.post("/v1/chat/completions", {"messages": messages, "max_tokens": 20, "temperature": 0, **fields})
    return str(answer.json["choices"][0]["message"]["content"])


def post(server: LiveServer, **fields: Any) -> Any:
    answer = server.post(RESPONSES, {"input": ASK, "max_output_tokens": 20, "temperature": 0, **fields})
    assert answer.status == 200, answer.body
    return answer


def events_of(body: bytes) -> list[Any]:
    """The data of the events, whose names are checked."""
    *parts, last = body.decode().split("\n\n")
    assert last == ""
    found: list[Any] = []
    for part in parts:
        name, data = part.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def test_a_response_says_what_a_chat_says(client: openai.OpenAI, model: str, server: LiveServer) -> None:
    answer = client.responses.create(model=model, input=ASK, temperature=0, max_output_tokens=20)
    assert answer.output_text == chat_text(server, [{"role": "user", "content": ASK}])
    assert (answer.object, answer.model, answer.status) == ("response", model, "incomplete")
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert answer.usage is not None
    assert answer.usage.output_tokens == 20
    assert answer.usage.total_tokens == answer.usage.input_tokens + 20
    counted = client.responses.input_tokens.count(model=model, input=ASK)
    assert counted.input_tokens == answer.usage.input_tokens


def test_an_answer_that_ends_by_itself_is_complete(server: LiveServer) -> None:
    text = post(server).json["output"][0]["content"][0]["text"]
    answer = post(server, stop=text[10:14]).json
    assert (answer["status"], answer["incomplete_details"]) == ("completed", None)
    (item,) = answer["output"]
    assert item["id"].startswith("msg_")
    assert item == {
        "type": "message",
        "id": item["id"],
        "status": "completed",
        "role": "assistant",
        "content": [
            {"type": "output_text", "text": text[: text.index(text[10:14])], "logprobs": [], "annotations": []}
        ],
    }


def test_what_was_asked_is_given_back_and_nothing_is_stored(server: LiveServer) -> None:
    fields = {"metadata": {"a": "b"}, "user": "me", "safety_identifier": "s", "prompt_cache_key": "k", "top_p": 0.5}
    answer = post(server, instructions="Be brief.", tools=[WEATHER], tool_choice="none", **fields).json
    assert {name: answer[name] for name in fields} == fields
    assert (answer["store"], answer["background"], answer["previous_response_id"]) == (False, False, None)
    assert (answer["instructions"], answer["temperature"], answer["tool_choice"]) == ("Be brief.", 0, "none")
    assert answer["tools"] == [WEATHER]
    assert answer["text"] == {"format": {"type": "text"}}
    plain = post(server).json
    assert (plain["store"], plain["tool_choice"], plain["tools"], plain["parallel_tool_calls"]) == (
        False, "auto", [], True,
    )  # fmt: skip


def test_items_become_the_messages_of_a_chat(server: LiveServer) -> None:
    said = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "phase": None,
            "content": [{"type": "output_text", "text": "Hi.", "annotations": [], "logprobs": []}]}  # fmt: skip
    items = [
        {"role": "developer", "content": "Answer in Latin."},
        {"role": "user", "content": [{"type": "input_text", "text": "Hello"}, {"type": "input_text", "text": "you"}]},
        said,
        {"type": "message", "role": "user", "content": ASK},
    ]
    messages = [
        {"role": "system", "content": "Be brief.\n\nAnswer in Latin."},
        {"role": "user", "content": "Hello\nyou"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": ASK},
    ]
    answer = post(server, input=items, instructions="Be brief.").json
    assert answer["output"][0]["content"][0]["text"] == chat_text(server, messages)


def test_calls_and_their_outputs_become_the_messages_of_a_chat(server: LiveServer) -> None:
    chat_tool = {"type": "function", "function": {k: v for k, v in WEATHER.items() if k != "type"}}
    items = [
        {"role": "user", "content": ASK},
        {"role": "assistant", "content": "I look."},
        {**CALLED, "id": "fc_1", "status": "completed"},
        {**CALLED, "call_id": "call_2"},
        {"type": "function_call_output", "call_id": "call_2", "output": "5"},
        {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "7"}]},
    ]
    function = {"name": "get_weather", "arguments": "{}"}
    calls = [{"id": name, "type": "function", "function": function} for name in ("call_1", "call_2")]
    messages = [
        {"role": "user", "content": ASK},
        {"role": "assistant", "content": "I look.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call_2", "content": "5"},
        {"role": "tool", "tool_call_id": "call_1", "content": "7"},
    ]
    answer = post(server, input=items, tools=[WEATHER], tool_choice="none").json
    assert answer["output"][0]["content"][0]["text"] == chat_text(
        server, messages, tools=[chat_tool], tool_choice="none"
    )
    counted = server.post("/v1/responses/input_tokens", {"input": items, "tools": [WEATHER]}).json["input_tokens"]
    assert counted > answer["usage"]["input_tokens"]


def test_a_stream_has_every_event_in_order_and_joins_to_the_whole(server: LiveServer) -> None:
    whole = post(server).json
    events = events_of(post(server, stream=True).body)
    kinds = [event["type"].removeprefix("response.") for event in events]
    deltas = kinds.count("output_text.delta")
    assert deltas > 5
    assert kinds == ["created", "in_progress", "output_item.added", "content_part.added",
                     *["output_text.delta"] * deltas, "output_text.done", "content_part.done", "output_item.done",
                     "incomplete"]  # fmt: skip
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    text = whole["output"][0]["content"][0]["text"]
    assert "".join(e["delta"] for e in events if "delta" in e) == text == events[-4]["text"]
    assert events[0]["response"]["status"] == "in_progress"
    assert events[0]["response"]["output"] == []
    added, done, final = events[2]["item"], events[-2]["item"], events[-1]["response"]
    assert (added["status"], added["content"], done["status"]) == ("in_progress", [], "incomplete")
    assert {e["item_id"] for e in events if "item_id" in e} == {added["id"]} == {done["id"]}
    assert final["output"] == [done]
    varying = {"id": final["id"], "created_at": final["created_at"], "output": final["output"]}
    # The second one finds its prompt cached.
    assert {**whole, **varying, "usage": final["usage"]} == final
    assert final["usage"]["output_tokens"] == whole["usage"]["output_tokens"] == 20


def test_answers_and_events_are_what_the_clients_types_demand(server: LiveServer, real_server: LiveServer) -> None:
    """The client itself takes anything; its types say what the API promises."""
    fields: dict[str, Any] = {"include": ["message.output_text.logprobs"], "top_logprobs": 1}
    called: dict[str, Any] = {"tools": [WEATHER], "tool_choice": "required", "instructions": "Call.", "metadata": {}}
    events = TypeAdapter[Any](ResponseStreamEvent)
    for live, asked in ((server, fields), (real_server, called)):
        Response.model_validate(post(live, max_output_tokens=60, **asked).json, strict=True)
        for event in events_of(post(live, max_output_tokens=60, stream=True, **asked).body):
            assert events.validate_python(event, strict=True).type == event["type"]


def test_the_clients_stream_helper_collects_the_same(client: openai.OpenAI, model: str, server: LiveServer) -> None:
    text = chat_text(server, [{"role": "user", "content": ASK}])
    stop = {"stop": text[10:14]}
    with client.responses.stream(model=model, input=ASK, temperature=0, extra_body=stop) as stream:
        snapshots = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert final.output_text == text[: text.index(text[10:14])] == snapshots[-1]
    assert final.status == "completed"


def test_the_real_model_fills_a_pydantic_model(real_client: openai.OpenAI, real_model: str) -> None:
    fields: dict[str, Any] = {"model": real_model, "input": "Name a city, briefly, as JSON.", "temperature": 0}
    answer = real_client.responses.parse(**fields, text_format=City, max_output_tokens=200)
    assert answer.status == "completed"
    assert isinstance(answer.output_parsed, City)
    assert answer.output_parsed.name
    with real_client.responses.stream(**fields, text_format=City, max_output_tokens=200) as stream:
        assert stream.get_final_response().output_parsed == answer.output_parsed
    again = [{"role": "user", "content": "Name a city."}, *answer.output, {"role": "user", "content": "Another one."}]
    more = real_client.responses.create(model=real_model, input=again, max_output_tokens=4)
    assert more.usage is not None
    assert more.usage.output_tokens == 4


def test_a_tool_is_called_and_its_result_answered(real_client: openai.OpenAI, real_model: str) -> None:
    fields: dict[str, Any] = {"model": real_model, "tools": [WEATHER], "temperature": 0, "max_output_tokens": 100}
    items: list[Any] = [{"role": "user", "content": "What is the weather in Lima?"}]
    asked = real_client.responses.create(**fields, input=items, tool_choice="required")
    call = asked.output[0]
    assert call.type == "function_call"
    assert (call.name, call.status) == ("get_weather", "completed")
    assert json.loads(call.arguments)["city"] in ("Lima", "Oslo")
    items += [*asked.output, {"type": "function_call_output", "call_id": call.call_id, "output": "22 degrees"}]
    told = real_client.responses.create(**fields, input=items, tool_choice="none")
    assert told.output_text
    named = real_client.responses.create(**fields, input="Hi", tool_choice={"type": "function", "name": "get_weather"})
    assert [item.type for item in named.output] == ["function_call"]


def test_a_streamed_call_joins_to_the_whole_one(real_client: openai.OpenAI, real_model: str) -> None:
    fields: dict[str, Any] = {"model": real_model, "tools": [WEATHER], "tool_choice": "required", "temperature": 0,
                              "input": "What is the weather in Lima?", "max_output_tokens": 100}  # fmt: skip
    (whole, *_) = real_client.responses.create(**fields).output
    events = list(real_client.responses.create(**fields, stream=True))
    kinds = [event.type.removeprefix("response.") for event in events]
    assert kinds[:3] == ["created", "in_progress", "output_item.added"]
    first_done = kinds.index("output_item.done")
    assert kinds[3:first_done] == ["function_call_arguments.delta"] * (first_done - 4) + [
        "function_call_arguments.done"
    ]
    done: Any = events[first_done]
    assert whole.type == "function_call"
    assert (done.item.name, done.item.arguments) == (whole.name, whole.arguments)
    assert "".join(e.delta for e in events if e.type == "response.function_call_arguments.delta").startswith(
        whole.arguments
    )
    with real_client.responses.stream(**fields) as stream:
        final = stream.get_final_response()
    parsed: Any = final.output[0]
    assert parsed.parsed_arguments == json.loads(whole.arguments)


def test_logprobs_come_where_they_are_included(client: openai.OpenAI, model: str) -> None:
    fields: dict[str, Any] = {"model": model, "input": ASK, "temperature": 0, "max_output_tokens": 4}
    included: dict[str, Any] = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
    (item,) = client.responses.create(**fields, **included).output
    assert item.type == "message"
    assert item.content[0].type == "output_text"
    logprobs = item.content[0].logprobs
    assert logprobs is not None
    assert [len(entry.top_logprobs) for entry in logprobs] == [2] * 4
    streamed = [
        (entry.token, entry.logprob)
        for event in client.responses.create(**fields, **included, stream=True)
        if event.type == "response.output_text.delta"
        for entry in event.logprobs
    ]
    assert streamed == [(entry.token, entry.logprob) for entry in logprobs]


def test_closing_a_stream_early_frees_the_server(client: openai.OpenAI, model: str, server: LiveServer) -> None:
    stream = client.responses.create(model=model, input=ASK, stream=True, extra_body={"ignore_eos": True})
    next(iter(stream))
    stream.close()
    assert server.settles(lambda: is_idle(server))


def test_errors_have_the_clients_own_classes(client: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.responses.create(model="gpt-6", input=ASK)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as stored:
        client.responses.create(model=model, input=ASK, store=True)
    assert stored.value.param == "store"
    with pytest.raises(openai.BadRequestError) as kept:
        client.responses.create(model=model, input=ASK, previous_response_id="resp_1")
    assert kept.value.code == "unsupported_parameter"
    with pytest.raises(openai.BadRequestError, match="limit is 4,095"):
        client.responses.create(model=model, input="word " * 6000)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"frobnicate": 1}, "frobnicate"),
        ({"store": True}, "store"),
        ({"background": True}, "background"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "x"}}, "prompt"),
        ({"max_tool_calls": 3}, "max_tool_calls"),
        ({"truncation": "auto"}, "truncation"),
        ({"reasoning": {"effort": "high"}}, "reasoning.effort"),
        ({"reasoning": {"summary": "auto"}}, "reasoning.summary"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": 3}}}}, None),
        ({"text": {"format": {"type": "json_object"}}, "tools": [WEATHER]}, "text.format"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "name": "a b"}]}, "tools"),
        ({"tools": [WEATHER, WEATHER]}, "tools"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "name": "other"}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [WEATHER], "include": ["message.output_text.logprobs"]}, "include"),
        ({"include": ["everything"]}, "include[0]"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"top_logprobs": 21, "include": ["message.output_text.logprobs"]}, "top_logprobs"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": 1 << 40}, "max_output_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"stream_options": {"include_obfuscation": False}}, "stream_options"),
        ({"input": []}, "input"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"input": [{"type": "reasoning", "summary": []}]}, "input[0].type"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://x"}]}]},
         "input[0].content[0]"),
        ({"input": [{**CALLED, "arguments": "[1]"}]}, "input[0].arguments"),
        ({"input": [{**CALLED, "content": "x"}]}, "input[0].content"),
        ({"input": [{"type": "function_call_output", "call_id": "call_1", "output": "x"}]}, "input[0].call_id"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_by_its_name(server: LiveServer, fields: dict[str, Any], named: str | None) -> None:
    answer = server.post(RESPONSES, {"input": ASK, "max_output_tokens": 2, **fields})
    assert answer.status == 400, answer.body
    assert answer.error["param"] == named


def test_a_failure_within_a_stream_is_its_last_event(smollm2_path: Path) -> None:
    prelude = """
from wayra.backends import null
whole_step = null.NullModel.step
steps = []
def failing(self, batch):
    steps.append(1)
    if len(steps) > 4:
        raise RuntimeError("broken on purpose")
    return whole_step(self, batch)
null.NullModel.step = failing
"""
    with LiveServer(str(smollm2_path), "--backend", "null", prelude=prelude) as live:
        events = events_of(live.post(RESPONSES, {"input": ASK, "stream": True, "temperature": 0}).body)
        last = events[-1]
        assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
        assert last["response"]["error"]["code"] == "server_error"
        assert last["sequence_number"] == len(events) - 1
        assert sum(event["type"] == "response.output_text.delta" for event in events) > 0
