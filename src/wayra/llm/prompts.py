"""What callers may pass as prompts, and how it becomes token ids."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeGuard

from wayra.base.errors import ContextOverflow, InvalidParameter, TemplateError
from wayra.engine.request import SamplingParams
from wayra.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from wayra.text.chat import ChatTemplate

Prompt = str | Sequence[int]
Message = Mapping[str, object]
Conversation = Sequence[Message]

NO_TEMPLATE = "this model has no chat template, it only continues text; use generate (--raw), or a chat model"


class PromptReader:
    """Turns texts, token ids and conversations into checked token ids. Thread-safe.

    vocab_size: of the model, which may be larger than the tokenizer's.
    """

    def __init__(self, tokenizer: Tokenizer, template: "ChatTemplate | None", vocab_size: int) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._vocab_size = vocab_size

    def read(self, prompt: Prompt | Conversation, max_len: int | None = None) -> tuple[int, ...]:
        """Text is encoded as the model file says, control tokens written in it recognised; conversations are rendered,
        and control tokens written in their messages are plain text.

        max_len: refuse a text at once that must have more tokens. Others may also have more.
        Raises InvalidParameter for anything else, an empty prompt or ids outside the vocabulary, TemplateError,
        ContextOverflow.
        """
        if isinstance(prompt, str):
            self._check_len(len(prompt), max_len)
            ids = self._tokenizer.encode(prompt, parse_special=True)
        elif is_conversation(prompt):
            ids = self.chat_ids(prompt, max_len=max_len)
        else:
            ids = self._checked(prompt)
        if not ids:
            raise InvalidParameter("the prompt has no tokens; give at least one")
        return tuple(ids)

    def render(self, messages: Conversation) -> str:
        """The text of a conversation up to where the model is to go on. Raises TemplateError."""
        if self._template is None:
            raise TemplateError(NO_TEMPLATE)
        return self._template.render(messages)

    def chat_ids(
        self,
        messages: Conversation,
        tools: Sequence[Mapping[str, object]] | None = None,
        max_len: int | None = None,
    ) -> list[int]:
        """The ids of a conversation; tools are for the template, max_len is as for `read`.

        Raises TemplateError, InvalidParameter, ContextOverflow.
        """
        if self._template is None:
            raise TemplateError(NO_TEMPLATE)
        (guarded, guarded_tools), mark = self._tokenizer.guard.protect((messages, tools))
        text = self._template.render(guarded, tools=guarded_tools)
        self._check_len(len(text) - (text.count(mark) * len(mark) if mark else 0), max_len)
        # The template writes BOS itself where the model wants one.
        return self._tokenizer.encode_guarded(text, mark)

    def _check_len(self, num_chars: int, max_len: int | None) -> None:
        # To find out how many it has would take seconds and a gigabyte for a few megabytes of text.
        if max_len is None or num_chars <= max_len:
            return
        least = -(-num_chars // self._tokenizer.longest_token_bytes)
        if least > max_len:
            raise ContextOverflow(
                f"prompt has {num_chars:,} characters, which are at least {least:,} tokens, limit is {max_len:,}; "
                "shorten it"
            )

    def _checked(self, prompt: object) -> list[int]:
        if not isinstance(prompt, Sequence) or isinstance(prompt, bytes | bytearray):
            raise InvalidParameter(f"a prompt is a {type(prompt).__name__}, expected text, token ids or messages")
        ids: list[int] = []
        for token in prompt:
            if not isinstance(token, int) or isinstance(token, bool):
                raise InvalidParameter(
                    f"a prompt holds a {type(token).__name__}, expected text, token ids or messages (role and content)"
                )
            if not 0 <= token < self._vocab_size:
                raise InvalidParameter(f"token id {token} is outside the vocabulary, 0 to {self._vocab_size - 1:,}")
            ids.append(token)
        return ids


def is_conversation(prompt: object) -> TypeGuard[Conversation]:
    """Whether it is a list of messages."""
    return (
        isinstance(prompt, Sequence)
        and not isinstance(prompt, str)
        and bool(prompt)
        and all(isinstance(m, Mapping) for m in prompt)
    )


def as_prompts(prompts: str | Sequence[Prompt]) -> list[Prompt]:
    """One text or several prompts, as a list. Raises InvalidParameter for bare token ids, which could be either."""
    if isinstance(prompts, str):
        return [prompts]
    _check_sequence(prompts, "text, or a list of texts or lists of token ids")
    if any(isinstance(p, int) for p in prompts):
        raise InvalidParameter("the prompts are bare token ids; wrap one prompt of ids in a list: [[1, 2, 3]]")
    return list(prompts)


def as_conversations(messages: Conversation | Sequence[Conversation]) -> list[Conversation]:
    """One conversation or several, as a list. Raises InvalidParameter for anything else."""
    if is_conversation(messages):
        return [messages]
    _check_sequence(messages, "a list of messages with role and content")
    conversations: list[Conversation] = []
    for conversation in messages:
        if not is_conversation(conversation):
            raise InvalidParameter(
                "expected messages such as [{'role': 'user', 'content': 'Hello'}], or a list of such lists; "
                f"found a {type(conversation).__name__}"
            )
        conversations.append(conversation)
    return conversations


def _check_sequence(value: object, expected: str) -> None:
    if not isinstance(value, Sequence) or isinstance(value, bytes | bytearray):
        raise InvalidParameter(f"the prompts are a {type(value).__name__}, expected {expected}")


def as_params(params: SamplingParams | Sequence[SamplingParams] | None, num_prompts: int) -> list[SamplingParams]:
    """One SamplingParams a prompt. Raises InvalidParameter when their number disagrees."""
    if params is None:
        params = SamplingParams()
    if isinstance(params, SamplingParams):
        return [params] * num_prompts
    if len(params) != num_prompts:
        raise InvalidParameter(f"{len(params)} sampling params for {num_prompts} prompts; give one, or one a prompt")
    return list(params)
