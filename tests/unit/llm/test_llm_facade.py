"""LLM on the backend of predictable tokens, with the real tokenizer and chat template."""

import asyncio
import gc
import math
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest

from wayra.base.errors import BackendError, ContextOverflow, InvalidParameter, ModelNotFound, TemplateError
from wayra.base.settings import Settings
from wayra.engine.request import SamplingParams
from wayra.llm import LLM
from wayra.llm.prompts import PromptReader

GREEDY = SamplingParams(temperature=0.0, max_tokens=12)
PROMPTS = ["The capital of Peru is", "2 + 2 =", "Once upon a time", "Der Wind", "import numpy as"]
MESSAGES = [{"role": "user", "content": "Hello"}]
ENDLESS = SamplingParams(temperature=0.0, ignore_eos=True)


def settled(llm: LLM, holds: Callable[[Any], bool]) -> bool:
    """Whether the engine's figures come to satisfy `holds` within a while."""
    engine = llm._host.runner._engine  # pyright: ignore
    deadline = time.monotonic() + 20
    while not holds(engine.metrics()):  # pyright: ignore
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def is_idle(metrics: Any) -> bool:
    return metrics.running == 0 and metrics.waiting == 0


def test_completions_come_in_the_order_of_the_prompts_and_as_if_alone(null_llm: LLM) -> None:
    together = [c.token_ids for c in null_llm.generate(PROMPTS, GREEDY)]
    alone = [null_llm.generate(prompt, GREEDY)[0].token_ids for prompt in PROMPTS]
    assert together == alone
    assert len(set(together)) == len(PROMPTS)


def test_the_text_of_a_completion_is_that_of_its_tokens(null_llm: LLM) -> None:
    completion = null_llm.generate("The capital of Peru is", GREEDY)[0]
    assert completion.text == null_llm.tokenizer.decode(completion.token_ids)
    assert (completion.finish_reason, len(completion.token_ids)) == ("length", 12)


def test_usage_counts_prompt_cached_and_generated_tokens(null_llm: LLM) -> None:
    ids = [7] * 70
    first = null_llm.generate([ids], GREEDY)[0].usage
    again = null_llm.generate([ids], GREEDY)[0].usage
    assert (first.prompt_tokens, first.cached_tokens, first.completion_tokens) == (70, 0, 12)
    assert again.prompt_tokens == 70
    assert again.cached_tokens == 64


def test_timings_agree_with_each_other(null_llm: LLM) -> None:
    timings = null_llm.generate("Once upon a time", GREEDY)[0].timings
    assert timings.ttft_s is not None
    assert timings.decode_tokens_per_s is not None
    assert 0 < timings.ttft_s <= timings.total_s
    assert timings.ttft_s + 11 / timings.decode_tokens_per_s <= timings.total_s + 1e-9


def test_token_ids_prompt_as_their_text_does(null_llm: LLM) -> None:
    ids = null_llm.tokenizer.encode(PROMPTS[0])
    assert null_llm.generate([ids], GREEDY)[0].token_ids == null_llm.generate(PROMPTS[0], GREEDY)[0].token_ids


def test_each_prompt_may_have_params_of_its_own(null_llm: LLM) -> None:
    short = SamplingParams(temperature=0.0, max_tokens=3)
    found = null_llm.generate(PROMPTS[:2], [GREEDY, short])
    assert [len(c.token_ids) for c in found] == [12, 3]
    with pytest.raises(InvalidParameter, match="1 sampling params for 2 prompts"):
        null_llm.generate(PROMPTS[:2], [GREEDY])


def test_the_chunks_of_a_stream_joined_are_the_completion(null_llm: LLM) -> None:
    whole = null_llm.generate(PROMPTS[2], GREEDY)[0]
    stream = null_llm.stream(PROMPTS[2], GREEDY)
    chunks = list(stream)
    assert "".join(c.text for c in chunks) == whole.text
    assert tuple(i for c in chunks for i in c.token_ids) == whole.token_ids
    assert [c.finish_reason for c in chunks] == [None] * (len(chunks) - 1) + ["length"]
    assert stream.completion is chunks[-1].completion is not None
    assert len(chunks) == 12


