"""What was said in a chat, what of it still fits the context, and the file it is saved to."""

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

from wayra.base.errors import ContextOverflow, WayraError

ROLES = ("system", "user", "assistant")
MAX_SAVED_BYTES = 64 * 1024**2

Messages = list[dict[str, str]]


class Conversation:
    """The messages of a chat and from which on they are sent.

    When the next prompt would leave no room for an answer, the oldest turns are left out, and `ask` says so; they stay
    in `messages`. So many are left out at once that the rest takes half the context: the turns after that find their
    beginning in the prefix cache again. The system message is always sent.

    count_tokens: of a list of messages as the model would get it. context_len, answer_len: tokens there are, and tokens
    kept free for the answer.
    """

    def __init__(self, count_tokens: Callable[[Messages], int], context_len: int, answer_len: int) -> None:
        self.system: str | None = None
        self.messages: Messages = []
        self._count_tokens = count_tokens
        self._context_len = context_len
        self._answer_len = min(answer_len, context_len // 4)
        self._first_sent = 0

    def sent(self) -> Messages:
        """What goes to the model."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, *self.messages[self._first_sent :]]

    def ask(self, text: str) -> str | None:
        """Add a message of the user. Returns a notice when older turns are left out from now on.

        Raises ContextOverflow, and adds nothing, when the message does not fit even alone.
        """
        self.messages.append({"role": "user", "content": text})
        before = self._first_sent
        try:
            self._make_room()
        except BaseException:
            self.messages.pop()
            self._first_sent = before
            raise
        left_out = self._first_sent - before
        if left_out == 0:
            return None
        return (
            f"the conversation has outgrown the context of {self._context_len:,} tokens: "
            f"the oldest {left_out} messages are no longer sent (/reset starts afresh, --context allows more)"
        )

    def answer(self, text: str) -> None:
        """Add the model's answer; none when it was interrupted before its first word, which takes the question back."""
        if text:
            self.messages.append({"role": "assistant", "content": text})
        elif self.messages:
            self.messages.pop()

    def reset(self) -> None:
        """Forget everything but the system message."""
        self.messages = []
        self._first_sent = 0

    def replace(self, messages: Sequence[Mapping[str, str]]) -> None:
        """Take over a saved conversation."""
        self.reset()
        self.system = next((m["content"] for m in messages if m["role"] == "system"), None)
        self.messages = [dict(m) for m in messages if m["role"] != "system"]

    def all(self) -> Messages:
        """Everything said, with the system message."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, *self.messages]

    def _make_room(self) -> None:
        if self._count_tokens(self.sent()) + self._answer_len <= self._context_len:
            return
        last = len(self.messages) - 1
        while self._first_sent < last:
            self._first_sent = self._next_question(last)
            if self._count_tokens(self.sent()) <= self._context_len // 2:
                return
        needed = self._count_tokens(self.sent())
        if needed >= self._context_len:
            raise ContextOverflow(
                f"the message takes {needed:,} tokens, the context has {self._context_len:,}; "
                "shorten it or start with a larger --context"
            )

    def _next_question(self, last: int) -> int:
        """Where the next turn begins: templates expect the user to speak first."""
        index = self._first_sent + 1
        while index < last and self.messages[index]["role"] != "user":
            index += 1
        return index


def save(path: Path, model: str, messages: Messages) -> None:
    """Write a chat, whole or not at all. Raises WayraError; never replaces a file that is not a saved chat."""
    if path.exists():
        try:
            load(path)
        except WayraError as error:
            raise WayraError(f"{path} exists and is not a saved chat; choose another name") from error
    content = json.dumps({"model": model, "messages": messages}, ensure_ascii=False, indent=1)
    partial = None
    try:
        handle, partial = tempfile.mkstemp(prefix=path.name, suffix=".partial", dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content + "\n")
        os.replace(partial, path)
    except OSError as error:
        if partial is not None:
            Path(partial).unlink(missing_ok=True)
        raise WayraError(f"{path} cannot be written: {error.strerror}; choose another place") from error


def load(path: Path) -> Messages:
    """Read a saved chat. Raises WayraError when there is none or it is not one."""
    try:
        if path.stat().st_size > MAX_SAVED_BYTES:
            raise WayraError(f"{path} is larger than {MAX_SAVED_BYTES >> 20} MB; it is not a saved chat")
        content: object = json.loads(path.read_bytes())
    except OSError as error:
        raise WayraError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise WayraError(f"{path} is not a saved chat: it is not JSON") from error
    found = cast(Mapping[str, object], content).get("messages") if isinstance(content, Mapping) else None
    if not isinstance(found, list):
        raise WayraError(f"{path} is not a saved chat: it has no list of messages")
    return [_message(path, entry) for entry in cast(list[object], found)]


def _message(path: Path, entry: object) -> dict[str, str]:
    if isinstance(entry, Mapping):
        fields = cast(Mapping[str, object], entry)
        role, content = fields.get("role"), fields.get("content")
        if isinstance(role, str) and role in ROLES and isinstance(content, str):
            return {"role": role, "content": content}
    raise WayraError(f"{path} is not a saved chat: a message needs a role ({', '.join(ROLES)}) and a content")
