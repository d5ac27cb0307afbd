"""Tool calls: which format a model writes, finding calls in its answers, grammars that enforce them."""

from wayra.text.tools.events import (
    ArgumentsDelta,
    CallEnd,
    CallStart,
    TextDelta,
    Tool,
    ToolCallParser,
    ToolChoice,
    ToolEvent,
)
from wayra.text.tools.formats import ToolFormat, hermes_format, tool_format
from wayra.text.tools.requests import read_tool_choice, read_tools, teach_tools, tool_schemas

__all__ = [
    "ArgumentsDelta",
    "CallEnd",
    "CallStart",
    "TextDelta",
    "Tool",
    "ToolCallParser",
    "ToolChoice",
    "ToolEvent",
    "ToolFormat",
    "hermes_format",
    "read_tool_choice",
    "read_tools",
    "teach_tools",
    "tool_format",
    "tool_schemas",
]
