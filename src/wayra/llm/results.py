"""What the facade gives back: text and tokens with their counts and times. Plain data, ready for JSON."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wayra.engine.request import FinishReason, TokenLogprob

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request. cached_tokens is the part of prompt_tokens that the prefix cache served.

    drafted_tokens: guessed by speculation and checked. accepted_tokens: those of them that became the answer.
    """

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    drafted_tokens: int = 0
    accepted_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds by the monotonic clock, from the moment the request was handed to the engine.

    ttft_s: until the first token; None when none came. total_s: until the end.
    prefill_tokens_per_s: prompt tokens computed (not cached) over ttft_s, waiting included.
    decode_tokens_per_s: tokens after the first over the time after the first; None below two tokens.
    """

    ttft_s: float | None
    total_s: float
    prefill_tokens_per_s: float | None
    decode_tokens_per_s: float | None


@dataclass(frozen=True, slots=True)
class Completion:
    """The whole answer to one prompt.

    token_ids: what was generated, without the id that ended the turn; with a stop string, up to and including the
    token that completed it, while `text` ends before the string.
    finish_reason: "stop" (end of turn, stop string or stop id), "length" (max_tokens or the context), "cancelled".
    logprobs: one entry a token, when asked for. prompt_logprobs: one a prompt token from the second on, when asked for.
    prompt_top: the likeliest tokens in the places of prompt_logprobs, when asked for.
    stop_string: the one that ended it, if one did. embedding: float32 [hidden_size], for requests that pool.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    logprobs: tuple[TokenLogprob, ...] | None = None
    prompt_logprobs: tuple[float, ...] | None = None
    prompt_top: tuple[tuple[tuple[int, float], ...], ...] | None = None
    stop_string: str | None = None
    embedding: "NDArray[np.float32] | None" = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One piece of a streamed answer. The texts of all chunks joined are the completion's text.

    text may be empty (half a character, or the beginning of a possible stop string); it then comes with a later chunk.
    completion: on the last chunk only, the whole answer.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    completion: Completion | None = None
