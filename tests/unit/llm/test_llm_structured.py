"""`structured=` of the facade: what may be passed, and answers that follow it."""

import asyncio
import enum
import json
from dataclasses import dataclass
from typing import Literal, TypedDict

import msgspec
import pydantic
import pytest

from wayra.base.errors import InvalidParameter
from wayra.engine.request import SamplingParams
from wayra.llm import LLM
from wayra.llm.structured import as_spec
from wayra.text.structure import Choice, JsonSchema, Regex


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


class Struct(msgspec.Struct):
    mood: Mood
    size: Literal[1, 2]


@dataclass
class Data:
    mood: Mood
    size: Literal[1, 2]


class Typed(TypedDict):
    mood: Mood
    size: Literal[1, 2]


class Model(pydantic.BaseModel):
    mood: Mood
    size: Literal[1, 2]


@pytest.mark.parametrize("kind", [Struct, Data, Typed, Model])
def test_an_answer_of_a_type_can_be_read_as_that_type(null_llm: LLM, kind: type) -> None:
    params = SamplingParams(temperature=2.0, seed=1, max_tokens=300)
    for answer in null_llm.generate(["a", "b", "c"], params, structured=kind):
        assert answer.finish_reason == "stop"
        value = Model.model_validate_json(answer.text) if kind is Model else msgspec.json.decode(answer.text, type=kind)
        fields = value if isinstance(value, dict) else {"mood": value.mood, "size": value.size}
        assert (fields["mood"] in Mood, fields["size"] in (1, 2), len(fields)) == (True, True, 2)


def test_types_allow_no_further_keys_and_other_specs_are_taken_as_they_are() -> None:
    spec = as_spec(list[Struct])
    assert isinstance(spec, JsonSchema)
    assert json.loads(spec.text)["$defs"]["Struct"]["additionalProperties"] is False
    assert as_spec({"type": "object", "properties": {}}) == JsonSchema('{"type": "object", "properties": {}}')
    assert as_spec(Regex("a")) == Regex("a")


@pytest.mark.parametrize("given", [3, "text", object, set, [1], open])
def test_what_has_no_schema_is_refused(given: object) -> None:
    with pytest.raises(InvalidParameter, match=r"structured is|has no JSON schema"):
        as_spec(given)


def test_every_way_to_ask_takes_a_structure(null_llm: LLM) -> None:
    choice = Choice(("yes", "no"))
    chat = [{"role": "user", "content": "Well?"}]

    async def asked() -> list[str]:
        texts = [c.text for c in await null_llm.agenerate(["a"], structured=choice)]
        texts.append((await null_llm.achat(chat, structured=choice)).text)
        texts.append("".join([chunk.text async for chunk in null_llm.astream("a", structured=choice)]))
        return texts

    texts = [c.text for c in null_llm.generate(["a", "b"], structured=choice)]
    texts.append(null_llm.chat(chat, structured=choice).text)
    texts.append("".join(chunk.text for chunk in null_llm.stream("a", structured=choice)))
    assert set(texts + asyncio.run(asked())) <= {"yes", "no"}


def test_a_structure_beside_ignore_eos_is_refused(null_llm: LLM) -> None:
    with pytest.raises(InvalidParameter, match="ignore_eos"):
        null_llm.generate("a", SamplingParams(ignore_eos=True, max_tokens=5), structured=Choice(("a",)))


def test_an_answer_cut_by_max_tokens_says_so(null_llm: LLM) -> None:
    (answer,) = null_llm.generate("a", SamplingParams(max_tokens=2), structured=Regex("[a-z]{400}"))
    assert (answer.finish_reason, len(answer.token_ids)) == ("length", 2)
