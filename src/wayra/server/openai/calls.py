"""Tool calls as OpenAI's clients read them: whole in an answer, piece by piece in a stream."""

from collections.abc import Callable, Iterable, Sequence

import msgspec
from msgspec import Struct

from wayra.text.tools import ArgumentsDelta, CallStart, TextDelta, ToolEvent

_encode = msgspec.json.Encoder().encode


class FunctionAnswer(Struct):
    name: str
    arguments: str


class ToolCallAnswer(Struct):
    id: str
    function: FunctionAnswer
    type: str = "function"


def whole_calls(events: Iterable[ToolEvent], new_id: Callable[[], str]) -> tuple[str, list[ToolCallAnswer]]:
    """The text of an answer without its calls, and the calls."""
    texts: list[str] = []
    calls: list[ToolCallAnswer] = []
    for event in events:
        if isinstance(event, TextDelta):
            texts.append(event.text)
        elif isinstance(event, CallStart):
            calls.append(ToolCallAnswer(new_id(), FunctionAnswer(event.name, "")))
        elif isinstance(event, ArgumentsDelta):
            calls[event.index].function.arguments += event.text
    return "".join(texts), calls


def reason_with_calls(reason: str) -> str:
    """Why an answer with calls ended."""
    return "tool_calls" if reason == "stop" else reason


class CallDeltas:
    """The deltas of one streamed answer. has_called: whether a call has begun."""

    def __init__(self, new_id: Callable[[], str]) -> None:
        self.has_called = False
        self._new_id = new_id

    def deltas(self, events: Sequence[ToolEvent]) -> Iterable[bytes]:
        """The JSON of a delta for each event that has one."""
        for event in events:
            if isinstance(event, TextDelta):
                yield b'{"content":%b}' % _encode(event.text)
            elif isinstance(event, CallStart):
                self.has_called = True
                call = {"index": event.index, "id": self._new_id(), "type": "function",
                        "function": {"name": event.name, "arguments": ""}}  # fmt: skip
                yield b'{"tool_calls":[%b]}' % _encode(call)
            elif isinstance(event, ArgumentsDelta):
                call = {"index": event.index, "function": {"arguments": event.text}}
                yield b'{"tool_calls":[%b]}' % _encode(call)
