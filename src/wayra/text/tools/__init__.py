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
from wayra.text.tools.formats import ToolFormat, tool_format

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
    "tool_format",
]
