"""The likeliest tokens in the places of a prompt's tokens, whole or in chunks, beside requests that sample."""

from wayra.backends.api import BackendOptions
from wayra.backends.null import NullModel, null_spec
from wayra.engine.engine import Engine
from wayra.engine.request import Output, Request, SamplingParams
from wayra.engine.settings import EngineSettings

VOCAB_SIZE = 97
PROMPT = tuple(range(1, 41))
SCORED = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=True, prompt_top_logprobs=3)


def first_output(requests: list[Request], step_tokens: int) -> Output:
    options = BackendOptions(max_step_tokens=step_tokens, max_step_seqs=16)
    engine = Engine(NullModel(null_spec(VOCAB_SIZE, 512), options), EngineSettings())
    for request in requests:
        engine.add(request)
    found = [output for _ in range(100) for output in engine.step() if output.request_id == "scored"]
    assert not engine.has_work()
    return found[0]


def test_each_prompt_token_from_the_second_on_has_its_alternatives_most_likely_first() -> None:
    output = first_output([Request("scored", PROMPT, SCORED)], 64)
    assert output.prompt_logprobs is not None
    assert output.prompt_top is not None
    assert [len(top) for top in output.prompt_top] == [3] * (len(PROMPT) - 1)
    for top in output.prompt_top:
        logprobs = [logprob for _, logprob in top]
        assert logprobs == sorted(logprobs, reverse=True)


def test_the_first_alternative_is_what_greedy_decoding_would_have_said() -> None:
    output = first_output([Request("scored", PROMPT, SCORED)], 64)
    greedy = SamplingParams(temperature=0.0, max_tokens=1)
    asked = [first_output([Request("scored", PROMPT[:end], greedy)], 64).token_ids[0] for end in (1, 17, 39)]
    assert output.prompt_top is not None
    assert [output.prompt_top[end - 1][0][0] for end in (1, 17, 39)] == asked


def test_chunks_and_company_change_nothing() -> None:
    alone = first_output([Request("scored", PROMPT, SCORED)], 64)
    company = [Request(f"r{i}", PROMPT[i:], SamplingParams(temperature=0.9, seed=i, max_tokens=9)) for i in range(4)]
    among = first_output([*company, Request("scored", PROMPT, SCORED)], 16)
    assert (among.prompt_top, among.prompt_logprobs) == (alone.prompt_top, alone.prompt_logprobs)


def test_nothing_is_reported_unless_asked_for() -> None:
    params = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=True)
    assert first_output([Request("scored", PROMPT, params)], 64).prompt_top is None
