"""Tool-call parsers on any text, cut anywhere: the same events, no text lost, never an exception."""

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st
from tool_texts import TEMPLATES, events_of, format_of

from wayra.text.tools import ArgumentsDelta, CallEnd, CallStart, TextDelta

FRAGMENTS = [
    "<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "<|python_tag|>", "<|python_start|>",
    "<|python_end|>", '{"name": "f", "arguments": {"a": 1}}', '{"name": "f", "parameters": {"x": ["y"]}}', "[f(a=1)]",
    '"name"', '"arguments"', '"parameters"', '"f"', ": ", "{", "}", "[", "]", "(", ")", ",", ";", "=", '"', "'", "\\",
    "f", "g", "a", "true", "1.5", "-", "e", "null", "\n", " ", "é", "\x00", "\ud800", "<", "|",
]  # fmt: skip
TEXTS = st.one_of(st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join), st.text(max_size=60))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from([None, {"f", "g"}])


@given(kind=st.sampled_from(list(TEMPLATES)), text=TEXTS, cuts=st.lists(st.integers(0, 80), max_size=6), names=NAMES)
def test_any_text_cut_anywhere_gives_the_same_well_formed_events(
    kind: str, text: str, cuts: list[int], names: set[str] | None
) -> None:
    fmt = format_of(kind)
    whole = events_of(fmt, [text], names)
    marks = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    assert events_of(fmt, [text[a:b] for a, b in itertools.pairwise(marks)], names) == whole
    open_index, count, arguments = None, 0, ""
    for event in whole:
        if isinstance(event, CallStart):
            assert (open_index, event.index) == (None, count)
            event.name.encode()
            open_index, arguments = event.index, ""
        elif isinstance(event, ArgumentsDelta):
            assert event.index == open_index
            arguments += event.text
        elif isinstance(event, CallEnd):
            assert event.index == open_index
            assert not event.is_whole or isinstance(json.loads(arguments), dict)
            open_index, count = None, count + 1
        else:
            assert open_index is None
    assert open_index is None
    if count == 0:
        assert "".join(e.text for e in whole if isinstance(e, TextDelta)) == text


@given(arguments=st.dictionaries(st.text(max_size=6), VALUES, max_size=3), ascii_only=st.booleans())
def test_every_json_object_comes_through_as_arguments(arguments: dict[str, object], ascii_only: bool) -> None:
    written = json.dumps(arguments, ensure_ascii=ascii_only)
    answers = {
        "hermes": f'<tool_call>\n{{"name": "f", "arguments": {written}}}\n</tool_call>',
        "llama3_json": f'{{"name": "f", "parameters": {written}}}',
        "mistral": f'[TOOL_CALLS] [{{"name": "f", "arguments": {written}}}]',
        "mistral_args": f"[TOOL_CALLS]f[ARGS]{written}",
    }
    for kind, answer in answers.items():
        events = events_of(format_of(kind), [answer], {"f"})
        assert json.loads("".join(e.text for e in events if isinstance(e, ArgumentsDelta))) == arguments
        assert [type(e) for e in events] == [CallStart, ArgumentsDelta, CallEnd]


@given(arguments=st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES, max_size=3))
def test_every_value_written_as_python_comes_through(arguments: dict[str, object]) -> None:
    answer = "[f(" + ", ".join(f"{name}={value!r}" for name, value in arguments.items()) + ")]"
    events = events_of(format_of("pythonic"), [answer], {"f"})
    assert json.loads("".join(e.text for e in events if isinstance(e, ArgumentsDelta))) == arguments
