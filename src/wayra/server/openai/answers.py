"""What OpenAI's clients receive, as structs; and log-probabilities in both of the API's forms."""

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import Struct

from wayra.engine.request import TokenLogprob
from wayra.server.generation import Totals
from wayra.server.openai.wire import StreamOptions
from wayra.text.tokenizer import Tokenizer

LEAST_LOGPROB = -9999.0
"""What the API says for an impossible token; JSON has no infinity."""


class PromptDetails(Struct):
    cached_tokens: int


class CompletionDetails(Struct):
    reasoning_tokens: int = 0


class Usage(Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


def usage_of(totals: Totals) -> Usage:
    """The API's counts."""
    return Usage(
        prompt_tokens=totals.prompt_tokens,
        completion_tokens=totals.completion_tokens,
        total_tokens=totals.prompt_tokens + totals.completion_tokens,
        prompt_tokens_details=PromptDetails(totals.cached_tokens),
        completion_tokens_details=CompletionDetails(),
    )


class ChunkTail:
    """How every chunk of a stream ends: without counts, with null (the last chunk has them), or with those so far."""

    def __init__(self, options: StreamOptions | None, prompt_tokens: int) -> None:
        """prompt_tokens: of the whole call, as the last chunk counts them."""
        self.shows_usage = options is not None and bool(options.include_usage)
        is_running = options is not None and self.shows_usage and bool(options.continuous_usage_stats)
        self._prompt_tokens = prompt_tokens if is_running else None
        self._num_tokens = 0
        self._constant = b'],"usage":null}\n\n' if self.shows_usage else b"]}\n\n"

    def after(self, num_tokens: int = 0) -> bytes:
        """Of a chunk after so many further tokens of any of the answers."""
        self._num_tokens += num_tokens
        if self._prompt_tokens is None:
            return self._constant
        counts = (self._prompt_tokens, self._num_tokens, self._prompt_tokens + self._num_tokens)
        return b'],"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}}\n\n' % counts


class TopLogprob(Struct):
    token: str
    logprob: float
    bytes: list[int]


class ChatLogprob(Struct):
    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprob]


class ChatLogprobs(Struct):
    content: list[ChatLogprob]
    refusal: None = None


@dataclass(frozen=True, slots=True)
class TokenNames:
    """How tokens are called in an answer: by their text, or by their ids, which no two share (vLLM's extension)."""

    tokenizer: Tokenizer
    by_id: bool = False

    def name(self, token_id: int) -> str:
        return f"token_id:{token_id}" if self.by_id else _shown(self.tokenizer.token_bytes(token_id))


def chat_logprobs(found: Sequence[TokenLogprob], tokenizer: Tokenizer, by_id: bool = False) -> ChatLogprobs:
    """One entry a token. by_id: as of TokenNames."""
    names, raw_of = TokenNames(tokenizer, by_id), tokenizer.token_bytes

    def entry(one: TokenLogprob) -> ChatLogprob:
        top = [TopLogprob(names.name(i), bounded(logprob), list(raw_of(i))) for i, logprob in one.top]
        return ChatLogprob(names.name(one.token_id), bounded(one.logprob), list(raw_of(one.token_id)), top)

    return ChatLogprobs([entry(one) for one in found])


class CompletionLogprobs(Struct):
    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class LogprobWriter:
    """Log-probabilities of one completion in the form of the older endpoint, across its chunks.

    The offsets count characters of the tokens' own texts, as a client does who joins them.
    """

    def __init__(self, names: TokenNames) -> None:
        self._names = names
        self._offset = 0

    def write(self, found: Sequence[TokenLogprob | int]) -> CompletionLogprobs:
        """One entry a token; a bare id is the first of a prompt, which nothing predicts."""
        out = CompletionLogprobs([], [], [], [])
        for one in found:
            token_id = one if isinstance(one, int) else one.token_id
            out.tokens.append(self._names.name(token_id))
            out.text_offset.append(self._offset)
            self._offset += len(_shown(self._names.tokenizer.token_bytes(token_id)))
            if isinstance(one, int):
                out.token_logprobs.append(None)
                out.top_logprobs.append(None)
                continue
            out.token_logprobs.append(bounded(one.logprob))
            out.top_logprobs.append(self._top(one))
        return out

    def _top(self, one: TokenLogprob) -> dict[str, float]:
        top: dict[str, float] = {}
        for token_id, logprob in one.top:
            # The likelier of two tokens that read the same.
            top.setdefault(self._names.name(token_id), bounded(logprob))
        return top


def bounded(logprob: float) -> float:
    """The log-probability as JSON can say it."""
    return max(logprob, LEAST_LOGPROB)


def _shown(raw: bytes) -> str:
    """A token's text; one that is no UTF-8 by itself is shown as its bytes, so that it is not mistaken for another."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)
