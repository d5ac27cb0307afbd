"""Speculation with the real model on the native backend: the very same tokens, sooner."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from wayra import LLM, SamplingParams
from wayra.base.settings import Settings
from wayra.llm import Completion

TEXT = (
    "The lighthouse was built by the harbour guild in 1871. The lamp burned whale oil for twenty years. "
    "The keeper wrote down the weather, the ships and the birds. "
)
PROMPTS = [
    f"Repeat this text word by word:\n\n{TEXT * 3}",
    f"Summarise this text in two sentences:\n\n{TEXT * 3}",
    "Why is the sea salty?",
]
# One thread: what is compared here is speculation, not the number of threads.
THREADS = 1


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def plain(smollm2_path: Path, settings: Settings) -> Iterator[LLM]:
    with LLM(smollm2_path, settings=settings, context_len=1024, speculate="off", threads=THREADS) as llm:
        yield llm


def answers(llm: LLM, params: SamplingParams) -> list[Completion]:
    """Each prompt alone, then all together."""
    talks = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
    return [llm.chat(talk, params) for talk in talks] + llm.chat(talks, params)


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(temperature=0.0, max_tokens=64, logprobs=2),
        SamplingParams(temperature=0.8, seed=11, max_tokens=64, top_p=0.9),
        SamplingParams(temperature=0.0, max_tokens=64, repetition_penalty=1.1, frequency_penalty=0.3),
    ],
    ids=["greedy", "sampled", "penalised"],
)
def test_lookup_gives_the_tokens_of_plain_decoding(
    plain: LLM, smollm2_path: Path, settings: Settings, params: SamplingParams
) -> None:
    with LLM(smollm2_path, settings=settings, context_len=1024, threads=THREADS) as llm:
        found, expected = answers(llm, params), answers(plain, params)
    assert [c.token_ids for c in found] == [c.token_ids for c in expected]
    assert [c.logprobs for c in found] == [c.logprobs for c in expected]
    assert [c.finish_reason for c in found] == [c.finish_reason for c in expected]
    assert sum(c.usage.drafted_tokens for c in expected) == 0


def test_a_draft_model_gives_the_tokens_of_plain_decoding(plain: LLM, smollm2_path: Path, settings: Settings) -> None:
    params = SamplingParams(temperature=0.8, seed=3, max_tokens=48)
    draft = str(smollm2_path)
    with LLM(smollm2_path, settings=settings, context_len=1024, threads=THREADS, draft_model=draft) as llm:
        assert [c.token_ids for c in answers(llm, params)] == [c.token_ids for c in answers(plain, params)]
        # The weights of both, though they come from one file.
        assert llm.memory().weights_bytes == 2 * plain.memory().weights_bytes
