"""Turns messages into the text a model was trained on.

Encode the result with `add_bos=False, parse_special=True`: the template itself writes BOS where the model wants it.
"""

from collections.abc import Mapping, Sequence
from typing import cast

from wayra.base.errors import InvalidParameter, TemplateError
from wayra.text.template_process import TemplateFailed, TemplateLimits, TemplateProcess


class ChatTemplate:
    """A template in the Jinja dialect of Hugging Face. Thread-safe. Runs in a process of its own, within `limits`.

    source: the template. tool_source: the one for conversations with tools, where a model has two.
    bos_token, eos_token: their texts, for the template.
    Raises TemplateError if a template is over the size limit.
    """

    def __init__(
        self,
        source: str,
        *,
        bos_token: str,
        eos_token: str,
        tool_source: str | None = None,
        limits: TemplateLimits | None = None,
    ) -> None:
        limits = limits if limits is not None else TemplateLimits()
        for text in (source, tool_source or ""):
            if len(text) > limits.max_source_chars:
                raise TemplateError(
                    f"the chat template has {len(text)} characters, limit is {limits.max_source_chars}; use another"
                )
        self.source = source
        self.tool_source = tool_source
        self.eos_token = eos_token
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}
        self._process = TemplateProcess(limits)

    def prepare(self, started: TemplateProcess | None = None) -> None:
        """Start the renderer in the background, so that the first `render` need not wait 30 ms for it.

        started: one that was started before the template was known, to be used and closed by this template.
        """
        if started is not None:
            self._process.close()
            self._process = started
        self._process.prepare()

    def render(
        self,
        messages: Sequence[Mapping[str, object]],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, object]] | None = None,
        **extra: object,
    ) -> str:
        """The text of a conversation.

        messages: each with a `role` and a `content` (text, or a list of text parts, or None beside `tool_calls`);
        what else they hold reaches the template as it is.
        add_generation_prompt: end with the beginning of the assistant's turn.
        tools: function schemas. extra: further variables of the template.
        Raises InvalidParameter for malformed messages, TemplateError if the template fails, refuses or exceeds a limit.
        """
        checked = checked_messages(messages)
        context = {
            **self._tokens,
            **extra,
            "messages": checked,
            "tools": None if tools is None else list(tools),
            "add_generation_prompt": add_generation_prompt,
        }
        source = self.tool_source if tools and self.tool_source is not None else self.source
        try:
            return self._process.render(source, context)
        except TemplateFailed:
            texts = _with_empty_texts(checked)
            if texts == checked:
                raise
            return self._process.render(source, {**context, "messages": texts})

    def close(self) -> None:
        """End the renderer's process; a later `render` starts another."""
        self._process.close()


def checked_messages(messages: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """Messages fit for a template: roles checked, lists of text parts joined by a line break.

    Raises InvalidParameter saying which message is wrong and how.
    """
    given = cast(object, messages)
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Sequence) or not given:
        raise InvalidParameter("messages must be a list of at least one message with role and content")
    return [_checked_message(message, number) for number, message in enumerate(cast(Sequence[object], given))]


def _with_empty_texts(messages: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """The messages with an empty text where calls stand alone.

    Clients send null there, and some templates tell calls by it; others fail on what is no text.
    """
    return [
        {**message, "content": ""} if message.get("tool_calls") and message.get("content") is None else dict(message)
        for message in messages
    ]


def _checked_message(given: object, number: int) -> dict[str, object]:
    if not isinstance(given, Mapping):
        raise InvalidParameter(
            f"messages[{number}] is {type(given).__name__}, expected an object with role and content"
        )
    message = dict(cast(Mapping[str, object], given))
    role = message.get("role")
    if not isinstance(role, str) or not role:
        raise InvalidParameter(f"messages[{number}].role is {role!r:.60}, expected a name such as 'user'")
    content = message.get("content")
    if content is None and not message.get("tool_calls"):
        raise InvalidParameter(f"messages[{number}] has no content; give it a text")
    if "content" in message and content is not None:
        message["content"] = _checked_content(content, number)
    return message


def _checked_content(content: object, number: int) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list | tuple):
        raise InvalidParameter(f"messages[{number}].content is {type(content).__name__}, expected a text")
    texts: list[str] = []
    for part in cast(Sequence[object], content):
        fields = cast(Mapping[str, object], part if isinstance(part, Mapping) else {})
        text = fields.get("text")
        if fields.get("type", "text") != "text" or not isinstance(text, str):
            kind = str(fields.get("type", type(cast(object, part)).__name__))
            raise InvalidParameter(f"messages[{number}].content has a part of type {kind[:40]!r}, supported is 'text'")
        texts.append(text)
    return "\n".join(texts)
