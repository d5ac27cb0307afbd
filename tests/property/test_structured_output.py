"""Whatever a model would rather say, an answer that ends with "stop" is as asked for. The oracle is jsonschema."""

import json
import re
from typing import Any

import jsonschema
import pytest
from grammar_walks import allows, random_answers, takes
from text_samples import byte_level_metadata
from tool_texts import TEMPLATES, events_of, format_of

from wayra.base.errors import InvalidParameter
from wayra.engine.grammar import GrammarCompiler
from wayra.text.from_gguf import tokenizer_from_gguf
from wayra.text.structure import Choice, JsonObject, JsonSchema, Regex
from wayra.text.tools import ArgumentsDelta, CallEnd, CallStart, TextDelta, Tool, ToolChoice

TOKENIZER = tokenizer_from_gguf(byte_level_metadata("smollm"))
NUM_ANSWERS = 60

SCHEMAS: dict[str, dict[str, Any]] = {
    "person": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 8},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "tags": {"type": "array", "items": {"enum": ["a", "b", 3, None]}, "maxItems": 3},
        },
        "required": ["name", "age"],
        "additionalProperties": False,
    },
    "recursive": {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "v": {"type": "boolean"},
                    "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                },
                "required": ["v", "next"],
                "additionalProperties": False,
            }
        },
        "$ref": "#/$defs/node",
    },
    "map": {"type": "object", "additionalProperties": {"type": "number", "exclusiveMinimum": 1.5}, "maxProperties": 2},
    "tuple": {
        "type": "array",
        "prefixItems": [{"const": "x"}, {"type": ["integer", "null"]}],
        "items": False,
        "minItems": 2,
    },
    "pattern": {"type": "string", "pattern": "^[a-c]{2,4}(-[0-9]+)?$"},
    "any_of": {"anyOf": [{"type": "string", "maxLength": 3}, {"type": "integer", "multipleOf": 7}]},
    "all_of": {
        "type": "object",
        "allOf": [{"properties": {"a": {"type": "integer"}}}, {"required": ["a"]}],
        "maxProperties": 1,
    },
    "date": {"type": "string", "format": "date"},
    "moment": {"type": "string", "format": "date-time"},
    "address": {"type": "string", "format": "ipv4"},
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_answer_that_ends_is_valid_by_its_schema(name: str) -> None:
    schema = SCHEMAS[name]
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    answers = random_answers(TOKENIZER, JsonSchema(schema), NUM_ANSWERS)
    assert len(answers) >= NUM_ANSWERS // 4
    for answer in answers:
        validator.validate(json.loads(answer))


def test_every_answer_that_ends_is_a_json_object() -> None:
    answers = random_answers(TOKENIZER, JsonObject(), NUM_ANSWERS)
    assert len(answers) >= NUM_ANSWERS // 4
    assert {type(json.loads(answer)) for answer in answers} == {dict}


def test_every_answer_that_ends_matches_its_expression_or_is_one_of_the_choices() -> None:
    pattern = r"(ab|c[0-9]{2,}|é+)\.?"
    answers = random_answers(TOKENIZER, Regex(pattern), NUM_ANSWERS)
    assert len(set(answers)) > 5
    assert all(re.fullmatch(pattern, answer) for answer in answers)
    options = ("yes", "yes please", "no")
    assert set(random_answers(TOKENIZER, Choice(options), NUM_ANSWERS)) == set(options)


TOOLS = (
    Tool("get_weather", "", json.dumps(SCHEMAS["person"])),
    Tool("now", "", '{"type": "object", "properties": {"utc": {"type": "boolean"}}, "additionalProperties": false}'),
)


