"""What is asked of the engine and what it answers: token ids only.

Every number is bounded both ways here, when the parameters are made, so that nothing behind this file meets a NaN, a
negative count or a list without end.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import TYPE_CHECKING, Literal, Protocol, cast

from wayra.base.errors import InvalidParameter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FinishReason = Literal["stop", "length", "cancelled", "error"]
Pooling = Literal["mean", "last"]
"""How one vector is made of those of all tokens: their mean, or that of the last one."""

MAX_TOKENS_LIMIT = 1 << 24
MAX_TOP_K = 1_000_000
MAX_LOGPROBS = 20
MAX_STOPS = 64
MAX_STOP_LEN = 1024
MAX_STOP_TOKEN_IDS = 1024
MAX_BIASES = 4096
MAX_TOKEN_ID = (1 << 31) - 1
MAX_WEIGHT = 1000


class Constraint(Protocol):
    """Restricts what a request may say next (a grammar, say). It belongs to one request and is stepped with it."""

    def mask(self) -> "NDArray[np.uint32]":
        """uint32 [ceil(vocab / 32)], bit i of word w allows token 32 * w + i, for the next token."""
        ...

    def accept(self, token_id: int) -> bool:
        """Take note of a generated token; True when the answer is complete and nothing can follow it.

        Not called for the token that ends the request.
        """
        ...


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to continue a prompt. Validated when made: raises InvalidParameter naming the value and its range.

    temperature: 0 is greedy. top_k 0, top_p 1, min_p 0 are off. seed None draws one.
    max_tokens: None goes on until a stop or the end of the context; 0 only reads the prompt.
    stop: strings that end the text (checked above the engine). stop_token_ids: ids that end it, besides the model's own
    end-of-sequence ids (which ignore_eos switches off).
    min_tokens: no stop token is chosen before that many tokens.
    logprobs: how many alternatives to report for each token; None reports nothing.
    prompt_logprobs: also report the log-probability of each prompt token. prompt_top_logprobs: how many alternatives
    to report for each of them.
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
    prompt_top_logprobs: int = 0

    def __post_init__(self) -> None:
        _check_real("temperature", self.temperature, 0.0, 100.0)
        _check_int("top_k", self.top_k, 0, MAX_TOP_K)
        _check_real("top_p", self.top_p, 0.0, 1.0)
        _check_real("min_p", self.min_p, 0.0, 1.0)
        _check_real("repetition_penalty", self.repetition_penalty, 0.01, 100.0)
        _check_real("presence_penalty", self.presence_penalty, -2.0, 2.0)
        _check_real("frequency_penalty", self.frequency_penalty, -2.0, 2.0)
        if self.seed is not None:
            _check_int("seed", self.seed, -(1 << 63), (1 << 64) - 1)
        if self.max_tokens is not None:
            _check_int("max_tokens", self.max_tokens, 0, MAX_TOKENS_LIMIT)
        _check_int("min_tokens", self.min_tokens, 0, MAX_TOKENS_LIMIT)
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise InvalidParameter(
                f"min_tokens is {self.min_tokens:,}, more than max_tokens, {self.max_tokens:,}; lower it"
            )
        if self.logprobs is not None:
            _check_int("logprobs", self.logprobs, 0, MAX_LOGPROBS)
        _check_bool("ignore_eos", self.ignore_eos)
        _check_bool("prompt_logprobs", self.prompt_logprobs)
        _check_int("prompt_top_logprobs", self.prompt_top_logprobs, 0, MAX_LOGPROBS)
        if self.prompt_top_logprobs and not self.prompt_logprobs:
            raise InvalidParameter("prompt_top_logprobs is set without prompt_logprobs; set both")
        # Lists are what people write; they are copied so that nobody can change a request under way.
        object.__setattr__(self, "stop", _checked_stops(self.stop))
        object.__setattr__(self, "stop_token_ids", _checked_stop_ids(self.stop_token_ids))
        object.__setattr__(self, "logit_bias", _checked_bias(self.logit_bias))

    @property
    def is_greedy(self) -> bool:
        return self.temperature == 0.0

    def all_stop_ids(self, eos_ids: frozenset[int]) -> frozenset[int]:
        """The tokens that end an answer of a model with these end-of-sequence ids."""
        stop_ids = frozenset(self.stop_token_ids)
        return stop_ids if self.ignore_eos else stop_ids | eos_ids

    @property
    def has_penalties(self) -> bool:
        return self.repetition_penalty != 1.0 or self.presence_penalty != 0.0 or self.frequency_penalty != 0.0


@dataclass(frozen=True, slots=True)
class Share:
    """Whose a request is while requests wait: those of all names get tokens in proportion to their weights."""

    name: str = ""
    weight: int = 1

    def __post_init__(self) -> None:
        _check_int("weight", self.weight, 1, MAX_WEIGHT)


@dataclass(frozen=True, slots=True)
class Request:
    """salt: prefixes are shared only between requests of equal salt. constraint: None allows every token.

    A constrained request ends with "stop" where its constraint is complete, or at an end-of-sequence token that the
    constraint allows; a stop of its own params still ends it anywhere.
    pooling: wants a vector that stands for the prompt (Output.embedding) and no token; set params.max_tokens to 0.
    """

    id: str
    prompt_ids: tuple[int, ...]
    params: SamplingParams
    salt: str = ""
    constraint: Constraint | None = field(default=None, compare=False)
    pooling: Pooling | None = None
    share: Share = field(default_factory=Share)


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
    prompt_logprobs: on the first output, one entry a prompt token from the second on, when asked for. prompt_top: the
    likeliest tokens in their places, most likely first, likewise.
    cached_tokens: prompt tokens served from the prefix cache (on the first output).
    error: one sentence, with finish_reason "error".
    drafted_tokens, accepted_tokens: guessed and computed in this step; those of them that are among token_ids.
    embedding: float32 [hidden_size] with finish_reason "stop", for requests that pool; not normalised.
    admitted_s: when it ceased to wait, by time.perf_counter (on the first output, None when it never did).
    """

    request_id: str
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt_logprobs: tuple[float, ...] | None = None
    cached_tokens: int = 0
    finish_reason: FinishReason | None = None
    error: str | None = None
    prompt_top: tuple[tuple[tuple[int, float], ...], ...] | None = None
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    embedding: "NDArray[np.float32] | None" = field(default=None, compare=False)
    admitted_s: float | None = field(default=None, compare=False)