def test_a_stop_string_across_tokens_ends_text_and_tokens_where_it_begins_and_ends(null_llm: LLM) -> None:
    free = null_llm.generate(PROMPTS[0], GREEDY)[0]
    pieces = [null_llm.tokenizer.decode([i]) for i in free.token_ids]
    stop = pieces[2][-1] + pieces[3] + pieces[4][:1]
    stopped = null_llm.generate(PROMPTS[0], SamplingParams(temperature=0.0, max_tokens=12, stop=(stop,)))[0]
    assert stopped.text == free.text[: free.text.index(stop)]
    assert stopped.token_ids == free.token_ids[:5]
    assert stopped.finish_reason == "stop"
    assert settled(null_llm, is_idle)


def test_a_stream_never_shows_a_part_of_a_stop_string(null_llm: LLM) -> None:
    free = null_llm.generate(PROMPTS[0], GREEDY)[0]
    stop = free.text[9:25]
    params = SamplingParams(temperature=0.0, max_tokens=12, stop=(stop,))
    shown = ""
    for chunk in null_llm.stream(PROMPTS[0], params):
        shown += chunk.text
        assert free.text[:9].startswith(shown)
    assert shown == free.text[:9]


def test_a_stop_string_is_not_looked_for_before_min_tokens(null_llm: LLM) -> None:
    free = null_llm.generate(PROMPTS[0], GREEDY)[0]
    first = null_llm.tokenizer.decode(free.token_ids[:1])
    params = SamplingParams(temperature=0.0, max_tokens=12, min_tokens=6, stop=(first,))
    kept = null_llm.generate(PROMPTS[0], params)[0]
    assert kept.text.startswith(free.text[: len(first)])
    assert len(kept.token_ids) >= 6


def test_logprobs_are_given_when_asked_for_and_only_then(null_llm: LLM) -> None:
    params = SamplingParams(temperature=0.0, max_tokens=3, logprobs=2, prompt_logprobs=True)
    asked = null_llm.generate([[1, 2, 3, 4]], params)[0]
    assert asked.logprobs is not None
    assert [p.token_id for p in asked.logprobs] == list(asked.token_ids)
    assert all(p.top[0] == (p.token_id, p.logprob) and len(p.top) == 2 for p in asked.logprobs)
    assert asked.prompt_logprobs is not None
    assert len(asked.prompt_logprobs) == 3
    plain = null_llm.generate([[1, 2, 3, 4]], GREEDY)[0]
    assert plain.logprobs is None
    assert plain.prompt_logprobs is None


def test_a_chat_is_its_rendered_text_without_another_bos(null_llm: LLM) -> None:
    rendered = null_llm.render(MESSAGES)
    ids = null_llm.tokenizer.encode(rendered, add_bos=False, parse_special=True)
    assert rendered.endswith("<|im_start|>assistant\n")
    assert null_llm.tokenizer.special_id("<|im_start|>") == ids[0]
    assert null_llm.prompt_ids(MESSAGES) == tuple(ids)
    assert null_llm.chat(MESSAGES, GREEDY).token_ids == null_llm.generate([ids], GREEDY)[0].token_ids


def test_one_conversation_gives_a_completion_and_a_list_of_them_a_list(null_llm: LLM) -> None:
    other = [{"role": "user", "content": "Good bye"}]
    both = null_llm.chat([MESSAGES, other], GREEDY)
    assert [c.text for c in both] == [null_llm.chat(m, GREEDY).text for m in (MESSAGES, other)]


def test_a_model_without_template_says_what_to_do_instead(null_llm: LLM) -> None:
    reader = PromptReader(null_llm.tokenizer, None, null_llm.spec.vocab_size)
    with pytest.raises(TemplateError, match="no chat template, it only continues text; use generate"):
        reader.read(MESSAGES)


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        ([1, 2, 3], r"bare token ids; wrap one prompt of ids in a list: \[\[1, 2, 3\]\]"),
        ([[]], "the prompt has no tokens"),
        ([""], "the prompt has no tokens"),
        ([[1, 99_999_999]], "token id 99999999 is outside the vocabulary, 0 to 49,151"),
        ([[-1]], "token id -1 is outside"),
        ([[1.5]], "a prompt holds a float"),
        ([None], "a prompt is a NoneType"),
        ([b"bytes"], "a prompt is a bytes"),
    ],
)
def test_what_is_no_prompt_is_refused_by_its_kind(null_llm: LLM, prompts: Any, said: str) -> None:
    with pytest.raises(InvalidParameter, match=said):
        null_llm.generate(prompts, GREEDY)


