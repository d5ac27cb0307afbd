"""Where the messages of a chat come from: an edited line on a terminal, or one line after the other from a pipe."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from wayra.base.errors import WayraError
from wayra.cli.output import note

if TYPE_CHECKING:
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

QUOTES = '"""'
HISTORY_NAME = "chat_history"


class Reader(Protocol):
    """Gives one message after the other."""

    def read(self) -> str:
        """The next message. Raises EOFError at the end, KeyboardInterrupt on Ctrl-C."""
        ...


def is_open(text: str) -> bool:
    """Whether the message goes on: a backslash at the end, or three quotes not closed yet."""
    stripped = text.strip()
    if stripped.startswith(QUOTES):
        return len(stripped) < 2 * len(QUOTES) or not stripped.endswith(QUOTES)
    return text.endswith("\\")


def unquoted(text: str) -> str:
    """The message without what made it several lines."""
    stripped = text.strip()
    if stripped.startswith(QUOTES):
        return stripped.removeprefix(QUOTES).removesuffix(QUOTES).strip("\n")
    return text.replace("\\\n", "\n").strip()


class PipeReader:
    """Lines of standard input; empty ones are passed over."""

    def __init__(self) -> None:
        self._lines = self._decoded()

    def read(self) -> str:
        """Raises EOFError at the end, WayraError when a line is not UTF-8."""
        text = next(self._lines, None)
        while text is not None and (not text.strip() or is_open(text)):
            more = next(self._lines, None)
            if more is None:
                break
            text = more if not text.strip() else f"{text}\n{more}"
        if text is None or not text.strip():
            raise EOFError
        return unquoted(text)

    def _decoded(self) -> Iterator[str]:
        for number, line in enumerate(sys.stdin.buffer, 1):
            try:
                yield line.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise WayraError(f"line {number:,} of standard input is not UTF-8 text; convert it first") from error


class TerminalReader:
    """A prompt with editing, history kept in the cache folder, and messages of several lines."""

    def __init__(self, cache_dir: Path) -> None:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.history import FileHistory, InMemoryHistory

        path = _history_file(cache_dir)
        self._session: PromptSession[str] = PromptSession(
            history=InMemoryHistory() if path is None else FileHistory(str(path)),
            key_bindings=_key_bindings(),
            multiline=True,
            prompt_continuation="... ",
            enable_open_in_editor=False,
        )

    def read(self) -> str:
        """Raises EOFError on Ctrl-D, KeyboardInterrupt on Ctrl-C."""
        return unquoted(self._session.prompt(">>> "))


def _key_bindings() -> "KeyBindings":
    from prompt_toolkit.key_binding import KeyBindings

    bindings = KeyBindings()

    @bindings.add("enter")
    def _(event: "KeyPressEvent") -> None:
        buffer = event.current_buffer
        if is_open(buffer.text):
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @bindings.add("escape", "enter")
    def _(event: "KeyPressEvent") -> None:
        event.current_buffer.insert_text("\n")

    return bindings


def _history_file(cache_dir: Path) -> Path | None:
    """The history, readable by its owner only; None when the cache folder cannot be written."""
    path = cache_dir / HISTORY_NAME
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
    except OSError as error:
        note(f"no history: {path} cannot be written ({error.strerror})")
        return None
    return path
