"""The Python facade on the real model and the native backend: the same answers alone, together, streamed and async."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from wayra import LLM, SamplingParams
from wayra.base.settings import Settings

PROMPTS = ["The capital of France is", "2 + 2 =", "Once upon a time", "The sky is blue because", "import numpy as"]
GREEDY = SamplingParams(temperature=0.0, max_tokens=16)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def llm(smollm2_path: Path, settings: Settings) -> Iterator[LLM]:
    with LLM(smollm2_path, settings=settings, context_len=512, max_batch=8) as llm:
        yield llm


@pytest.fixture(scope="module")
def alone(llm: LLM) -> list[tuple[int, ...]]:
    return [llm.generate(prompt, GREEDY)[0].token_ids for prompt in PROMPTS]


def test_the_real_model_continues_a_fact(llm: LLM) -> None:
    assert llm.generate(PROMPTS[0], GREEDY)[0].text.startswith(" Paris")


def test_prompts_together_give_the_tokens_of_each_alone(llm: LLM, alone: list[tuple[int, ...]]) -> None:
    assert [c.token_ids for c in llm.generate(PROMPTS, GREEDY)] == alone


def test_concurrent_tasks_give_the_tokens_of_each_alone(llm: LLM, alone: list[tuple[int, ...]]) -> None:
    async def together() -> list[tuple[int, ...]]:
        found = await asyncio.gather(*(llm.agenerate(prompt, GREEDY) for prompt in PROMPTS))
        return [f[0].token_ids for f in found]

    assert asyncio.run(together()) == alone


def test_a_stream_gives_the_tokens_of_the_whole(llm: LLM, alone: list[tuple[int, ...]]) -> None:
    assert tuple(i for chunk in llm.stream(PROMPTS[2], GREEDY) for i in chunk.token_ids) == alone[2]


def test_weights_left_on_disk_give_the_same_tokens(
    settings: Settings, smollm2_path: Path, alone: list[tuple[int, ...]]
) -> None:
    with LLM(smollm2_path, settings=settings, context_len=512, max_batch=8, map_weights=True) as other:
        assert [c.token_ids for c in other.generate(PROMPTS, GREEDY)] == alone


def test_a_quick_start_gives_the_same_tokens_before_and_after_the_weights_have_moved(
    llm: LLM, settings: Settings, smollm2_path: Path, alone: list[tuple[int, ...]]
) -> None:
    def is_on_disk() -> bool:
        return str(settings.cache_dir / "packed") in Path("/proc/self/maps").read_text()

    with LLM(smollm2_path, settings=settings, context_len=512, max_batch=8, quick_start=True) as other:
        assert is_on_disk()
        assert [c.token_ids for c in other.generate(PROMPTS, GREEDY)] == alone
        deadline = time.monotonic() + 60
        while is_on_disk():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert [c.token_ids for c in other.generate(PROMPTS, GREEDY)] == alone


def test_a_cold_and_a_warm_cache_give_the_same_tokens(llm: LLM, settings: Settings, smollm2_path: Path) -> None:
    with LLM(smollm2_path, settings=settings, context_len=512, prefix_cache=False) as other:
        long_prompt = "The wind blows over the mountains. " * 20
        first = llm.generate(long_prompt, GREEDY)[0]
        again = llm.generate(long_prompt, GREEDY)[0]
        assert again.usage.cached_tokens > 100
        assert first.token_ids == again.token_ids == other.generate(long_prompt, GREEDY)[0].token_ids


def test_a_stop_string_ends_the_real_answer_before_it(llm: LLM) -> None:
    free = llm.generate(PROMPTS[2], GREEDY)[0].text
    stop = free[10:16]
    stopped = llm.generate(PROMPTS[2], SamplingParams(temperature=0.0, max_tokens=16, stop=(stop,)))[0]
    assert stopped.text == free[: free.index(stop)]
    assert stopped.finish_reason == "stop"


def test_memory_is_that_of_packed_weights_and_the_planned_blocks(llm: LLM, smollm2_path: Path) -> None:
    memory = llm.memory()
    # 30 layers, keys and values of 3 heads of 64 bytes and a scale of four, 512 tokens, eight requests.
    assert memory.kv_bytes == 30 * 2 * 3 * (64 + 4) * 512 * 8
    assert memory.weights_bytes < 1.1 * smollm2_path.stat().st_size
