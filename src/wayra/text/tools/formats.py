"""The ways in which models write tool calls, told apart by the evidence of their templates."""

import re
import secrets
import string
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from wayra.base.errors import InvalidParameter
from wayra.text.structure import GrammarSpec
from wayra.text.tools.call_grammars import CallForm, forced_calls, free_or_calls, literal, python_calls, triggered_calls
from wayra.text.tools.events import Tool, ToolCallParser, ToolChoice
from wayra.text.tools.json_calls import JsonCallParser, JsonStyle
from wayra.text.tools.python_calls import CLOSE_TAG, OPEN_TAG, PythonCallParser

FormatName = Literal["llama3_json", "pythonic", "hermes", "mistral"]

_ALPHABET = string.ascii_letters + string.digits

_LLAMA3 = JsonStyle(open_tag="<|python_tag|>", is_bare=True)
_HERMES = JsonStyle(open_tag="<tool_call>", close_tag="</tool_call>")
_MISTRAL = JsonStyle(open_tag="[TOOL_CALLS]", arguments_tag="[ARGS]")

# A template that teaches or writes calls such as [func_name1(param=value)].
_PYTHONIC = re.compile(r"\[func_name1?\(|\[func1\(|name\s*[~+]\s*['\"]\(|['\"]\[['\"]\s*[~+][^}]{0,80}['\"]\(['\"]")

# Calls between the same tags as Hermes's, but written as XML.
_XML_CALLS = ("<function=", "<arg_key>", "<parameter=")


class SpecialTokens(Protocol):
    """What the formats ask of a tokenizer. `Tokenizer` has it."""

    def special_id(self, text: str) -> int | None: ...

    def is_special(self, token_id: int) -> bool: ...


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """One way of writing calls. Immutable; made by `tool_format`.

    visible_ids: control tokens that the parser must see: decode with them, as `StreamDecoder(visible=...)` does.
    is_single: the model was trained on one call an answer. tag_rule: the tag before calls, as a rule of a grammar.
    """

    name: FormatName
    visible_ids: frozenset[int] = frozenset()
    is_single: bool = False
    form: CallForm | None = None
    tag_rule: str = ""

    def parser(self, names: Collection[str] | None = None) -> ToolCallParser:
        """A parser for one answer. names: the tools there are; a format without markers needs them to be sure."""
        if self.name == "pythonic":
            return PythonCallParser(names)
        return JsonCallParser(_style(self.name), names)

    def grammar(self, tools: Sequence[Tool], choice: ToolChoice, parallel: bool = True) -> GrammarSpec | None:
        """What enforces the choice; None where the model is free. parallel: whether there may be several calls.

        With mode "auto" the model is free unless a tool is strict: then its calls, when it calls, are enforced. Where
        calls need no tag, every answer that begins as calls do ("{" or "[") is calls then.
        Raises InvalidParameter when the choice names no tool or a schema cannot be written in this format.
        """
        if choice.mode == "none" or (choice.mode == "auto" and not any(tool.is_strict for tool in tools)):
            return None
        if choice.mode == "named":
            tools = [tool for tool in tools if tool.name == choice.name]
        if not tools:
            wanted = f"names {choice.name!r}" if choice.mode == "named" else f"is {choice.mode!r}"
            raise InvalidParameter(f"tool_choice {wanted}, but there is no such tool; give it in tools")
        several = parallel and choice.mode != "named" and not self.is_single
        if choice.mode == "auto" and self.form is not None and not self._is_bare:
            return triggered_calls(self.form, _style(self.name).open_tag, self.tag_rule, tools)
        forced = python_calls(tools, several) if self.form is None else forced_calls(self.form, tools, several)
        if choice.mode != "auto":
            return forced
        opening, tag = ("[", OPEN_TAG) if self.form is None else ("{", _LLAMA3.open_tag)
        return free_or_calls(forced, opening, tag, self.tag_rule)

    @property
    def _is_bare(self) -> bool:
        """Whether calls need no tag before them, but are an answer of their own."""
        return self.form is None or _style(self.name).is_bare

    def new_id(self) -> str:
        """A fresh id for a call, of the form the model's template expects."""
        prefix, num_chars = ("", 9) if self.name == "mistral" else ("call_", 24)
        return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(num_chars))


def tool_format(template_source: str, special_tokens: SpecialTokens) -> ToolFormat | None:
    """The format that a chat template teaches or writes, None when it knows no tools (or in no way known here).

    template_source: the template used with tools. special_tokens: the model's tokenizer.
    """
    if "tools" not in template_source:
        return None
    if "[TOOL_CALLS]" in template_source:
        return _mistral(template_source, special_tokens)
    if "<tool_call>" in template_source:
        return None if any(mark in template_source for mark in _XML_CALLS) else hermes_format(special_tokens)
    if _PYTHONIC.search(template_source):
        visible = _visible(special_tokens, OPEN_TAG, CLOSE_TAG)
        return ToolFormat("pythonic", visible, tag_rule=_rule(special_tokens, OPEN_TAG))
    if '"parameters"' in template_source and '"name"' in template_source:
        form = CallForm(literal('{"name": "'), literal('", "parameters": '), literal("}"), literal("; "))
        # The template of Llama 3.1 refuses a conversation in which several calls were made at once.
        is_single = "single tool-call" in template_source or "length == 1" in template_source
        opening = _rule(special_tokens, _LLAMA3.open_tag)
        return ToolFormat("llama3_json", _visible(special_tokens, _LLAMA3.open_tag), is_single, form, opening)
    return None


def hermes_format(special_tokens: SpecialTokens) -> ToolFormat:
    """Hermes's and Qwen's format; also the one to teach a model whose template knows none."""
    opening = _rule(special_tokens, _HERMES.open_tag)
    closing = _rule(special_tokens, _HERMES.close_tag)
    form = CallForm(
        before=" ".join([opening, literal('\n{"name": "')]),
        middle=literal('", "arguments": '),
        after=" ".join([literal("}\n"), closing]),
        between=literal("\n"),
    )
    visible = _visible(special_tokens, _HERMES.open_tag, _HERMES.close_tag)
    return ToolFormat("hermes", visible, False, form, opening)


def _mistral(template_source: str, special_tokens: SpecialTokens) -> ToolFormat:
    opening = _rule(special_tokens, _MISTRAL.open_tag)
    if "[ARGS]" in template_source:
        form = CallForm(opening, _rule(special_tokens, "[ARGS]"), "", "")
    else:
        form = CallForm(
            before=literal('{"name": "'),
            middle=literal('", "arguments": '),
            after=literal("}"),
            between=literal(", "),
            start=f"{opening} {literal('[')}",
            end=literal("]"),
        )
    visible = _visible(special_tokens, _MISTRAL.open_tag, _MISTRAL.arguments_tag, "[CALL_ID]")
    return ToolFormat("mistral", visible, False, form, opening)


def _style(name: FormatName) -> JsonStyle:
    return {"llama3_json": _LLAMA3, "hermes": _HERMES, "mistral": _MISTRAL}[name]


def _visible(special_tokens: SpecialTokens, *texts: str) -> frozenset[int]:
    ids = (special_tokens.special_id(text) for text in texts)
    return frozenset(i for i in ids if i is not None and special_tokens.is_special(i))


def _rule(special_tokens: SpecialTokens, text: str) -> str:
    """A marker in a grammar: a control token by its id, else its text."""
    token_id = special_tokens.special_id(text)
    if token_id is None or not special_tokens.is_special(token_id):
        return literal(text)
    return f"<[{token_id}]>"
