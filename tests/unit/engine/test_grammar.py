"""Specs of structured output become constraints that allow exactly what they should, or are refused by name."""

import json
import threading
from typing import Any

import numpy as np
import pytest
from grammar_walks import takes
from text_samples import byte_level_metadata, sentencepiece_metadata

from wayra.base.errors import InvalidParameter
from wayra.engine.grammar import MAX_CACHED, GrammarCompiler
from wayra.text.from_gguf import tokenizer_from_gguf
from wayra.text.structure import Choice, Grammar, GrammarSpec, JsonObject, JsonSchema, Regex

TOKENIZER = tokenizer_from_gguf(byte_level_metadata("smollm"))
SPACED = tokenizer_from_gguf(sentencepiece_metadata())


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    return GrammarCompiler(TOKENIZER)


PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("spec", "taken", "refused"),
    [
        (JsonObject(), ['{}', '{"a": [1, {"b": null}]}', '{\n  "a": 1\n}'], ["[]", '{"a": 1', '{"a":\n\n1}', " {}"]),
        (JsonSchema(PERSON), ['{"name": "é\\n", "age": 3}'], ['{"age": 3}', '{"name": "a", "age": -1}', "{}"]),
        (JsonSchema(json.dumps(PERSON)), ['{"name":"x","age":0}'], ['{"name": "x", "age": 1, "z": 2}']),
        (JsonSchema(True), ["1", '"a"', "null", "[]"], ["", "nul", "01"]),
        (Regex(r"\d{3}-\d{2}"), ["123-45"], ["12-345", "123-456", " 123-45"]),
        (Regex("^(yes|no)$"), ["yes", "no"], ["yesno", ""]),
        (Regex(r'a/b "\\"'), ['a/b "\\"'], ["a/b"]),
        (Choice(("yes", "yes please", 'q"\\\n', "🎉")), ["yes", "yes please", 'q"\\\n', "🎉"], ["yes pleas"]),
        (Grammar('start: "a" b+\nb: /[0-9]/'), ["a1", "a123"], ["a", "b1"]),
        (Grammar("start: <|im_start|> x", (("x", JsonSchema({"const": 1})),)), [], ["1"]),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_spec_allows_its_texts_and_no_others(
    compiler: GrammarCompiler, spec: GrammarSpec, taken: list[str], refused: list[str]
) -> None:
    compiled = compiler.compile(spec)
    assert [text for text in taken if not takes(compiled, TOKENIZER, text)] == []
    assert [text for text in refused if takes(compiled, TOKENIZER, text)] == []


def test_control_tokens_are_allowed_only_where_a_grammar_names_them(compiler: GrammarCompiler) -> None:
    start = TOKENIZER.special_id("<|im_start|>")
    assert start is not None
    named = compiler.compile(Grammar(f"start: <[{start}]> TEXT\nTEXT: /.*/")).constraint()
    assert _allowed(named.mask()) == {start}
    named.accept(start)
    assert not {i for i in _allowed(named.mask()) if TOKENIZER.is_special(i)} - TOKENIZER.eos_ids
    # The name of a control token as plain text is not the token.
    assert TOKENIZER.special_id("<|im_end|>") not in _allowed(compiler.compile(Regex("<.*")).constraint().mask())


def test_the_end_is_allowed_exactly_where_the_answer_is_complete(compiler: GrammarCompiler) -> None:
    constraint = compiler.compile(Regex("ab*")).constraint()
    a, b = (TOKENIZER.encode(letter)[0] for letter in "ab")
    assert _allowed(constraint.mask()) == {a}
    assert constraint.accept(a) is False
    assert _allowed(constraint.mask()) == {b} | TOKENIZER.eos_ids
    assert len(TOKENIZER.eos_ids) >= 2


def test_a_token_after_which_nothing_can_follow_completes_the_answer(compiler: GrammarCompiler) -> None:
    constraint = compiler.compile(Choice(("ab",))).constraint()
    a, b = (TOKENIZER.encode(letter)[0] for letter in "ab")
    assert [constraint.accept(a), constraint.accept(b)] == [False, True]


def test_a_token_that_is_not_allowed_is_refused(compiler: GrammarCompiler) -> None:
    constraint = compiler.compile(Choice(("ab",))).constraint()
    with pytest.raises(InvalidParameter, match="cannot go on"):
        constraint.accept(TOKENIZER.encode("x")[0])
    with pytest.raises(InvalidParameter, match="cannot go on"):
        constraint.mask()


def test_the_constraints_of_one_grammar_do_not_disturb_each_other(compiler: GrammarCompiler) -> None:
    compiled = compiler.compile(Choice(("ab", "cd")))
    first, second = compiled.constraint(), compiled.constraint()
    before = second.mask()
    first.accept(TOKENIZER.encode("a")[0])
    assert np.array_equal(second.mask(), before)
    assert _allowed(first.mask()) == {TOKENIZER.encode("b")[0]}


def test_the_mask_has_the_models_width_and_no_token_beyond_the_tokenizer() -> None:
    vocab_size = TOKENIZER.vocab_size + 100
    mask = GrammarCompiler(TOKENIZER, vocab_size).compile(Regex("(.|\n)*")).constraint().mask()
    assert (mask.dtype, mask.shape) == (np.uint32, (-(-vocab_size // 32),))
    assert max(_allowed(mask)) < TOKENIZER.vocab_size


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"not": {"type": "string"}}, "not"),
        ({"type": "array", "contains": {"const": 1}}, "contains"),
        ({"type": "object", "propertyNames": {"pattern": "a"}}, "propertyNames"),
        ({"if": {"type": "string"}, "then": {"minLength": 2}}, "if"),
        ({"type": "object", "dependentRequired": {"a": ["b"]}}, "dependentRequired"),
        ({"type": "object", "unevaluatedProperties": False}, "unevaluatedProperties"),
        ({"oneOf": [{"type": "integer"}, {"minimum": 2}]}, "oneOf"),
        ({"type": "string", "format": "password"}, "password"),
        ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
        ({"$ref": "http://example.com/schema"}, "example.com"),
        ({"$ref": "#/$defs/missing"}, "missing"),
        ({"type": "object", "x-guidance": {"lenient": True}}, "x-guidance"),
        ({"properties": {"a": {"$id": "other"}}}, r"\$id.*#/properties/a"),
        ({"type": "object", "minProperties": 2}, "minProperties"),
        ({"type": "text"}, "text"),
        ({"type": "string", "const": 1}, "Unsatisfiable"),
    ],
    ids=str,
)
def test_a_schema_that_cannot_be_enforced_is_refused_by_name(
    compiler: GrammarCompiler, schema: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidParameter, match=named):
        compiler.compile(JsonSchema(schema))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: JsonSchema("{"), "not JSON"),
        (lambda: JsonSchema("[1]"), "expected an object"),
        (lambda: JsonSchema(False), "expected an object"),
        (lambda: JsonSchema({"a": float("nan")}), "not plain data"),
        (lambda: JsonSchema({"a": object()}), "not plain data"),  # type: ignore[dict-item]
        (lambda: JsonSchema('{"a":' * 5000 + "1" + "}" * 5000), "nested|not JSON"),
        (lambda: JsonSchema({"title": "x" * (1 << 18)}), "limit is 262,144"),
        (lambda: Regex(""), "not empty"),
        (lambda: Regex("\ud800"), "surrogate"),
        (lambda: Choice(()), "at least one"),
        (lambda: Choice("yes"), "expected a list"),  # type: ignore[arg-type]
        (lambda: Choice(("a", "")), "not empty"),
        (lambda: Grammar(3), "expected a text"),  # type: ignore[arg-type]
    ],
)
def test_a_malformed_spec_is_refused_when_made(make: Any, named: str) -> None:
    with pytest.raises(InvalidParameter, match=named):
        make()


