"""The ways in which models write tool calls, told apart by the evidence of their templates."""

from collections.abc import Collection, Sequence
from typing import Protocol

from wayra.text.structure import GrammarSpec
from wayra.text.tools.events import Tool, ToolCallParser, ToolChoice


class SpecialTokens(Protocol):
    """What the formats ask of a tokenizer. `Tokenizer` has it."""

    def special_id(self, text: str) -> int | None: ...

    def is_special(self, token_id: int) -> bool: ...


class ToolFormat(Protocol):
    """One way of writing calls. Immutable.

    name: "llama3_json", "pythonic", "hermes" or "mistral".
    visible_ids: control tokens that the parser must see: decode with them, as `StreamDecoder(visible=...)` does.
    """

    name: str
    visible_ids: frozenset[int]

    def parser(self, names: Collection[str] | None = None) -> ToolCallParser:
        """A parser for one answer. names: the tools there are; a format without markers needs them to be sure."""
        ...

    def grammar(self, tools: Sequence[Tool], choice: ToolChoice, parallel: bool = True) -> GrammarSpec | None:
        """What enforces the choice; None where the model is free. parallel: whether there may be several calls.

        Raises InvalidParameter when the choice names no tool or a schema cannot be written in this format.
        """
        ...

    def new_id(self) -> str:
        """A fresh id for a call, of the form the model's template expects."""
        ...


def tool_format(template_source: str, special_tokens: SpecialTokens) -> ToolFormat | None:
    """The format that a chat template teaches or writes, None when it knows no tools (or in no way known here).

    template_source: the template used with tools. special_tokens: the model's tokenizer.
    """
    raise NotImplementedError
