"""Scores over HTTP are those computed in process, in the form in which evaluation harnesses ask for them."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_server import LiveServer

from wayra.llm import LLM, SamplingParams

PAIRS = [
    ("The capital of France is", " Paris"),
    ("The capital of France is", " a fish"),
    ("Water boils at 100 degrees", " Celsius at sea level."),
    ("Question: 2 + 2?\nAnswer:", " 4"),
    ("I was born in", " a small town, and I have lived there for all of my life."),
]


@pytest.fixture(scope="module")
def llm(smollm2_path: Path) -> Iterator[LLM]:
    with LLM(smollm2_path, context_len=1024) as found:
        yield found


def harness_score(choice: dict[str, dict[str, list[object]]], context_len: int) -> tuple[float, bool]:
    """As lm-eval adds up what echo, logprobs 1 and max_tokens 1 give: the last token is the one generated."""
    found = choice["logprobs"]
    logprobs = found["token_logprobs"][context_len:-1]
    tops = found["top_logprobs"][context_len:-1]
    is_greedy = all(logprob == max(top.values()) for logprob, top in zip(logprobs, tops, strict=True))
    return math.fsum(logprobs), is_greedy


def test_a_harness_gets_the_scores_of_the_process(real_server: LiveServer, llm: LLM) -> None:
    contexts = [llm.tokenizer.encode(context) for context, _ in PAIRS]
    prompts = [ids + llm.tokenizer.encode(end, add_bos=False) for ids, (_, end) in zip(contexts, PAIRS, strict=True)]
    answer = real_server.post(
        "/v1/completions",
        {"model": "", "prompt": prompts, "echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0, "seed": 1234},
    )
    assert answer.status == 200, answer.body
    params = SamplingParams(temperature=0, max_tokens=0, prompt_logprobs=True, prompt_top_logprobs=1)
    expected = llm.generate(prompts, params)
    for choice, context, prompt, whole in zip(answer.json["choices"], contexts, prompts, expected, strict=True):
        assert whole.prompt_logprobs is not None
        assert whole.prompt_top is not None
        assert len(choice["logprobs"]["tokens"]) == len(prompt) + 1
        score, is_greedy = harness_score(choice, len(context))
        places = range(len(context) - 1, len(prompt) - 1)
        assert score == pytest.approx(math.fsum(whole.prompt_logprobs[i] for i in places), abs=1e-6)
        assert is_greedy == all(whole.prompt_top[i][0][0] == prompt[i + 1] for i in places)
    greedy = [harness_score(c, len(i))[1] for c, i in zip(answer.json["choices"], contexts, strict=True)]
    assert greedy[:2] == [True, False]


def test_the_token_that_ends_a_text_counts_as_the_one_asked_for(real_server: LiveServer, llm: LLM) -> None:
    """A harness cuts the last entry off, so a missing one would cost it a token of the prompt."""
    messages = [{"role": "user", "content": "Say hello."}, {"role": "assistant", "content": "Hello!"}]
    ids = real_server.post("/tokenize", {"messages": messages}).json["tokens"]
    end = next(iter(llm.tokenizer.eos_ids & set(ids)))
    prompt = ids[: len(ids) - 1 - ids[::-1].index(end)]
    fields = {"prompt": prompt, "logprobs": 1, "temperature": 0, "max_tokens": 1, "logit_bias": {str(end): 100}}
    plain = real_server.post("/v1/completions", fields).json["choices"][0]
    assert (plain["finish_reason"], plain["logprobs"]["tokens"]) == ("stop", [])
    scored = real_server.post("/v1/completions", {**fields, "echo": True}).json["choices"][0]
    assert len(scored["logprobs"]["tokens"]) == len(prompt) + 1
