"""What is asked of the engine and what it answers: token ids only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

FinishReason = Literal["stop", "length", "cancelled", "error"]


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to continue a prompt. Validated when made.

    temperature: 0 is greedy. top_k 0, top_p 1, min_p 0 are off. seed None draws one.
    max_tokens: None goes on until a stop or the end of the context.
    stop: strings that end the text (checked above the engine). stop_token_ids: ids that end it, besides the model's own
    end-of-sequence ids (which ignore_eos switches off).
    logprobs: how many alternatives to report for each token; None reports nothing.
    prompt_logprobs: also report the log-probability of each prompt token.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    max_tokens: int | None = None
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    logit_bias: Mapping[int, float] = field(default_factory=dict[int, float])
    logprobs: int | None = None
    prompt_logprobs: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """salt: prefixes are shared only between requests of equal salt."""

    id: str
    prompt_ids: tuple[int, ...]
    params: SamplingParams
    salt: str = ""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token's log-probability and the most likely alternatives, most likely first."""

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Output:
    """What one step gave one request.

    token_ids: new tokens (empty when it only finished). logprobs: one entry a new token, when asked for.
    prompt_logprobs: on the first output, one entry a prompt token from the second on, when asked for.
    cached_tokens: prompt tokens served from the prefix cache (on the first output).
    """

    request_id: str
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt_logprobs: tuple[float, ...] | None = None
    cached_tokens: int = 0
    finish_reason: FinishReason | None = None
    error: str | None = None
