"""Calls are found in answers of every format; what is no call stays text, and nothing is lost."""

import pytest
from tool_texts import TEMPLATES, Specials, call, events_of, format_of

from wayra.text.tools import TextDelta, ToolEvent, tool_format

CASES: list[tuple[str, str, list[ToolEvent]]] = [
    (
        "hermes",
        'Let me see.\n<tool_call>\n{"name": "f", "arguments": {"a": [1, "x"]}}\n</tool_call>\n'
        '<tool_call>\n{"arguments": {"b": 2}, "name": "g"}\n</tool_call>\n',
        [TextDelta("Let me see."), *call(0, "f", '{"a": [1, "x"]}'), *call(1, "g", '{"b": 2}')],
    ),
    ("hermes", "1 < 2 <tool_cal and <tool_call> nope", [TextDelta("1 < 2 <tool_cal and <tool_call> nope")]),
    ("hermes", '<tool_call>{"name": "f"}</tool_call>', call(0, "f", "{}")),
    ("hermes", '<tool_call>{"name": "f", "arguments": null}', call(0, "f", "{}")),
    ("hermes", '<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}</tool_call>', call(0, "f", '{"a": 1}')),
    ("hermes", '<tool_call>[{"name": "f"}, {"name": "g"}]</tool_call> bye',
     [*call(0, "f", "{}"), *call(1, "g", "{}"), TextDelta(" bye")]),
    ("hermes", '<tool_call>{"name": "f", "arguments": {"a": "x\ny"}}', call(0, "f", '{"a": "x\\ny"}')),
    ("hermes", '<tool_call>{"name": "f", "arguments": {"a": tru', call(0, "f", '{"a": tru', is_whole=False)),
    ("hermes", '<tool_call>{"name": "f", "arguments": {"a": 1}', call(0, "f", '{"a": 1}')),
    ("hermes", '<tool_call>{"name": "f", "arguments": {"a": t-}}',
     [*call(0, "f", '{"a": t', is_whole=False), TextDelta("-}}")]),
    ("hermes", '<tool_call>{"arguments": {"a": 1}}</tool_call>',
     [TextDelta('<tool_call>{"arguments": {"a": 1}}</tool_call>')]),
    ("hermes", '<tool_call>{"name": "\\ud800"}', [TextDelta('<tool_call>{"name": "\\ud800"}')]),
    ("hermes", '<tool_call>{"name": "f", "arguments": [1]}', [TextDelta('<tool_call>{"name": "f", "arguments": [1]}')]),
    ("hermes", "  spaced  ", [TextDelta("  spaced  ")]),
    ("llama3_json", '{"name": "f", "parameters": {"a": 1}}; {"name": "g", "parameters": {}}',
     [*call(0, "f", '{"a": 1}'), *call(1, "g", "{}")]),
    ("llama3_json", '<|python_tag|>{"type": "function", "name": "f", "parameters": {}}', call(0, "f", "{}")),
    ("llama3_json", '<|python_tag|>print("hi")', [TextDelta('<|python_tag|>print("hi")')]),
    ("llama3_json", ' {"name": "Bob", "age": 3}', [TextDelta(' {"name": "Bob", "age": 3}')]),
    ("llama3_json", '{"name": "h", "parameters": {}}', [TextDelta('{"name": "h", "parameters": {}}')]),
    ("llama3_json", 'Use {"name": "f", "parameters": {}}', [TextDelta('Use {"name": "f", "parameters": {}}')]),
    ("pythonic", '[f(a=1, b={"x": [True, null]}), g(s=\'it\\\'s\')] done',
     [*call(0, "f", '{"a": 1, "b": {"x": [true, null]}}'), *call(1, "g", '{"s": "it\'s"}'), TextDelta(" done")]),
    ("pythonic", "<|python_start|>[f()]<|python_end|>", call(0, "f", "{}")),
    ("pythonic", "[f(a=-1.5e3, b=(1, 2), c='\\ud83d\\ude00')]", call(0, "f", '{"a": -1500.0, "b": [1, 2], "c": "😀"}')),
    ("pythonic", "[1] See f(a=1)", [TextDelta("[1] See f(a=1)")]),
    ("pythonic", "[h(a=1)]", [TextDelta("[h(a=1)]")]),
    ("pythonic", "[f(1)]", [TextDelta("[f(1)]")]),
    ("pythonic", "[f(a=1e999)]", [TextDelta("[f(a=1e999)]")]),
    ("pythonic", "[f(a=__import__('os'))]", [TextDelta("[f(a=__import__('os'))]")]),
    ("pythonic", "[f(a=1), oops", [*call(0, "f", '{"a": 1}'), TextDelta(", oops")]),
    ("pythonic", "[f(a=" + "[" * 200 + "]" * 200 + ")]", [TextDelta("[f(a=" + "[" * 200 + "]" * 200 + ")]")]),
    ("mistral", '[TOOL_CALLS] [{"name": "f", "arguments": {}}, {"name": "g", "arguments": {"x": 1}}]',
     [*call(0, "f", "{}"), *call(1, "g", '{"x": 1}')]),
    ("mistral_args", 'Hi [TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]g[CALL_ID]123[ARGS]{"b": 1}',
     [TextDelta("Hi"), *call(0, "f", '{"a": 1}'), *call(1, "g", '{"b": 1}')]),
    ("mistral_args", "[TOOL_CALLS]no call at all", [TextDelta("[TOOL_CALLS]no call at all")]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "expected"), CASES, ids=[f"{c[0]}-{i}" for i, c in enumerate(CASES)])
