"""OpenAI's own Python client, unchanged, against the server."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_server import LiveServer, hang_up, is_idle
from pydantic import BaseModel, Field

openai = pytest.importorskip("openai")

HELLO: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]


class City(BaseModel):
    name: str = Field(max_length=12)
    country: str = Field(max_length=12)
    is_capital: bool
    districts: list[int] = Field(max_length=3)


def client_of(server: LiveServer, key: str = "none", **options: Any) -> Any:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, **options)


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
    found: str = client.models.list().data[0].id
    return found


def test_the_real_model_answers(real_client: Any) -> None:
    model = real_client.models.list().data[0].id
    continued = real_client.completions.create(
        model=model, prompt="The capital of France is", temperature=0, max_tokens=2
    )
    assert continued.choices[0].text == " Paris."
    answer = real_client.chat.completions.create(model=model, messages=HELLO, temperature=0, max_completion_tokens=9)
    assert answer.choices[0].message.content
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (37, 9)


def test_a_stream_joins_to_the_whole_answer(client: Any, model: str) -> None:
    options = {"model": model, "messages": HELLO, "temperature": 0, "max_tokens": 30}
    whole = client.chat.completions.create(**options)
    chunks = list(client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens == 30
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"
    assert len({c.id for c in chunks}) == 1


def test_the_streaming_helper_collects_the_same(client: Any, model: str) -> None:
    options = {"model": model, "messages": HELLO, "temperature": 0, "max_tokens": 30}
    text = client.chat.completions.create(**options).choices[0].message.content
    # The helper takes an answer cut off by its length for an error.
    with client.chat.completions.stream(**options, stop=text[20:30]) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == text[: text.index(text[20:30])]
    assert final.choices[0].finish_reason == "stop"


def test_logprobs_are_read(client: Any, model: str) -> None:
    answer = client.chat.completions.create(
        model=model, messages=HELLO, temperature=0, max_tokens=4, logprobs=True, top_logprobs=2
    )
    content = answer.choices[0].logprobs.content
    assert [len(entry.top_logprobs) for entry in content] == [2] * 4
    assert all(entry.logprob == entry.top_logprobs[0].logprob for entry in content)


# The client's own struct does not expect what the client puts into it.
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_answers_are_read_into_the_callers_own_class_whole_and_streamed(real_client: Any) -> None:
    fields = {"model": "", "messages": HELLO, "response_format": City, "temperature": 0, "max_tokens": 200}
    whole = real_client.chat.completions.parse(**fields).choices[0]
    assert whole.finish_reason == "stop"
    assert isinstance(whole.message.parsed, City)
    with real_client.chat.completions.stream(**fields) as stream:
        final = stream.get_final_completion().choices[0]
    assert final.message.parsed == whole.message.parsed
    again = [*HELLO, whole.message, {"role": "user", "content": "And of Peru?"}]
    assert isinstance(
        real_client.chat.completions.parse(**{**fields, "messages": again}).choices[0].message.parsed, City
    )
    free = real_client.chat.completions.create(
        model="", messages=HELLO, response_format={"type": "json_object"}, max_tokens=40, temperature=0
    )
    assert free.choices[0].message.content.startswith("{")


def test_completions_stream_and_echo(client: Any, model: str) -> None:
    options = {"model": model, "prompt": "One two", "temperature": 0, "max_tokens": 6}
    whole = client.completions.create(**options, echo=True, logprobs=1)
    assert whole.choices[0].text.startswith("One two")
    assert whole.choices[0].logprobs.token_logprobs[0] is None
    chunks = list(client.completions.create(**options, stream=True))
    assert "One two" + "".join(c.choices[0].text for c in chunks if c.choices) == whole.choices[0].text


def test_errors_have_the_clients_own_classes(server: LiveServer, client: Any, model: str) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model=model, messages=HELLO, temperature=9000)
    assert bad.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as unknown:
        client.chat.completions.create(model=model, messages=HELLO, extra_body={"frobnicate": 1})
    assert unknown.value.param == "frobnicate"
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-4", messages=HELLO)
    assert missing.value.code == "model_not_found"
    assert missing.value.request_id.startswith("req-")
    with pytest.raises(openai.BadRequestError, match="5,000 tokens, limit is 4,095"):
        client.completions.create(model=model, prompt=[5] * 5000)


def test_a_wrong_key_is_an_authentication_error(smollm2_path: Path) -> None:
    with LiveServer(str(smollm2_path), "--backend", "null", "--api-key", "sk-right-key") as live:
        with client_of(live, "sk-wrong-key") as wrong, pytest.raises(openai.AuthenticationError):
            wrong.models.list()
        with client_of(live, "sk-right-key") as right:
            assert right.models.list().data


def test_the_client_comes_again_when_the_queue_is_full(smollm2_path: Path) -> None:
    args = ["--backend", "null", "--max-batch", "1", "--max-waiting", "0", "--context", "4096"]
    with LiveServer(str(smollm2_path), *args) as live:
        sock = live.begin_chat()
        with client_of(live, max_retries=0) as impatient, pytest.raises(openai.RateLimitError):
            impatient.chat.completions.create(model="", messages=HELLO, max_tokens=1)
        hang_up(sock)
        with client_of(live, max_retries=5) as patient:
            assert patient.chat.completions.create(model="", messages=HELLO, max_tokens=1).choices


def test_closing_a_stream_early_frees_the_server(server: LiveServer, client: Any, model: str) -> None:
    stream = client.chat.completions.create(model=model, messages=HELLO, stream=True, extra_body={"ignore_eos": True})
    next(iter(stream))
    stream.close()
    assert server.settles(lambda: is_idle(server))


def test_many_streams_of_the_async_client_do_not_mix(server: LiveServer) -> None:
    async def ask(client: Any, number: int) -> tuple[str, str]:
        options = {"model": "", "messages": [{"role": "user", "content": f"Number {number}"}],
                   "temperature": 0, "max_tokens": 20}  # fmt: skip
        chunks = [c async for c in await client.chat.completions.create(**options, stream=True)]
        whole = await client.chat.completions.create(**options)
        return "".join(c.choices[0].delta.content or "" for c in chunks), whole.choices[0].message.content

    async def ask_all() -> list[tuple[str, str]]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            return await asyncio.gather(*(ask(client, number) for number in range(24)))

    answers = asyncio.run(ask_all())
    assert all(streamed == whole for streamed, whole in answers)
    assert len({streamed for streamed, _ in answers}) == 24


def test_the_first_token_of_a_stream_comes_before_the_last(real_client: Any) -> None:
    options = {"model": "", "messages": HELLO, "temperature": 0, "max_tokens": 200}
    began = time.monotonic()
    times = [
        time.monotonic() - began
        for _ in real_client.chat.completions.create(**options, stream=True, extra_body={"ignore_eos": True})
    ]
    assert len(times) > 20
    assert times[1] < times[-1] / 2
