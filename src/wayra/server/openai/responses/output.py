"""The output items of one response while they come: text and calls become messages and function calls, in order.

What a stream tells of each change and what a whole answer holds in the end are made of the same steps.
"""

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from wayra.server.openai.answers import ChatLogprob
from wayra.server.openai.responses.answers import CallItem, MessageItem, OutputItem, OutputText
from wayra.text.tools import ArgumentsDelta, CallStart, TextDelta, ToolEvent


@dataclass(frozen=True, slots=True)
class Step:
    """A change of one item. index: of the item. delta: what it grew by."""

    kind: Literal["opened", "grew", "closed"]
    index: int
    item: OutputItem
    delta: str = ""
    logprobs: Sequence[ChatLogprob] = ()


class Output:
    """new_call_id: in the form that the model's tool format wants.

    items: all so far; one that is open is complete only after its last step. Steps must be taken one by one: each
    describes the moment at which it is given.
    """

    def __init__(self, new_call_id: Callable[[], str]) -> None:
        self.items: list[OutputItem] = []
        self._new_call_id = new_call_id
        self._is_open = False
        self._parts: list[str] = []
        self._logprobs: list[ChatLogprob] = []
        self._blank = ""

    def text(self, text: str, logprobs: Sequence[ChatLogprob] = ()) -> Iterator[Step]:
        """A piece of an answer in which no calls are looked for."""
        if not self._in_message():
            yield from self._close("completed")
            yield self._open(_message())
        self._logprobs += logprobs
        yield self._grow(text, logprobs)

    def event(self, event: ToolEvent) -> Iterator[Step]:
        """What the parser of calls said."""
        if isinstance(event, TextDelta):
            yield from self._parsed_text(event.text)
        elif isinstance(event, CallStart):
            yield from self._close("completed")
            self._blank = ""
            yield self._open(
                CallItem(f"fc_{secrets.token_hex(12)}", self._new_call_id(), event.name, "", "in_progress")
            )
        elif isinstance(event, ArgumentsDelta):
            yield self._grow(event.text)
        else:
            yield from self._close("completed" if event.is_whole else "incomplete")

    def finish(self, is_cut: bool) -> Iterator[Step]:
        """The answer is over. is_cut: by its length. There is an item in any case, an empty message if need be."""
        if not self.items:
            yield from self.text(self._blank)
        yield from self._close("incomplete" if is_cut else "completed")

    def _parsed_text(self, text: str) -> Iterator[Step]:
        if not self._in_message():
            # White space between calls is no message.
            text, self._blank = self._blank + text, ""
            if not text.strip():
                self._blank = text
                return
        yield from self.text(text)

    def _in_message(self) -> bool:
        return self._is_open and isinstance(self.items[-1], MessageItem)

    def _open(self, item: OutputItem) -> Step:
        self.items.append(item)
        self._is_open = True
        self._parts, self._logprobs = [], []
        return Step("opened", len(self.items) - 1, item)

    def _grow(self, delta: str, logprobs: Sequence[ChatLogprob] = ()) -> Step:
        self._parts.append(delta)
        return Step("grew", len(self.items) - 1, self.items[-1], delta, logprobs)

    def _close(self, status: Literal["completed", "incomplete"]) -> Iterator[Step]:
        if not self._is_open:
            return
        item, text = self.items[-1], "".join(self._parts)
        item.status = status
        if isinstance(item, MessageItem):
            item.content.append(OutputText(text, self._logprobs))
        else:
            item.arguments = text
        self._is_open = False
        yield Step("closed", len(self.items) - 1, item)


def _message() -> MessageItem:
    return MessageItem(f"msg_{secrets.token_hex(12)}", "in_progress", [])