def _is_int(value: object) -> bool:
    # bool is an int to Python; here it is a mistake. NumPy's integers are Integral.
    return not isinstance(value, bool) and isinstance(value, Integral)


def _is_real(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real)


def _check_int(name: str, value: object, low: int, high: int) -> None:
    if not _is_int(value):
        raise InvalidParameter(f"{name} is {_shown(value)}, expected an integer from {low:,} to {high:,}")
    if not low <= cast(int, value) <= high:
        raise InvalidParameter(f"{name} is {_shown(value)}, expected {low:,} to {high:,}")


def _check_real(name: str, value: object, low: float, high: float) -> None:
    if not _is_real(value):
        raise InvalidParameter(f"{name} is {_shown(value)}, expected a number from {low:g} to {high:g}")
    # Compared before any conversion: an integer of a thousand digits does not fit a float.
    number = cast(float, value)
    if not low <= number <= high or not math.isfinite(number):
        raise InvalidParameter(f"{name} is {_shown(value)}, expected {low:g} to {high:g}")


def _check_bool(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise InvalidParameter(f"{name} is {_shown(value)}, expected true or false")


def _checked_stops(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = (value,)
    stops = _checked_list("stop", value, MAX_STOPS)
    for stop in stops:
        if not isinstance(stop, str) or not 1 <= len(stop) <= MAX_STOP_LEN:
            raise InvalidParameter(f"a stop is {_shown(stop)}, expected a string of 1 to {MAX_STOP_LEN:,} characters")
    return tuple(cast(list[str], stops))


def _checked_stop_ids(value: object) -> tuple[int, ...]:
    ids = _checked_list("stop_token_ids", value, MAX_STOP_TOKEN_IDS)
    for token_id in ids:
        _check_int("a stop token id", token_id, 0, MAX_TOKEN_ID)
    return tuple(int(cast(int, token_id)) for token_id in ids)


def _checked_bias(value: object) -> dict[int, float]:
    if not isinstance(value, Mapping):
        raise InvalidParameter(f"logit_bias is {_shown(value)}, expected a mapping of token ids to numbers")
    items = list(cast(Mapping[object, object], value).items())
    if len(items) > MAX_BIASES:
        raise InvalidParameter(f"logit_bias has {len(items):,} entries, at most {MAX_BIASES:,} are taken")
    checked: dict[int, float] = {}
    for token_id, bias in items:
        _check_int("a logit_bias token id", token_id, 0, MAX_TOKEN_ID)
        _check_real("a logit bias", bias, -100.0, 100.0)
        checked[int(cast(int, token_id))] = float(cast(float, bias))
    return checked


def _checked_list(name: str, value: object, max_len: int) -> list[object]:
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise InvalidParameter(f"{name} is {_shown(value)}, expected a list")
    entries = list(cast(Sequence[object], value))
    if len(entries) > max_len:
        raise InvalidParameter(f"{name} has {len(entries):,} entries, at most {max_len:,} are taken")
    return entries


def _shown(value: object) -> str:
    """The value as text, short enough for a message whatever was passed."""
    # Python refuses to print integers of more than 4,300 digits.
    if isinstance(value, int) and value.bit_length() > 256:
        return f"an integer of {value.bit_length():,} bits"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
