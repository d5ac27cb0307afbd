"""How one model calls tools: in the format its template teaches or, where that knows none, in one taught with words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from wayra.server.calls import ToolUse
from wayra.server.generation import ParserMaker
from wayra.text.structure import GrammarSpec
from wayra.text.tokenizer import Tokenizer
from wayra.text.tools import (
    TextDelta,
    ToolCallParser,
    ToolEvent,
    ToolFormat,
    hermes_format,
    teach_tools,
    tool_format,
    tool_schemas,
)

if TYPE_CHECKING:
    from wayra.text.chat import ChatTemplate


@dataclass(frozen=True, slots=True)
class Calling:
    """What a chat with tools needs. schemas: for a template that knows tools. grammar: what enforces the choice."""

    schemas: Sequence[dict[str, Any]]
    grammar: GrammarSpec | None
    parser: ParserMaker


class ToolCalling:
    """The format of one model."""

    def __init__(self, tokenizer: Tokenizer, template: "ChatTemplate | None") -> None:
        source = "" if template is None else template.tool_source or template.source
        known = tool_format(source, tokenizer)
        self._is_taught = known is None
        self.format: ToolFormat = known or hermes_format(tokenizer)

    def plan(self, use: ToolUse) -> Calling | None:
        """None when no tool may be called. Raises InvalidParameter when the choice cannot be enforced."""
        if use.choice.mode == "none":
            return None
        grammar = self.format.grammar(use.tools, use.choice, use.parallel)
        names = [tool.name for tool in use.tools]
        make = partial(self.format.parser, names) if use.parallel else partial(_first_call, self.format, names)
        schemas = () if self._is_taught else tool_schemas(use.tools)
        return Calling(schemas, grammar, ParserMaker(make, self.format.visible_ids))

    def messages(self, messages: Sequence[Mapping[str, object]], use: ToolUse | None) -> Sequence[Mapping[str, object]]:
        """The conversation as the template takes it: with calls and results as text where it knows none."""
        if not self._is_taught:
            return messages
        return teach_tools(messages, use.tools if use is not None and use.choice.mode != "none" else ())


def _first_call(form: ToolFormat, names: Sequence[str]) -> ToolCallParser:
    return _FirstCall(form.parser(names))


class _FirstCall:
    """A parser that leaves out calls after the first, for who can take only one."""

    def __init__(self, parser: ToolCallParser) -> None:
        self._parser = parser

    def push(self, text: str) -> list[ToolEvent]:
        return _of_first_call(self._parser.push(text))

    def finish(self) -> list[ToolEvent]:
        return _of_first_call(self._parser.finish())


def _of_first_call(events: Sequence[ToolEvent]) -> list[ToolEvent]:
    return [event for event in events if isinstance(event, TextDelta) or event.index == 0]