def conjunctions(num_choices: int, num_factors: int) -> dict[str, Any]:
    """A schema whose disjunctive form has num_choices ** num_factors parts."""
    factors: list[dict[str, Any]] = []
    for k in range(num_factors):
        names = [f"p{k}_{i}" for i in range(num_choices)]
        factors.append({"anyOf": [{"type": "object", "properties": {n: {}}, "required": [n]} for n in names]})
    return {"allOf": factors}


@pytest.mark.parametrize(
    "spec",
    [
        JsonSchema(conjunctions(3, 12)),
        JsonSchema({"type": "object", "properties": {f"p{i}": {} for i in range(1001)}}),
        JsonSchema({"allOf": [{"type": "string", "pattern": f".*{c}.{{50}}"} for c in "abcdefghij"]}),
        JsonSchema({"type": "integer", "multipleOf": 999_999_937}),
        JsonSchema({"$ref": "#"}),
        JsonSchema({"allOf": [{"$ref": "#"}]}),
        Regex("(" * 5000 + "a" + ")" * 5000),
        Regex("["),
        Grammar("start: " + "(" * 30_000 + '"a"' + ")" * 30_000),
        Grammar("start: missing"),
        Grammar("start: <|no_such_token|>"),
        Grammar("start: @elsewhere"),
        Grammar('start: %json {"uniqueItems": true}'),
    ],
    ids=lambda spec: f"{type(spec).__name__}{len(str(spec))}",
)
def test_a_grammar_bomb_or_broken_grammar_is_refused_with_one_short_sentence(
    compiler: GrammarCompiler, spec: GrammarSpec
) -> None:
    with pytest.raises(InvalidParameter) as refusal:
        compiler.compile(spec)
    assert len(str(refusal.value)) < 500
    assert "\n" not in str(refusal.value)