def test_no_prompts_give_no_completions(null_llm: LLM) -> None:
    assert null_llm.generate([], GREEDY) == []


def test_a_prompt_over_the_context_is_refused_with_both_numbers_and_cancels_the_others(null_llm: LLM) -> None:
    with pytest.raises(ContextOverflow, match=r"600.*512"):
        null_llm.generate(["fine", [5] * 600], [ENDLESS, GREEDY])
    assert settled(null_llm, is_idle)


def test_closing_a_stream_early_frees_its_place(null_llm: LLM) -> None:
    with null_llm.stream("Once", ENDLESS) as stream:
        next(stream)
    assert list(stream) == []
    assert settled(null_llm, is_idle)


def test_dropping_a_stream_cancels_it(null_llm: LLM) -> None:
    stream = null_llm.stream("Once", ENDLESS)
    next(stream)
    del stream
    gc.collect()
    assert settled(null_llm, is_idle)


def test_a_cancelled_stream_ends_with_the_reason(null_llm: LLM) -> None:
    stream = null_llm.stream("Once", ENDLESS)
    next(stream)
    stream.cancel()
    reasons = [chunk.finish_reason for chunk in stream]
    # 500 tokens may be over before the request to cancel arrives.
    assert reasons[-1] in {"cancelled", "length"}
    assert stream.completion is not None


def test_many_threads_get_what_each_would_get_alone(null_llm: LLM) -> None:
    prompts = [f"Thread {i} says" for i in range(24)]
    expected = [c.token_ids for c in null_llm.generate(prompts, GREEDY)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda p: null_llm.generate(p, GREEDY)[0].token_ids, prompts))
    assert found == expected


