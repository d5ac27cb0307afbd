"""Finds calls written as JSON objects in an answer, between markers or as the whole answer."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from wayra.text.tools.call_object import CallObject, is_name
from wayra.text.tools.events import ArgumentsDelta, CallEnd, CallStart, TextDelta, ToolEvent
from wayra.text.tools.json_scan import JsonScanner, Verdict

_BLANK = " \t\n\r"


@dataclass(frozen=True, slots=True)
class JsonStyle:
    """How a model marks its calls.

    open_tag: comes before calls. close_tag: comes after each, or is empty. arguments_tag: stands between a name and its
    arguments in the form without an object around them, or is empty.
    is_bare: an answer may also be calls without a tag, from its first character on.
    """

    open_tag: str
    close_tag: str = ""
    arguments_tag: str = ""
    is_bare: bool = False


class JsonCallParser:
    """A ToolCallParser of one style; each method `_in_STATE` takes one character.

    names: the tools there are, or None when unknown; a call without a tag must name one of them.
    """

    def __init__(self, style: JsonStyle, names: Collection[str] | None = None) -> None:
        self._style = style
        self._names = names
        self._state: Callable[[str], None] = self._in_start if style.is_bare else self._in_text
        self._events: list[ToolEvent] = []
        self._shown: list[str] = []
        self._held = ""
        self._raw: list[str] = []
        self._arguments: list[str] = []
        self._is_tagged = False
        self._in_list = False
        self._count = 0
        self._follows_call = False
        self._call = CallObject()
        self._scanner = JsonScanner()
        self._has_started = False

    def push(self, text: str) -> list[ToolEvent]:
        for char in text:
            self._state(char)
        self._tell_arguments()
        return self._taken()

    def finish(self) -> list[ToolEvent]:
        if self._has_started:
            self._end_call(self._is_whole())
        elif self._state in (self._in_opened, self._in_object, self._in_name):
            self._show("".join(self._raw))
        elif not self._follows_call:
            self._show(self._held)
        self._held = ""
        self._state = self._in_text
        return self._taken()

    def _taken(self) -> list[ToolEvent]:
        self._tell_text()
        events, self._events = self._events, []
        return events

    def _in_start(self, char: str) -> None:
        """Nothing but blanks so far, in a style whose calls need no tag."""
        if char in _BLANK:
            self._held += char
        elif char == "{":
            self._open_object(char)
        else:
            self._state = self._in_text
            self._in_text(char)

    def _in_text(self, char: str) -> None:
        """Text; what may become the open tag, and blanks that may stand before one, are held back."""
        if not self._held and char not in _BLANK and char != self._style.open_tag[0]:
            self._show(char)
            return
        held = self._held + char
        tag_len = _partial_len(held, self._style.open_tag)
        if tag_len == len(self._style.open_tag):
            self._raw, self._held = [held], ""
            self._is_tagged = True
            self._state = self._in_opened
            return
        sure = len(held[: len(held) - tag_len].rstrip(_BLANK))
        self._show(held[:sure])
        self._held = held[sure:]

    def _in_opened(self, char: str) -> None:
        """After a tag or a separator: a call must begin."""
        if char == "{":
            self._open_object(char)
            return
        self._raw.append(char)
        if char in _BLANK:
            return
        if char == "[" and not self._in_list and self._is_tagged:
            self._in_list = True
        elif self._style.arguments_tag and not self._in_list:
            self._state = self._in_name
            self._held = char
        else:
            self._give_up()

    def _in_name(self, char: str) -> None:
        """A name outside any object, up to its tag and the arguments."""
        self._raw.append(char)
        self._held += char
        name, tag, rest = self._held.partition(self._style.arguments_tag)
        if not tag:
            if len(self._held) > 2 * len(self._style.arguments_tag) + 512 or char in "\n{":
                self._give_up()
            return
        if rest.strip(_BLANK) == "":
            return
        # Some versions write an id of their own between the two.
        name = name.partition("[CALL_ID]")[0].strip(_BLANK)
        if char != "{" or not is_name(name):
            self._give_up()
            return
        self._held = ""
        self._scanner = JsonScanner()
        self._start_call(name)
        self._state = self._in_arguments
        self._in_arguments(char)

    def _in_arguments(self, char: str) -> None:
        verdict = self._scanner.feed(char)
        if verdict is Verdict.WRONG:
            self._break_off(char)
            return
        self._arguments.append(self._scanner.written)
        if verdict is Verdict.ENDED:
            self._end_call(True)

    def _open_object(self, char: str) -> None:
        self._raw.append(self._held + char)
        self._held = ""
        self._call = CallObject(knows_all_keys=not self._is_tagged)
        self._call.feed(char)
        self._state = self._in_object

    def _in_object(self, char: str) -> None:
        verdict = self._call.feed(char)
        if not self._has_started:
            self._raw.append(char)
        if verdict is Verdict.WRONG:
            if self._has_started:
                self._break_off(char)
            else:
                self._give_up()
            return
        name = self._call.name
        if not self._has_started and name is not None and (self._call.has_arguments or verdict is Verdict.ENDED):
            if not self._may_call(name):
                self._give_up()
                return
            self._start_call(name)
        if self._has_started:
            self._arguments.append(self._call.take_arguments())
        if verdict is Verdict.ENDED:
            self._end_call(True)

    def _in_closed(self, char: str) -> None:
        """After a call: a close tag, a separator, another call, or text again."""
        held = self._held + char
        marks = held.lstrip(_BLANK)
        tags = (self._style.close_tag, self._style.open_tag)
        if not marks or (not self._in_list and any(t.startswith(marks) and t != marks for t in tags)):
            self._held = held
        elif marks == self._style.close_tag:
            self._held = ""
            self._is_tagged = False
            self._state = self._in_text
        elif marks == self._style.open_tag:
            self._raw, self._held = [held], ""
            self._is_tagged = True
            self._state = self._in_opened
        elif marks == "{" and not self._in_list:
            self._open_object(char)
        elif marks in ",;" and (self._in_list or self._style.is_bare):
            self._raw, self._held = [held], ""
            self._state = self._in_opened
        elif marks == "]" and self._in_list:
            self._in_list = False
            self._held = ""
        else:
            self._held = ""
            self._state = self._in_text
            for waiting in held:
                self._state(waiting)

    def _may_call(self, name: str) -> bool:
        if self._is_tagged:
            return True
        return name in self._names if self._names is not None else self._call.has_arguments

    def _start_call(self, name: str) -> None:
        self._tell_text()
        self._events.append(CallStart(self._count, name))
        self._has_started = True
        self._raw.clear()

    def _is_whole(self) -> bool:
        return self._state == self._in_object and self._call.is_whole

    def _tell_arguments(self) -> None:
        if text := "".join(self._arguments):
            self._arguments.clear()
            self._events.append(ArgumentsDelta(self._count, text))

    def _end_call(self, is_whole: bool) -> None:
        self._tell_arguments()
        self._events.append(CallEnd(self._count, is_whole))
        self._count += 1
        self._has_started = False
        self._follows_call = True
        self._held = ""
        self._state = self._in_closed

    def _break_off(self, char: str) -> None:
        """A call that was told of turns out malformed: what follows is text."""
        self._end_call(self._is_whole())
        self._in_list = False
        self._state = self._in_text
        self._in_text(char)

    def _give_up(self) -> None:
        """What looked like a call is none: it is text, and so is what follows."""
        raw = "".join(self._raw)
        self._raw.clear()
        self._held = ""
        self._in_list = self._is_tagged = False
        self._state = self._in_text
        self._show(raw)

    def _show(self, text: str) -> None:
        if text:
            self._shown.append(text)
            self._follows_call = False

    def _tell_text(self) -> None:
        if self._shown:
            self._events.append(TextDelta("".join(self._shown)))
            self._shown.clear()


def _partial_len(text: str, tag: str) -> int:
    """The length of the longest beginning of `tag` that `text` ends with."""
    return next((n for n in range(min(len(tag), len(text)), 0, -1) if text.endswith(tag[:n])), 0)