def test_an_answer_gives_these_events_in_one_piece_and_character_by_character(
    kind: str, text: str, expected: list[ToolEvent]
) -> None:
    fmt = format_of(kind)
    assert events_of(fmt, [text], {"f", "g"}) == expected
    assert events_of(fmt, text, {"f", "g"}) == expected


def test_arguments_are_streamed_as_they_come() -> None:
    parser = format_of("hermes").parser()
    assert parser.push('<tool_call>{"name": "f", "argu') == []
    assert parser.push('ments": {"text": "long') == call(0, "f", '{"text": "long')[:2]
    assert parser.push(' text"') == [call(0, "f", ' text"')[1]]
    assert parser.push("}}") == [call(0, "f", "}")[1], call(0, "f", "")[2]]


def test_a_json_answer_that_is_no_call_is_shown_from_its_first_foreign_key_on() -> None:
    parser = format_of("llama3_json").parser({"f"})
    assert parser.push('{"city"') == [TextDelta('{"city"')]
    assert parser.push(': "Lima"}') == [TextDelta(': "Lima"}')]


def test_without_the_tools_names_a_bare_object_needs_a_name_and_arguments() -> None:
    fmt = format_of("llama3_json")
    assert events_of(fmt, ['{"name": "any", "parameters": {}}']) == call(0, "any", "{}")
    assert events_of(fmt, ['{"name": "Bob"}']) == [TextDelta('{"name": "Bob"}')]


@pytest.mark.parametrize("kind", TEMPLATES)
def test_a_format_is_told_by_its_template(kind: str) -> None:
    assert format_of(kind).name == kind.removesuffix("_args")


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m.content }}{% endfor %}",
        "{% if tools %}<tool_call>\n<function={{ name }}>\n<parameter=x>{% endif %}",
        "{% if tools %}{{ tools }}{% endif %}",
    ],
)
def test_a_template_without_a_known_format_has_none(template: str) -> None:
    assert tool_format(template, Specials()) is None


def test_the_parser_is_shown_the_control_tokens_of_its_format_only() -> None:
    assert format_of("mistral", {"[TOOL_CALLS]": 5, "[INST]": 3}).visible_ids == {5}
    assert format_of("llama3_json", {"<|python_tag|>": 7}).visible_ids == {7}
    assert format_of("hermes").visible_ids == frozenset()


def test_ids_have_the_form_a_template_expects() -> None:
    ids = {format_of("mistral").new_id() for _ in range(50)}
    assert len(ids) == 50
    assert all(len(i) == 9 and i.isalnum() for i in ids)
    assert format_of("hermes").new_id().startswith("call_")