def run_async(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def test_many_tasks_get_what_each_would_get_alone(null_llm: LLM) -> None:
    prompts = [f"Task {i} says" for i in range(24)]
    expected = [c.token_ids for c in null_llm.generate(prompts, GREEDY)]

    async def all_at_once() -> list[tuple[int, ...]]:
        found = await asyncio.gather(*(null_llm.agenerate(p, GREEDY) for p in prompts))
        return [f[0].token_ids for f in found]

    assert run_async(all_at_once()) == expected


def test_async_chat_and_stream_answer_as_the_blocking_ones(null_llm: LLM) -> None:
    async def both() -> tuple[str, str, int]:
        text = ""
        stream = null_llm.astream(MESSAGES, GREEDY)
        async for chunk in stream:
            text += chunk.text
        assert stream.completion is not None
        many = await null_llm.achat([MESSAGES, MESSAGES], GREEDY)
        return text, (await null_llm.achat(MESSAGES, GREEDY)).text, len(many)

    expected = null_llm.chat(MESSAGES, GREEDY).text
    assert run_async(both()) == (expected, expected, 2)


def test_a_cancelled_task_cancels_its_request(smollm2_path: Path, llm_settings: Settings) -> None:
    with LLM(smollm2_path, settings=llm_settings, backend="null", context_len=8192, max_batch=2) as llm:

        async def cancel_both() -> None:
            waiting = asyncio.create_task(llm.agenerate("Once", ENDLESS))

            async def read() -> None:
                async for _ in llm.astream("Twice", ENDLESS):
                    pass

            reading = asyncio.create_task(read())
            await asyncio.to_thread(settled, llm, lambda m: m.running == 2)
            for task in (waiting, reading):
                task.cancel()
            for task in (waiting, reading):
                with pytest.raises(asyncio.CancelledError):
                    await task

        run_async(cancel_both())
        assert settled(llm, is_idle)
        assert llm._host.runner._engine.metrics().cancelled_requests == 2  # pyright: ignore


def test_leaving_an_async_stream_early_frees_its_place(null_llm: LLM) -> None:
    async def leave() -> None:
        async with null_llm.astream("Once", ENDLESS) as stream:
            async for _ in stream:
                break

    run_async(leave())
    assert settled(null_llm, is_idle)


def test_an_async_error_is_the_callers(null_llm: LLM) -> None:
    async def overflow() -> None:
        async for _ in null_llm.astream([5] * 600, GREEDY):
            pass

    with pytest.raises(ContextOverflow):
        run_async(overflow())
    with pytest.raises(ContextOverflow):
        run_async(null_llm.agenerate(["fine", [5] * 600], [ENDLESS, GREEDY]))
    assert settled(null_llm, is_idle)


def test_perplexity_is_what_the_prompt_logprobs_of_each_window_add_up_to(null_llm: LLM) -> None:
    ids = null_llm.tokenizer.encode("The wind blows over the mountains of Peru, and the condor with it. " * 3)
    scored: list[float] = []
    for start in range(0, len(ids) - 15, 16):
        params = SamplingParams(temperature=0.0, max_tokens=0, prompt_logprobs=True)
        (completion,) = null_llm.generate([ids[start : start + 16]], params)
        assert completion.prompt_logprobs is not None
        # Entry j is token j + 1; tokens 9 to 15 are the second half less its first.
        scored += completion.prompt_logprobs[8:]
    running: list[int] = []
    result = null_llm.perplexity(ids, context_len=16, on_window=lambda r: running.append(r.windows))
    assert result.tokens == len(scored) == 7 * (len(ids) // 16)
    assert result.perplexity == pytest.approx(math.exp(-sum(scored) / len(scored)))
    assert running == list(range(1, len(ids) // 16 + 1))


def test_sliding_perplexity_of_one_window_is_that_of_all_its_tokens(null_llm: LLM) -> None:
    ids = list(range(100, 140))
    params = SamplingParams(temperature=0.0, max_tokens=0, prompt_logprobs=True)
    (completion,) = null_llm.generate([ids], params)
    assert completion.prompt_logprobs is not None
    result = null_llm.perplexity(ids, context_len=64, stride=32)
    assert (result.tokens, result.windows) == (39, 1)
    assert result.mean_nll == pytest.approx(-sum(completion.prompt_logprobs) / 39)


def test_windows_as_long_as_the_context_are_scored_and_longer_ones_refused(null_llm: LLM) -> None:
    assert null_llm.perplexity([9] * 512, context_len=512).tokens == 255
    with pytest.raises(InvalidParameter, match="windows of 513 tokens do not fit the loaded context of 512"):
        null_llm.perplexity([9] * 600, context_len=513)


def test_a_closed_model_says_so(smollm2_path: Path, llm_settings: Settings) -> None:
    llm = LLM(smollm2_path, settings=llm_settings, backend="null")
    stream = llm.stream("Once", ENDLESS)
    next(stream)
    llm.close()
    llm.close()
    with pytest.raises(BackendError, match="closed"):
        list(stream)
    with pytest.raises(BackendError, match="closed"):
        llm.generate("Once", GREEDY)


def test_a_dropped_model_ends_its_thread_but_not_under_its_stream(smollm2_path: Path, llm_settings: Settings) -> None:
    def engine_threads() -> int:
        return sum(thread.name == "wayra-engine" for thread in threading.enumerate())

    before = engine_threads()
    stream = LLM(smollm2_path, settings=llm_settings, backend="null").stream("Once", GREEDY)
    gc.collect()
    assert sum(len(chunk.token_ids) for chunk in stream) == 12
    gc.collect()
    assert engine_threads() == before


def test_a_context_beyond_the_models_is_refused_with_both_numbers(smollm2_path: Path, llm_settings: Settings) -> None:
    with pytest.raises(InvalidParameter, match=r"context_len is 9,000 tokens, .* allows 8,192"):
        LLM(smollm2_path, settings=llm_settings, backend="null", context_len=9000)


def test_a_missing_model_is_named(llm_settings: Settings) -> None:
    with pytest.raises(ModelNotFound, match=r"/nowhere/model\.gguf"):
        LLM("/nowhere/model.gguf", settings=llm_settings, backend="null")


@pytest.mark.parametrize("wrong", [None, 5, b"bytes", {"role": "user"}])
def test_what_is_neither_text_nor_a_list_is_refused_by_name(null_llm: LLM, wrong: object) -> None:
    with pytest.raises(InvalidParameter, match=f"the prompts are a {type(wrong).__name__}"):
        null_llm.generate(cast(Any, wrong), GREEDY)
    if not isinstance(wrong, dict):
        with pytest.raises(InvalidParameter, match="expected a list of messages"):
            null_llm.chat(cast(Any, wrong), GREEDY)
