"""What a tool-call parser tells of an answer as it comes, and what a caller may ask for."""

from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer that is no tool call."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStart:
    """A call begins. index: 0, 1, ... within the answer."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class ArgumentsDelta:
    """A piece of a call's arguments. The pieces of a whole call, joined, are a JSON object."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class CallEnd:
    """A call ends. is_whole: False when its arguments broke off or broke the rules of JSON, and cannot be parsed."""

    index: int
    is_whole: bool = True


ToolEvent = TextDelta | CallStart | ArgumentsDelta | CallEnd


class ToolCallParser(Protocol):
    """Splits an answer into text and calls. One answer, one parser; never raises, whatever the text.

    Every started call ends, at the latest in `finish`; what is no complete call up to its name is text. Where the text
    is cut into pieces changes nothing but where the deltas are cut.
    """

    def push(self, text: str) -> list[ToolEvent]:
        """What became certain."""
        ...

    def finish(self) -> list[ToolEvent]:
        """The rest; the answer is over."""
        ...


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call. parameters: the JSON schema of its arguments, as JSON text.

    is_strict: the arguments must follow the schema even when the model is free to call or not.
    """

    name: str
    description: str
    parameters: str
    is_strict: bool = False


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether the model may, must or must not call; with mode "named" it must call `name`."""

    mode: Literal["none", "auto", "required", "named"] = "auto"
    name: str | None = None
