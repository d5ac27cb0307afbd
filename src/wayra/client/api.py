"""What every caller of an OpenAI-compatible server needs: where its API begins, the chunks it streams, its errors."""

import msgspec


class Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[msgspec.Raw] | None = None


class ChoiceLogprobs(msgspec.Struct):
    """content: of chats. The other three, of equal length: of completions."""

    content: list[msgspec.Raw] | None = None
    tokens: list[msgspec.Raw] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


class Choice(msgspec.Struct):
    """token_ids: vLLM's and wayra's extension, sent to who asks for it."""

    text: str | None = None
    delta: Delta | None = None
    finish_reason: str | None = None
    logprobs: ChoiceLogprobs | None = None
    token_ids: list[int] | None = None


class PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None


class Chunk(msgspec.Struct):
    """One event of a stream; a whole completion has the same fields. error: `null` when there is none."""

    choices: list[Choice] = []
    usage: Usage | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")


class ModelCard(msgspec.Struct):
    """max_model_len: as vLLM and wayra tell it."""

    id: str
    owned_by: str | None = None
    max_model_len: int | None = None


class ModelCards(msgspec.Struct):
    data: list[ModelCard]


def api_url(url: str) -> str:
    """Up to and with the version, e.g. http://127.0.0.1:8000/v1: without a path /v1 is added."""
    scheme, _, rest = url.rstrip("/").partition("://")
    return f"{scheme}://{rest}" if "/" in rest else f"{scheme}://{rest}/v1"


def error_message(content: bytes) -> str:
    """What a server says went wrong: its JSON's message, or the beginning of what it sent."""
    try:
        found = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError):
        return content[:200].decode("utf-8", "replace").strip() or "no explanation"
    for _ in range(2):
        if isinstance(found, dict):
            found = found.get("error") or found.get("message") or found.get("detail") or found
    return str(found)[:300]


def error_code(content: bytes) -> str | None:
    """The error's `code` for programs, where the server's JSON has one."""
    try:
        found = msgspec.json.decode(content, type=_Failed)
    except (msgspec.DecodeError, RecursionError):
        return None
    return found.error.code if isinstance(found.error.code, str) else None


class _Error(msgspec.Struct):
    code: str | int | None = None


class _Failed(msgspec.Struct):
    error: _Error
