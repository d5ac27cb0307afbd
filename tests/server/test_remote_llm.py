"""LLM over a running server answers as LLM in this process does, and says in a sentence what went wrong."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from live_server import LiveServer, is_idle

from wayra.base.errors import (
    AccessDenied,
    BackendError,
    ContextOverflow,
    InvalidParameter,
    ModelNotFound,
    ServerError,
    ServerUnreachable,
)
from wayra.base.settings import Settings
from wayra.engine.request import SamplingParams
from wayra.llm import LLM
from wayra.text.structure import Choice, Regex

GREEDY = SamplingParams(temperature=0.0, max_tokens=12)
ENDLESS = SamplingParams(temperature=0.0, ignore_eos=True)
PROMPTS = ["The capital of Peru is", "2 + 2 =", [7, 8, 9], "Der Wind weht über die Anden 🦙"]
MESSAGES = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def local(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLM]:
    settings = Settings(cache_dir=tmp_path_factory.mktemp("cache"), prefix_disk_bytes=0)
    with LLM(smollm2_path, settings=settings, backend="null", context_len=4096) as llm:
        yield llm


@pytest.fixture(scope="module")
def remote(server: LiveServer) -> Iterator[LLM]:
    with LLM(url=server.url) as llm:
        yield llm


def test_completions_are_those_of_the_model_in_this_process(local: LLM, remote: LLM) -> None:
    here, there = local.generate(PROMPTS, GREEDY), remote.generate(PROMPTS, GREEDY)
    assert [(c.text, c.token_ids, c.finish_reason) for c in there] == [
        (c.text, c.token_ids, c.finish_reason) for c in here
    ]
    assert [c.usage.prompt_tokens for c in there] == [c.usage.prompt_tokens for c in here]
    assert [c.usage.completion_tokens for c in there] == [12] * 4


def test_chats_and_their_token_ids_are_the_same_too(local: LLM, remote: LLM) -> None:
    there = remote.chat(MESSAGES, GREEDY)
    here = local.chat(MESSAGES, GREEDY)
    assert (there.text, there.token_ids, there.usage.prompt_tokens) == (
        here.text,
        here.token_ids,
        here.usage.prompt_tokens,
    )
    assert remote.prompt_ids(MESSAGES) == local.prompt_ids(MESSAGES)
    assert remote.prompt_ids("Hello <|im_end|>") == local.prompt_ids("Hello <|im_end|>")


def test_sampling_reaches_the_server(local: LLM, remote: LLM) -> None:
    params = SamplingParams(
        temperature=0.9, top_k=40, top_p=0.95, min_p=0.01, repetition_penalty=1.1, presence_penalty=0.2,
        frequency_penalty=0.1, seed=7, max_tokens=20, min_tokens=4, logit_bias={20: 3.0}, stop_token_ids=(11,),
    )  # fmt: skip
    assert remote.generate("Once", params)[0].token_ids == local.generate("Once", params)[0].token_ids


def test_a_stop_string_ends_text_and_ids_at_the_same_place(local: LLM, remote: LLM) -> None:
    whole = local.generate("Once", GREEDY)[0].text
    params = SamplingParams(temperature=0.0, max_tokens=12, stop=(whole[8:12],))
    here, there = local.generate("Once", params)[0], remote.generate("Once", params)[0]
    assert (there.text, there.token_ids, there.finish_reason) == (here.text, here.token_ids, "stop")


def test_a_stream_joins_to_its_completion_and_its_chunks_carry_the_ids(local: LLM, remote: LLM) -> None:
    with remote.stream(MESSAGES, GREEDY) as stream:
        chunks = list(stream)
    assert stream.completion is not None
    assert "".join(c.text for c in chunks) == stream.completion.text == local.chat(MESSAGES, GREEDY).text
    assert tuple(i for c in chunks for i in c.token_ids) == stream.completion.token_ids
    assert [c.finish_reason for c in chunks[:-1]] == [None] * (len(chunks) - 1)
    timings = stream.completion.timings
    assert timings.ttft_s is not None
    assert 0 < timings.ttft_s <= timings.total_s


@pytest.mark.parametrize("prompt", ["The capital of Peru is", MESSAGES], ids=["completion", "chat"])
def test_log_probabilities_name_tokens_by_id(local: LLM, remote: LLM, prompt: object) -> None:
    params = SamplingParams(temperature=0.0, max_tokens=5, logprobs=3)
    with local.stream(prompt, params) as here, remote.stream(prompt, params) as there:  # type: ignore[arg-type]
        list(here), list(there)
    assert here.completion is not None
    assert there.completion is not None
    assert there.completion.logprobs == here.completion.logprobs


def test_scores_of_a_prompt_are_those_computed_here(local: LLM, remote: LLM) -> None:
    params = SamplingParams(temperature=0.0, max_tokens=0, prompt_logprobs=True, prompt_top_logprobs=2)
    here, there = local.generate(PROMPTS, params), remote.generate(PROMPTS, params)
    assert [c.prompt_logprobs for c in there] == [c.prompt_logprobs for c in here]
    assert [c.prompt_top for c in there] == [c.prompt_top for c in here]
    text = "A wind from the mountains, and a wind from the sea. " * 20
    one, other = local.perplexity(text, context_len=64), remote.perplexity(text, context_len=64)
    assert (other.perplexity, other.tokens, other.windows) == (one.perplexity, one.tokens, one.windows)


def test_vectors_are_those_of_the_server_in_the_order_of_the_prompts(local: LLM, remote: LLM) -> None:
    prompts = ["a", [5, 6], "b", "c"]
    np.testing.assert_allclose(remote.embed(prompts), local.embed(prompts), atol=1e-6)
    np.testing.assert_allclose(remote.embed(prompts, pooling="last"), local.embed(prompts, pooling="last"), atol=1e-6)
    with pytest.raises(InvalidParameter, match="length 1"):
        remote.embed("a", normalise=False)


def test_structures_are_enforced_by_the_server(remote: LLM) -> None:
    params = SamplingParams(temperature=0.0, max_tokens=64)
    assert remote.chat(MESSAGES, params, structured=Choice(("llama", "alpaca"))).text in ("llama", "alpaca")
    assert remote.generate("n:", params, structured=Regex("[0-9]{3}"))[0].text.isdigit()
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    schema["additionalProperties"] = False
    assert remote.chat(MESSAGES, params, structured=schema).text.strip().startswith("{")


def test_async_callers_share_one_connection_pool(local: LLM, remote: LLM) -> None:
    async def all_of_it() -> tuple[list[str], str, str]:
        generated = await remote.agenerate(PROMPTS, GREEDY)
        chatted = await remote.achat(MESSAGES, GREEDY)
        streamed = [chunk.text async for chunk in remote.astream(MESSAGES, GREEDY)]
        return [c.text for c in generated], chatted.text, "".join(streamed)

    generated, chatted, streamed = asyncio.run(all_of_it())
    assert generated == [c.text for c in local.generate(PROMPTS, GREEDY)]
    assert chatted == streamed == local.chat(MESSAGES, GREEDY).text


def test_leaving_a_stream_ends_the_request_on_the_server(server: LiveServer, remote: LLM) -> None:
    with remote.stream(MESSAGES, ENDLESS) as stream:
        assert next(stream).text
    assert server.settles(lambda: is_idle(server))
    with remote.stream("Once", ENDLESS) as stream:
        next(stream)
        stream.cancel()
        rest = list(stream)
    assert rest[-1].finish_reason == "cancelled"
    assert rest[-1].completion is not None
    assert server.settles(lambda: is_idle(server))


def test_max_tokens_none_goes_to_the_end_of_the_context(server: LiveServer) -> None:
    with LLM(url=server.url) as llm:
        completion = llm.generate([[9] * 4000], ENDLESS)[0]
    assert (completion.finish_reason, completion.usage.completion_tokens) == ("length", llm.context_len - 4000)


def test_more_prompts_than_the_server_queues_are_all_answered(smollm2_path: Path) -> None:
    args = ("--backend", "null", "--context", "256", "--max-batch", "2", "--max-waiting", "2")
    with LiveServer(str(smollm2_path), *args) as small, LLM(url=small.url) as llm:
        found = llm.generate(
            [[5, i] for i in range(14)], SamplingParams(temperature=0.0, max_tokens=4, ignore_eos=True)
        )
        assert small.metric("wayra:requests_refused_total") > 0
    assert [len(c.token_ids) for c in found] == [4] * 14


def test_what_only_a_model_in_this_process_has_is_refused_by_name(remote: LLM) -> None:
    for ask in (lambda: remote.tokenizer, lambda: remote.spec, lambda: remote.template, remote.memory):
        with pytest.raises(InvalidParameter, match="runs at http://127"):
            ask()
    with pytest.raises(InvalidParameter, match="threads says how to load a model"):
        LLM(url="http://127.0.0.1:1", threads=2)
    with pytest.raises(InvalidParameter, match="without the url"):
        LLM(api_key="k")
    with pytest.raises(InvalidParameter, match="max_tokens to 0"):
        remote.generate("a", SamplingParams(prompt_logprobs=True, max_tokens=3))


def test_errors_of_a_request_are_typed_and_in_the_servers_words(remote: LLM) -> None:
    with pytest.raises(ContextOverflow, match=r"5,000 tokens.*4,0"):
        remote.generate([[5] * 5000], GREEDY)
    with pytest.raises(InvalidParameter, match="vocabulary"):
        remote.generate([[10**6]], GREEDY)
    with pytest.raises(InvalidParameter, match="messages"):
        remote.chat([{"role": "nobody", "content": "Hi"}], GREEDY)
    with pytest.raises(InvalidParameter, match="JSON"):
        remote.chat([{"role": "user", "content": object()}], GREEDY)


def test_a_name_the_server_has_not_is_told_with_those_it_has(server: LiveServer, remote: LLM) -> None:
    with pytest.raises(ModelNotFound, match=r"'gpt-9'.*it serves: .*SmolLM2"):
        LLM("gpt-9", url=server.url)
    with LLM(remote.name, url=f"{server.url}/v1/") as again:
        assert again.name == remote.name


def test_a_key_is_sent_and_its_lack_is_said(smollm2_path: Path, tmp_path: Path) -> None:
    with LiveServer(str(smollm2_path), "--backend", "null", "--context", "256", "--api-key", "secret-key") as guarded:
        with pytest.raises(AccessDenied, match="API key"):
            LLM(url=guarded.url, settings=Settings(cache_dir=tmp_path))
        with LLM(url=guarded.url, settings=Settings(cache_dir=tmp_path, api_key="secret-key")) as llm:
            assert llm.generate("a", GREEDY)[0].token_ids
        with LLM(url=guarded.url, api_key="secret-key") as llm:
            assert llm.generate("a", GREEDY)[0].token_ids


def test_no_server_and_no_api_are_told_apart(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ServerUnreachable, match="is the server running"):
            LLM(url=f"http://127.0.0.1:{taken.getsockname()[1]}")
    with pytest.raises(InvalidParameter, match="no URL"):
        LLM(url="localhost:8000")


def test_a_server_that_dies_ends_its_answers_with_an_error(smollm2_path: Path) -> None:
    with LiveServer(str(smollm2_path), "--backend", "null", "--context", "4096") as dying, LLM(url=dying.url) as llm:
        stream = llm.stream("Once", ENDLESS)
        next(stream)
        dying.process.kill()
        with pytest.raises((ServerUnreachable, ServerError)):
            list(stream)
        with pytest.raises(ServerUnreachable):
            llm.generate("again", GREEDY)


def test_a_closed_facade_says_so(server: LiveServer) -> None:
    llm = LLM(url=server.url)
    stream = llm.stream("Once", ENDLESS)
    next(stream)
    llm.close()
    llm.close()
    with pytest.raises(BackendError, match="closed"):
        list(stream)
    with pytest.raises(BackendError, match="closed"):
        llm.generate("a", GREEDY)
