"""Anthropic's own Python client, unchanged, against the server; and what its API answers field by field."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_server import LiveServer, is_idle

anthropic = pytest.importorskip("anthropic")

HELLO: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]
GREEDY = {"temperature": 0}
WEATHER: dict[str, Any] = {
    "name": "get_weather",
    "description": "The weather in a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Lima", "Oslo"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
CLOCK: dict[str, Any] = {"name": "get_time", "input_schema": {"type": "object", "properties": {}}}


def client_of(server: LiveServer) -> Any:
    return anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0)


@pytest.fixture
def client(server: LiveServer) -> Iterator[Any]:
    with client_of(server) as found:
        yield found


@pytest.fixture
def real_client(real_server: LiveServer) -> Iterator[Any]:
    with client_of(real_server) as found:
        yield found


@pytest.fixture
def model(server: LiveServer) -> str:
    return str(server.get("/v1/models").json["data"][0]["id"])


@pytest.fixture
def real_model(real_server: LiveServer) -> str:
    return str(real_server.get("/v1/models").json["data"][0]["id"])


def ask(client: Any, model: str, **fields: Any) -> Any:
    # Newer clients know no temperature, older ones do; all pass on what they are told to.
    body = {"temperature": 0, **fields.pop("extra_body", {})}
    return client.messages.create(**{"model": model, "messages": HELLO, "max_tokens": 12, **fields}, extra_body=body)


def test_a_message_is_answered_with_counts(client: Any, model: str, server: LiveServer) -> None:
    answer = ask(client, model)
    assert (answer.type, answer.role, answer.model, answer.stop_reason) == ("message", "assistant", model, "max_tokens")
    assert answer.id.startswith("msg_")
    usage = answer.usage
    assert usage.output_tokens == 12
    counted = client.messages.count_tokens(model=model, messages=HELLO)
    assert usage.input_tokens + usage.cache_read_input_tokens == counted.input_tokens
    fields = {"messages": HELLO, "max_tokens": 12, "temperature": 0}
    same = server.post("/v1/chat/completions", fields).json["choices"][0]["message"]["content"]
    assert [block.text for block in answer.content] == [same]


def test_a_stream_joins_to_the_whole_answer(client: Any, model: str) -> None:
    whole = ask(client, model)
    events = list(ask(client, model, stream=True))
    kinds = [event.type for event in events]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert events[0].message.content == []
    with client.messages.stream(model=model, messages=HELLO, max_tokens=12, extra_body=GREEDY) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == whole.content[0].text == final.content[0].text
    assert (final.stop_reason, final.usage.output_tokens) == ("max_tokens", 12)
    computed = final.usage.input_tokens + final.usage.cache_read_input_tokens
    assert computed == whole.usage.input_tokens + whole.usage.cache_read_input_tokens


def test_a_stop_sequence_is_named(client: Any, model: str) -> None:
    text = ask(client, model, max_tokens=30).content[0].text
    stop = text[20:24]
    answer = ask(client, model, max_tokens=30, stop_sequences=["nonesuch", stop])
    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", stop)
    assert answer.content[0].text == text[: text.index(stop)]
    last = next(
        e for e in ask(client, model, max_tokens=30, stop_sequences=[stop], stream=True) if e.type == "message_delta"
    )
    assert (last.delta.stop_reason, last.delta.stop_sequence) == ("stop_sequence", stop)


def test_the_system_prompt_is_the_systems_message(client: Any, model: str, server: LiveServer) -> None:
    plain = ask(client, model, system="Answer in Latin.").content
    blocks = ask(
        client, model, system=[{"type": "text", "text": "Answer in Latin.", "cache_control": {"type": "ephemeral"}}]
    )
    assert plain == blocks.content
    messages = [{"role": "system", "content": "Answer in Latin."}, *HELLO]
    same = server.post("/v1/chat/completions", {"messages": messages, "max_tokens": 12, "temperature": 0}).json
    assert plain[0].text == same["choices"][0]["message"]["content"]


def test_tools_are_called_whole_and_streamed(real_client: Any, real_model: str) -> None:
    fields = {"tools": [WEATHER, CLOCK], "tool_choice": {"type": "tool", "name": "get_weather"}, "max_tokens": 100}
    whole = ask(real_client, real_model, **fields)
    assert whole.stop_reason == "tool_use"
    (call,) = whole.content
    assert (call.type, call.name) == ("tool_use", "get_weather")
    assert call.id.startswith("toolu_")
    assert call.input["city"] in ("Lima", "Oslo")
    with real_client.messages.stream(model=real_model, messages=HELLO, extra_body=GREEDY, **fields) as stream:
        final = stream.get_final_message()
    assert [(block.name, block.input) for block in final.content] == [(call.name, call.input)]
    assert final.stop_reason == "tool_use"


def test_a_conversation_with_calls_and_results_goes_on(real_client: Any, real_model: str) -> None:
    fields = {"tools": [WEATHER], "tool_choice": {"type": "any", "disable_parallel_tool_use": True}, "max_tokens": 100}
    first = ask(real_client, real_model, **fields)
    result = {"type": "tool_result", "tool_use_id": first.content[0].id, "content": [{"type": "text", "text": "22"}]}
    messages = [*HELLO, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    answer = ask(real_client, real_model, messages=messages, tools=[WEATHER])
    assert answer.usage.output_tokens > 0
    counted = real_client.messages.count_tokens(model=real_model, messages=messages, tools=[WEATHER]).input_tokens
    without = real_client.messages.count_tokens(model=real_model, messages=messages).input_tokens
    assert answer.usage.input_tokens + answer.usage.cache_read_input_tokens == counted > without


def test_a_schema_is_followed(real_client: Any, real_model: str) -> None:
    schema = WEATHER["input_schema"]
    answer = ask(real_client, real_model, max_tokens=100,
                 extra_body={"output_config": {"format": {"type": "json_schema", "schema": schema}}})  # fmt: skip
    assert answer.stop_reason == "end_turn"
    assert json.loads(answer.content[0].text)["city"] in ("Lima", "Oslo")


def test_errors_have_the_clients_own_classes(client: Any, model: str) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        ask(client, "claude-nonesuch")
    assert missing.value.body["error"]["type"] == "not_found_error"
    assert missing.value.request_id.startswith("req-")
    assert ask(client, model)._request_id.startswith("req-")
    with pytest.raises(anthropic.BadRequestError, match="temperature"):
        ask(client, model, extra_body={"temperature": 9000})
    with pytest.raises(anthropic.BadRequestError, match="tokens, limit is 4,095"):
        ask(client, model, messages=[{"role": "user", "content": "word " * 6000}])


def test_wrong_keys_limits_and_large_requests_have_them_too(smollm2_path: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("key-of-few-words requests=1\n")
    args = ["--backend", "null", "--api-key-file", str(keys), "--max-body", "1"]
    with LiveServer(str(smollm2_path), *args) as live:
        with (
            anthropic.Anthropic(base_url=live.url, api_key="another", max_retries=0) as stranger,
            pytest.raises(anthropic.AuthenticationError) as wrong,
        ):
            ask(stranger, "")
        assert wrong.value.body["error"]["type"] == "authentication_error"
        with anthropic.Anthropic(base_url=live.url, api_key="key-of-few-words", max_retries=0) as known:
            with pytest.raises(anthropic.RequestTooLargeError) as large:
                ask(known, "", messages=[{"role": "user", "content": "x" * (1 << 20)}])
            assert large.value.body["error"]["type"] == "request_too_large"
            assert ask(known, "").stop_reason
            with pytest.raises(anthropic.RateLimitError) as limited:
                ask(known, "")
        assert limited.value.body["error"]["type"] == "rate_limit_error"
        assert 0 < int(limited.value.response.headers["retry-after-ms"]) <= 60_000


def test_closing_a_stream_early_frees_the_server(server: LiveServer, client: Any, model: str) -> None:
    stream = ask(client, model, stream=True, max_tokens=3000)
    next(iter(stream))
    stream.close()
    assert server.settles(lambda: is_idle(server))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"frobnicate": 1}, "frobnicate"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages[0].role"),
        ({"messages": [*HELLO, {"role": "assistant", "content": "Par"}]}, "assistant"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "http://x"}}]}]},
         "messages[0].content[0] is an image"),
        ({"messages": [{"role": "user", "content": [{"type": "document", "source": {}}]}]}, "a document"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_use", "id": "x", "name": "y", "input": {}}]}]},
         "tool_use"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0]"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking"),
        ({"mcp_servers": []}, "mcp_servers"),
        ({"container": "x"}, "container"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0]"),
        ({"tools": [{**WEATHER, "name": "get weather"}]}, "tools[0]"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "nonesuch"}}, "tool_choice"),
        ({"top_k": -3}, "top_k"),
        ({"stop_sequences": ["x"] * 1000}, "stop"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_by_its_name(server: LiveServer, fields: dict[str, Any], named: str) -> None:
    answer = server.post("/v1/messages", {"messages": HELLO, "max_tokens": 4, **fields})
    assert answer.status == 400, answer.body
    assert answer.json["type"] == "error"
    assert answer.json["error"]["type"] == "invalid_request_error"
    assert named in answer.json["error"]["message"]