def test_dates_that_do_not_exist_are_not_allowed(compiler: GrammarCompiler) -> None:
    date = compiler.compile(JsonSchema({"type": "string", "format": "date"}))
    assert takes(date, TOKENIZER, '"2024-02-29"')
    assert takes(date, TOKENIZER, '"2000-02-29"')
    for text in ("2023-02-29", "1900-02-29", "2023-04-31", "2023-13-01", "0000-01-01"):
        assert not takes(date, TOKENIZER, f'"{text}"'), text
    moment = compiler.compile(JsonSchema({"type": "string", "format": "date-time"}))
    assert takes(moment, TOKENIZER, '"2024-02-29T23:59:59.5+01:00"')
    assert not takes(moment, TOKENIZER, '"2024-02-29T23:59:60Z"')


def test_a_property_may_be_named_like_a_keyword(compiler: GrammarCompiler) -> None:
    schema = {"type": "object", "properties": {"format": {"const": "date"}, "minProperties": {"const": 3}}}
    assert takes(compiler.compile(JsonSchema(schema)), TOKENIZER, '{"format": "date", "minProperties": 3}')


def test_equal_specs_are_compiled_once_and_the_oldest_forgotten() -> None:
    compiler = GrammarCompiler(TOKENIZER)
    first = compiler.compile(Choice(("first",)))
    assert compiler.compile(Choice(("first",))) is first
    for number in range(MAX_CACHED):
        compiler.compile(Choice((str(number),)))
    assert compiler.compile(Choice((str(MAX_CACHED - 1),))) is compiler.compile(Choice((str(MAX_CACHED - 1),)))
    assert compiler.compile(Choice(("first",))) is not first


def test_many_threads_may_compile_and_step_at_once() -> None:
    compiler = GrammarCompiler(TOKENIZER)
    wrong: list[int] = []

    def work(number: int) -> None:
        for turn in range(20):
            text = f"n{(number + turn) % 5}"
            if not takes(compiler.compile(Choice((text,))), TOKENIZER, text):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_where_a_space_stands_before_every_text_the_decoded_answer_is_what_the_spec_says() -> None:
    assert SPACED.strips_space
    compiled = GrammarCompiler(SPACED).compile(Choice(("hello", " hello")))
    constraint = compiled.constraint()
    # Without its space the first token would lose none when decoded.
    assert all(SPACED.token_bytes(i).startswith(b" ") for i in _allowed(constraint.mask()))
    for text in ("hello", " hello"):
        ids = SPACED.encode(text, add_bos=False)
        assert takes(compiled, SPACED, text)
        assert SPACED.decode(ids) == text


def test_a_model_without_an_end_of_sequence_token_is_refused() -> None:
    class Endless:
        vocab_size, bos_id, eos_ids, strips_space = 3, None, frozenset[int](), False

        def token_bytes(self, token_id: int) -> bytes:
            return b"abc"[token_id : token_id + 1]

        def is_special(self, token_id: int) -> bool:
            return False

    with pytest.raises(InvalidParameter, match="end-of-sequence"):
        GrammarCompiler(Endless()).compile(Choice(("a",)))


def _allowed(mask: np.ndarray) -> set[int]:
    return set(np.nonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))[0].tolist())
