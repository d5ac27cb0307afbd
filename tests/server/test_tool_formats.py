"""Tools with models of Llama's, Qwen's and Mistral's templates, through OpenAI's own client: the whole conversation."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from chat_samples import TEMPLATES
from live_server import LiveServer
from pydantic import BaseModel, Field
from retold_model import with_template

ASK: list[Any] = [{"role": "user", "content": "What is the weather in Lima?"}]
PYTHONIC = """{%- for message in messages %}
    {%- if loop.first and tools is not none %}
        {{- 'Write calls as [func_name1(params_name1=params_value1, ...), func_name2(params)]' + tools | tojson }}
    {%- endif %}
    {%- if message.tool_calls %}
        {%- for call in message.tool_calls %}
            {{- '[' + call.function.name + '(' }}
            {%- for name, value in call.function.arguments | items %}{{- name + '=' + value | tojson }}{%- endfor %}
            {{- ')]' }}
        {%- endfor %}
    {%- else %}
        {{- message.role + ': ' + message.content }}
    {%- endif %}
{%- endfor %}"""
MODELS = {"llama3_json": TEMPLATES["llama3.1"], "pythonic": PYTHONIC, "hermes": TEMPLATES["qwen"]}
"""By the format that their templates teach."""


class GetWeather(BaseModel):
    """The weather in a city."""

    city: str = Field(max_length=8)
    days: int = Field(ge=1, le=9)
    is_metric: bool


class GetTime(BaseModel):
    """The time there."""

    zone: str = Field(pattern="^(utc|cet)$")


TOOLS: list[Any] = [openai.pydantic_function_tool(GetWeather), openai.pydantic_function_tool(GetTime)]
"""Strict, as the client makes them."""


@pytest.fixture(scope="module", params=sorted(MODELS))
def client(
    request: pytest.FixtureRequest, smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[openai.OpenAI]:
    path = with_template(smollm2_path, tmp_path_factory.mktemp("retold") / "model.gguf", MODELS[request.param])
    with (
        LiveServer(str(path), "--backend", "null", "--context", "2048") as live,
        openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0) as found,
    ):
        yield found


def parsed(client: openai.OpenAI, **fields: Any) -> Any:
    given = {"model": "", "messages": ASK, "tools": TOOLS, "max_tokens": 600, "temperature": 1.0, "seed": 1, **fields}
    return client.chat.completions.parse(**given).choices[0]


def test_required_calls_are_read_into_the_callers_own_classes(client: openai.OpenAI) -> None:
    choice = parsed(client, tool_choice="required", parallel_tool_calls=False)
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    (call,) = choice.message.tool_calls
    assert isinstance(call.function.parsed_arguments, GetWeather | GetTime)
    assert call.id.startswith("call_")


def test_the_named_function_is_called(client: openai.OpenAI) -> None:
    choice = parsed(client, tool_choice={"type": "function", "function": {"name": "GetTime"}})
    (call,) = choice.message.tool_calls
    assert call.function.parsed_arguments.zone in ("utc", "cet")


def test_strict_tools_may_also_not_be_called(client: openai.OpenAI) -> None:
    choice = client.chat.completions.create(model="", messages=ASK, tools=TOOLS, max_tokens=20, temperature=0).choices[
        0
    ]
    assert choice.message.tool_calls is None
    assert choice.message.content


def test_streamed_calls_are_the_whole_ones(client: openai.OpenAI) -> None:
    fields: Any = {"model": "", "messages": ASK, "tools": TOOLS, "tool_choice": "required", "max_tokens": 600,
                   "temperature": 1.0, "seed": 1, "parallel_tool_calls": False}  # fmt: skip
    whole = parsed(client, tool_choice="required", parallel_tool_calls=False).message.tool_calls
    with client.chat.completions.stream(**fields) as stream:
        kinds = {event.type for event in stream}
        calls = stream.get_final_completion().choices[0].message.tool_calls
    assert "tool_calls.function.arguments.done" in kinds
    assert [c.function.parsed_arguments for c in calls or ()] == [c.function.parsed_arguments for c in whole]


def test_calls_and_their_results_go_back_as_the_client_has_them(client: openai.OpenAI) -> None:
    message = parsed(client, tool_choice="required", parallel_tool_calls=False).message
    (call,) = message.tool_calls
    result = {"role": "tool", "tool_call_id": call.id, "content": json.dumps({"celsius": 22})}
    as_sent = {"role": "assistant", "tool_calls": [{"id": call.id, "type": "function", "function": {
        "name": call.function.name, "arguments": call.function.arguments}}]}  # fmt: skip
    for sent in (message, as_sent):
        answer = client.chat.completions.create(
            model="", messages=[*ASK, sent, result], tools=TOOLS, tool_choice="none", max_tokens=4
        )
        assert answer.choices[0].message.content


def test_all_calls_of_an_answer_are_told_apart(client: openai.OpenAI) -> None:
    calls = parsed(client, tool_choice="required").message.tool_calls
    assert len({call.id for call in calls}) == len(calls) >= 1
    assert all(isinstance(call.function.parsed_arguments, GetWeather | GetTime) for call in calls)
