"""A GrammarSpec in the language of llguidance."""

import json
import re
from typing import Any

from wayra.base.errors import InvalidParameter
from wayra.engine.json_schema import enforceable
from wayra.text.structure import Choice, Grammar, GrammarSpec, JsonObject, JsonSchema, Regex

WHITESPACE = r"\x20|\n[\x20\x09]{0,32}"
"""Between the tokens of JSON: a space, or a line break with its indentation, so that no answer runs away in blanks."""

_JSON_OPTIONS = {"whitespace_pattern": WHITESPACE, "lenient": False, "coerce_one_of": False}

_CONTROL_TOKEN = re.compile(r"<[\[|]")


def grammar_source(spec: GrammarSpec, *, follows_space: bool = False) -> str:
    """The grammar as llguidance takes it.

    follows_space: the tokenizer puts a space before a text, and decoding takes it away again.
    Raises InvalidParameter naming a keyword of JSON Schema that would not be enforced.
    """
    grammar = _grammar(spec)
    if not follows_space:
        return json.dumps({"grammars": [grammar]})
    # A grammar may begin with a control token, before which there is no space.
    space = '" "?' if isinstance(spec, Grammar) and _CONTROL_TOKEN.search(spec.lark) else '" "'
    spaced = {"name": "spaced", "lark_grammar": f"start: {space} @answer"}
    return json.dumps({"grammars": [spaced, {"name": "answer", **grammar}]})


def _json_rule(schema: object) -> str:
    """A schema as the body of a rule in a Lark grammar."""
    return f"%json {json.dumps(_with_options(enforceable(schema)))}"


def _grammar(spec: GrammarSpec) -> dict[str, Any]:
    if isinstance(spec, JsonObject):
        return {"json_schema": _with_options({"type": "object"})}
    if isinstance(spec, JsonSchema):
        return {"json_schema": _with_options(enforceable(json.loads(spec.text)))}
    if isinstance(spec, Regex):
        return {"lark_grammar": f"start: TEXT\nTEXT: /{_lark_regex(spec.pattern)}/"}
    if isinstance(spec, Choice):
        options = (json.dumps(option, ensure_ascii=False) for option in spec.options)
        return {"lark_grammar": "start: " + " | ".join(options)}
    rules = [f"{name}: {_json_rule(json.loads(schema.text))}" for name, schema in spec.schemas]
    return {"lark_grammar": "\n".join([spec.lark, *rules])}


def _lark_regex(pattern: str) -> str:
    from llguidance import regex_to_lark

    try:
        return regex_to_lark(pattern, "")
    except ValueError as error:
        raise InvalidParameter(f"the regular expression is malformed: {error!s:.200}") from error


def _with_options(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "x-guidance": _JSON_OPTIONS}