@pytest.mark.parametrize("kind", TEMPLATES)
@pytest.mark.parametrize("choice", [ToolChoice("required"), ToolChoice("named", "now")], ids=["required", "named"])
def test_every_forced_answer_that_ends_is_calls_with_valid_arguments(kind: str, choice: ToolChoice) -> None:
    fmt = format_of(kind)
    spec = fmt.grammar(TOOLS, choice)
    assert spec is not None
    schemas = {tool.name: json.loads(tool.parameters) for tool in TOOLS}
    answers = random_answers(TOKENIZER, spec, NUM_ANSWERS // 2)
    assert len(answers) >= NUM_ANSWERS // 16
    for answer in answers:
        events = events_of(fmt, [answer], set(schemas))
        assert not [event for event in events if isinstance(event, TextDelta)], answer
        called = [event.name for event in events if isinstance(event, CallStart)]
        assert all(event.is_whole for event in events if isinstance(event, CallEnd))
        for name, arguments in zip(called, [e for e in events if isinstance(e, ArgumentsDelta)], strict=True):
            jsonschema.validate(json.loads(arguments.text), schemas[name])
        assert called == ["now"] if choice.mode == "named" else len(called) >= 1


def test_strict_tools_leave_the_text_free_and_enforce_calls_after_their_marker() -> None:
    strict = tuple(Tool(tool.name, "", tool.parameters, is_strict=True) for tool in TOOLS)
    spec = format_of("hermes").grammar(strict, ToolChoice("auto"))
    assert spec is not None
    compiled = GrammarCompiler(TOKENIZER).compile(spec)
    good = '<tool_call>\n{"name": "now", "arguments": {"utc": true}}\n</tool_call>'
    for text in ("hello", "1 < 2, <tool", f"Let me see. {good}", f"{good}\n{good} done"):
        assert takes(compiled, TOKENIZER, text), text
    for text in ("hello <tool_call> x", good.replace("true", "3"), good.replace("now", "later"), f"{good} <tool_call>"):
        assert not takes(compiled, TOKENIZER, text), text


NOW_CALL = {"llama3_json": '{"name": "now", "parameters": {"utc": true}}', "pythonic": "[now(utc=True)]"}
BARE_TAG = {"llama3_json": "<|python_tag|>", "pythonic": "<|python_start|>"}


@pytest.mark.parametrize("kind", NOW_CALL)
def test_strict_tools_enforce_calls_that_need_no_marker_from_their_first_character_on(kind: str) -> None:
    strict = tuple(Tool(tool.name, "", tool.parameters, is_strict=True) for tool in TOOLS)
    fmt = format_of(kind)
    spec = fmt.grammar(strict, ToolChoice("auto"))
    assert spec is not None
    compiled = GrammarCompiler(TOKENIZER).compile(spec)
    good, tag = NOW_CALL[kind], BARE_TAG[kind]
    free = ("", " ", "hello", "\n 1 < 2", f"I say {good}", f"{tag[:-1]} is no tag")
    for text in (*free, good, tag + good):
        assert takes(compiled, TOKENIZER, text), text
        assert bool(events_of(fmt, [text], {"now"})[:1]) == bool(text)
        assert any(isinstance(e, CallStart) for e in events_of(fmt, [text], {"now"})) == (text not in free)
    wrong = (good.replace("rue", "r"), good.replace("now", "later"), good[:1], f" {good}", f"{good} done", f"x {tag}x")
    for text in wrong:
        assert not takes(compiled, TOKENIZER, text), text
    for answer in random_answers(TOKENIZER, spec, NUM_ANSWERS // 4):
        assert all(event.is_whole for event in events_of(fmt, [answer], {"now"}) if isinstance(event, CallEnd))


@pytest.mark.parametrize(("kind", "tag"), BARE_TAG.items())
def test_a_tag_that_is_a_control_token_may_stand_before_strict_calls(kind: str, tag: str) -> None:
    special_id = TOKENIZER.special_id("<|im_start|>")
    assert special_id is not None
    spec = format_of(kind, {tag: special_id}).grammar(
        (Tool(TOOLS[1].name, "", TOOLS[1].parameters, is_strict=True),), ToolChoice("auto")
    )
    assert spec is not None
    compiled = GrammarCompiler(TOKENIZER).compile(spec)
    call, text = (TOKENIZER.encode(words, add_bos=False) for words in (NOW_CALL[kind], "hello"))
    for token_ids in (call, [special_id, *call], text):
        assert allows(compiled, token_ids)
    for token_ids in ([special_id], [special_id, *text], [*text, special_id, *call], [special_id, special_id, *call]):
        assert not allows(compiled, token_ids)


def test_a_model_free_to_choose_is_not_constrained_and_a_missing_tool_is_refused() -> None:
    fmt = format_of("hermes")
    assert fmt.grammar(TOOLS, ToolChoice("auto")) is None
    assert fmt.grammar(TOOLS, ToolChoice("none")) is None
    with pytest.raises(InvalidParameter, match="'later'"):
        fmt.grammar(TOOLS, ToolChoice("named", "later"))
    with pytest.raises(InvalidParameter, match="required"):
        fmt.grammar((), ToolChoice("required"))


def test_one_call_only_is_allowed_where_calls_may_not_be_parallel() -> None:
    calls = '{"name": "now", "parameters": {}}'
    for parallel in (True, False):
        spec = format_of("llama3_json").grammar(TOOLS, ToolChoice("required"), parallel)
        assert spec is not None
        compiled = GrammarCompiler(TOKENIZER).compile(spec)
        assert takes(compiled, TOKENIZER, calls)
        assert takes(compiled, TOKENIZER, f"{calls}; {calls}") is parallel
