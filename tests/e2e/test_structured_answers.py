"""The real model, made to answer in a structure and to call tools: valid whatever the temperature."""

import json
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from wayra import LLM, SamplingParams
from wayra.base.settings import Settings
from wayra.text.structure import Choice, JsonObject
from wayra.text.tools import ArgumentsDelta, CallStart, ToolChoice, hermes_format, read_tools, teach_tools

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "born": {"type": "string", "format": "date"},
    },
    "required": ["name", "age", "born"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture(scope="module")
def llm(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLM]:
    settings = Settings(cache_dir=tmp_path_factory.mktemp("cache"))
    with LLM(smollm2_path, settings=settings, context_len=1024, max_batch=8) as llm:
        yield llm


def test_every_answer_that_ends_is_valid_at_any_temperature(llm: LLM) -> None:
    prompts = ["Invent a person, as JSON: "] * 24
    params = [SamplingParams(temperature=seed / 12, seed=seed, max_tokens=120) for seed in range(len(prompts))]
    answers = [a for a in llm.generate(prompts, params, structured=PERSON) if a.finish_reason == "stop"]
    assert len(answers) >= 20
    for answer in answers:
        jsonschema.validate(json.loads(answer.text), PERSON, format_checker=jsonschema.FormatChecker())


def test_a_mask_does_not_disturb_those_who_answer_freely_beside_it(llm: LLM) -> None:
    greedy = SamplingParams(temperature=0.0, max_tokens=12)
    alone = llm.generate("The capital of France is", greedy)[0].token_ids
    with llm.stream("Answer with JSON: ", SamplingParams(temperature=0.0, max_tokens=64), structured=JsonObject()):
        assert llm.generate("The capital of France is", greedy)[0].token_ids == alone


def test_the_model_chooses_sensibly_among_choices(llm: LLM) -> None:
    (answer,) = llm.generate(
        "The capital of France is", SamplingParams(temperature=0.0), structured=Choice((" Paris", " Oslo"))
    )
    assert (answer.text, answer.finish_reason) == (" Paris", "stop")


def test_a_required_tool_is_called_with_valid_arguments(llm: LLM) -> None:
    tools = read_tools([WEATHER])
    fmt = hermes_format(llm.tokenizer)
    messages = teach_tools([{"role": "user", "content": "What is the weather in Lima?"}], tools)
    spec = fmt.grammar(tools, ToolChoice("required"), parallel=False)
    assert spec is not None
    answer = llm.chat(messages, SamplingParams(temperature=0.0, max_tokens=120), structured=spec)
    assert answer.finish_reason == "stop"
    parser = fmt.parser()
    events = parser.push(answer.text) + parser.finish()
    assert [event.name for event in events if isinstance(event, CallStart)] == ["get_weather"]
    arguments = json.loads("".join(event.text for event in events if isinstance(event, ArgumentsDelta)))
    assert list(arguments) == ["city"]
