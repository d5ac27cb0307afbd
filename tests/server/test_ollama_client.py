"""Ollama's own Python client, unchanged, against the server; and what its API answers field by field."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from live_server import LiveServer, is_idle, read_to_end

ollama = pytest.importorskip("ollama")

HELLO: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]
GREEDY: dict[str, Any] = {"temperature": 0, "num_predict": 12}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Lima", "Oslo"]}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {"name": "get_weather", "description": "The weather in a city", "parameters": SCHEMA},
}


def client_of(server: LiveServer) -> Any:
    return ollama.Client(host=server.url)


@pytest.fixture
def client(server: LiveServer) -> Iterator[Any]:
    with client_of(server) as found:
        yield found


@pytest.fixture
def real_client(real_server: LiveServer) -> Iterator[Any]:
    with client_of(real_server) as found:
        yield found


@pytest.fixture
def model(client: Any) -> str:
    return str(client.list().models[0].model)


@pytest.fixture
def real_model(real_client: Any) -> str:
    return str(real_client.list().models[0].model)


def openai_text(server: LiveServer, **fields: Any) -> str:
    sampling = {"messages": HELLO, "max_tokens": 12, "temperature": 0, "top_k": 40, "top_p": 0.9, **fields}
    return str(server.post("/v1/chat/completions", sampling).json["choices"][0]["message"]["content"])


def test_a_chat_is_answered_with_counts_and_durations(client: Any, model: str, server: LiveServer) -> None:
    answer = client.chat(model=model, messages=HELLO, options=GREEDY)
    assert answer.message.role == "assistant"
    assert answer.message.content == openai_text(server)
    assert (answer.model, answer.done, answer.done_reason, answer.eval_count) == (model, True, "length", 12)
    assert answer.prompt_eval_count == len(server.post("/tokenize", {"messages": HELLO}).json["tokens"])
    assert answer.total_duration == pytest.approx(answer.prompt_eval_duration + answer.eval_duration, abs=2)
    assert answer.prompt_eval_duration > 0


def test_a_stream_joins_to_the_whole_answer(client: Any, model: str) -> None:
    whole = client.chat(model=model, messages=HELLO, options=GREEDY)
    parts = list(client.chat(model=model, messages=HELLO, options=GREEDY, stream=True))
    assert "".join(part.message.content for part in parts) == whole.message.content
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert (parts[-1].eval_count, parts[-1].done_reason) == (12, "length")
    assert parts[-1].prompt_eval_count == whole.prompt_eval_count


def test_generate_is_a_chat_of_one_turn_and_raw_is_the_text_alone(client: Any, model: str, server: LiveServer) -> None:
    prompt = HELLO[0]["content"]
    whole = client.generate(model=model, prompt=prompt, options=GREEDY)
    assert whole.response == openai_text(server)
    streamed = list(client.generate(model=model, prompt=prompt, options=GREEDY, stream=True))
    assert "".join(part.response for part in streamed) == whole.response
    latin = client.generate(model=model, prompt=prompt, system="Answer in Latin.", options=GREEDY).response
    assert latin == openai_text(server, messages=[{"role": "system", "content": "Answer in Latin."}, *HELLO])
    raw = client.generate(model=model, prompt=prompt, raw=True, options=GREEDY).response
    fields = {"prompt": prompt, "max_tokens": 12, "temperature": 0}
    assert raw == server.post("/v1/completions", fields).json["choices"][0]["text"]


def test_options_reach_the_sampler(client: Any, model: str) -> None:
    def ask(**options: Any) -> Any:
        return client.chat(model=model, messages=HELLO, options={"num_predict": 12, **options})

    hot = {"temperature": 2.0, "top_k": 0, "top_p": 1.0, "min_p": 0.01, "repeat_penalty": 1.2}
    assert ask(seed=7, **hot).message.content == ask(seed=7, **hot).message.content
    assert ask(seed=7, **hot).message.content != ask(seed=8, **hot).message.content
    text = ask(temperature=0).message.content
    stopped = ask(temperature=0, stop=[text[8:11]])
    assert stopped.message.content == text[: text.index(text[8:11])]
    assert stopped.done_reason == "stop"
    assert ask(temperature=0, num_ctx=2048, num_thread=2, num_gpu=0).message.content == text


def test_logprobs_name_tokens_and_alternatives(server: LiveServer) -> None:
    fields = {"messages": HELLO, "options": {"temperature": 0, "num_predict": 4}, "logprobs": True, "top_logprobs": 2}
    found = server.post("/api/chat", {**fields, "stream": False}).json["logprobs"]
    assert [len(entry["top_logprobs"]) for entry in found] == [2] * 4
    lines = server.post("/api/chat", fields).body.splitlines()
    assert [entry for line in lines for entry in json.loads(line).get("logprobs", [])] == found


def test_a_format_is_followed(real_client: Any, real_model: str) -> None:
    options = {"temperature": 0, "num_predict": 200}
    fitting = real_client.chat(model=real_model, messages=HELLO, format=SCHEMA, options=options)
    assert json.loads(fitting.message.content)["city"] in ("Lima", "Oslo")
    prompt = "Name a city as a short JSON object."
    whole = real_client.generate(model=real_model, prompt=prompt, format="json", options=options)
    assert whole.done_reason == "length" or isinstance(json.loads(whole.response), dict)
    assert whole.response.lstrip().startswith("{")


def test_tools_are_called_whole_and_streamed(real_client: Any, real_model: str) -> None:
    ask: list[Any] = [
        {"role": "system", "content": "Call get_weather for Lima, always."},
        {"role": "user", "content": "What is the weather in Lima? Use the tool."},
    ]
    fields = {"messages": ask, "tools": [WEATHER], "options": {"temperature": 0, "num_predict": 100}}
    whole = real_client.chat(model=real_model, **fields)
    parts = list(real_client.chat(model=real_model, **fields, stream=True))
    streamed = [call for part in parts for call in part.message.tool_calls or ()]
    assert [c.function for c in streamed] == [c.function for c in whole.message.tool_calls or ()]
    assert "".join(part.message.content or "" for part in parts) == (whole.message.content or "")
    called = {"role": "assistant", "content": "",
              "tool_calls": [{"function": {"name": "get_weather", "arguments": {"city": "Lima"}}}]}  # fmt: skip
    result = {"role": "tool", "tool_name": "get_weather", "content": "22 degrees"}
    more = real_client.chat(model=real_model, messages=[*ask, called, result], tools=[WEATHER], options=GREEDY)
    assert more.prompt_eval_count > whole.prompt_eval_count


def test_models_are_listed_shown_and_loaded(client: Any, model: str, server: LiveServer) -> None:
    (listed, *_) = client.list().models
    assert listed.details.family == "llama"
    assert listed.details.parameter_size == "134.52M"
    shown = client.show(model)
    assert shown.modelinfo["general.parameter_count"] == 134515008
    assert shown.modelinfo["llama.block_count"] == 30
    assert "completion" in shown.capabilities
    assert "<|im_start|>" in shown.template
    (running,) = client.ps().models
    assert (running.model, running.context_length, running.size_vram) == (model, 4096, 0)
    assert re.fullmatch("[0-9a-f]{64}", listed.digest)
    assert running.digest == listed.digest == server.post("/api/show", {"model": model}).json["digest"]
    assert client.generate(model=model, prompt="").done_reason == "load"
    assert client.generate(model=f"{model}:latest", prompt="Hi", options=GREEDY).eval_count == 12
    assert server.get("/api/version").json["version"]


def test_a_program_need_not_name_its_json(server: LiveServer) -> None:
    fields = b'{"prompt": "Hi", "stream": false, "options": {"num_predict": 2}}'
    for kind in ("application/x-www-form-urlencoded", "text/plain", ""):
        assert server.ask("POST", "/api/generate", fields, {"Content-Type": kind}).json["eval_count"] == 2
    with server.connect() as sock:
        head = b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        sock.sendall(head + b"Content-Length: %d\r\n\r\n%b" % (len(fields), fields))
        assert read_to_end(sock).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.test"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 415),
        ({"Sec-Fetch-Mode": "no-cors"}, 415),
        ({"Origin": "OWN"}, 415),
    ],
)
def test_a_browser_has_to(server: LiveServer, headers: dict[str, str], status: int) -> None:
    own = {name: server.url if value == "OWN" else value for name, value in headers.items()}
    answer = server.ask("POST", "/api/generate", b'{"prompt": "Hi"}', {"Content-Type": "text/plain", **own})
    assert answer.status == status
    assert set(answer.json) == {"error"}


def test_errors_have_the_clients_own_class(client: Any, model: str) -> None:
    with pytest.raises(ollama.ResponseError, match="there is no model") as missing:
        client.chat(model="nonesuch", messages=HELLO)
    assert missing.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="temperature"):
        client.chat(model=model, messages=HELLO, options={"temperature": 9000})
    with pytest.raises(ollama.ResponseError, match="limit is 4,095"):
        list(client.chat(model=model, messages=[{"role": "user", "content": "word " * 6000}], stream=True))
    with pytest.raises(ollama.ResponseError, match="there is no '/api/pull'"):
        client.pull("llama3")


def test_closing_a_stream_early_frees_the_server(client: Any, model: str, server: LiveServer) -> None:
    stream = client.chat(model=model, messages=HELLO, stream=True)
    next(stream)
    stream.close()
    assert server.settles(lambda: is_idle(server))


@pytest.mark.parametrize(
    ("path", "fields", "named"),
    [
        ("/api/chat", {"frobnicate": 1}, "frobnicate"),
        ("/api/chat", {"options": {"frobnicate": 1}}, "options.frobnicate"),
        ("/api/chat", {"options": {"num_ctx": 99999}}, "options.num_ctx"),
        ("/api/chat", {"options": {"mirostat": 2}}, "options.mirostat"),
        ("/api/chat", {"options": {"typical_p": 0.5}}, "options.typical_p"),
        ("/api/chat", {"options": {"repeat_last_n": 64}}, "options.repeat_last_n"),
        ("/api/chat", {"options": {"top_p": 2}}, "top_p"),
        ("/api/chat", {"options": {"num_predict": 10**12}}, "num_predict is"),
        ("/api/chat", {"options": {"repeat_penalty": 0}}, "repeat_penalty is"),
        ("/api/chat", {"think": True}, "think"),
        ("/api/chat", {"format": "xml"}, "format"),
        ("/api/chat", {"format": "json", "tools": [WEATHER]}, "format"),
        ("/api/chat", {"tools": [WEATHER, WEATHER]}, "get_weather"),
        ("/api/chat", {"top_logprobs": 3}, "top_logprobs"),
        ("/api/chat", {"messages": [{"role": "user"}]}, "messages[0]"),
        ("/api/chat", {"messages": [{"role": "user", "content": "x", "images": ["aGk="]}]},
         "messages[0].images is not supported"),
        ("/api/chat", {"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ("/api/generate", {"suffix": "x"}, "suffix"),
        ("/api/generate", {"template": "{{ .Prompt }}"}, "template"),
        ("/api/generate", {"context": [1, 2]}, "context"),
        ("/api/generate", {"images": ["aGk="]}, "images"),
        ("/api/generate", {"raw": True, "system": "x"}, "system"),
        ("/api/show", {"frobnicate": 1}, "frobnicate"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_by_its_name(
    server: LiveServer, path: str, fields: dict[str, Any], named: str
) -> None:
    basis: dict[str, Any] = {"/api/chat": {"messages": HELLO}, "/api/generate": {"prompt": "x"}}.get(path, {})
    answer = server.post(path, {**basis, **fields})
    assert answer.status == 400, answer.body
    assert set(answer.json) == {"error"}
    assert named in answer.json["error"]
