"""What the engine refuses at the door: requests that do not fit the model or the context it runs with."""

import numpy as np

from wayra.base.errors import ContextOverflow, InvalidParameter
from wayra.engine.request import Request
from wayra.engine.settings import Limits

_MAX_ID_LEN = 1024
_MAX_SALT_LEN = 4096


def check_request(request: Request, limits: Limits, vocab_size: int, eos_ids: frozenset[int]) -> None:
    """Raises ContextOverflow, or InvalidParameter naming what was seen and what is expected."""
    _check_text("request id", request.id, 1, _MAX_ID_LEN)
    _check_text("salt", request.salt, 0, _MAX_SALT_LEN)
    prompt_len = len(request.prompt_ids)
    if prompt_len == 0:
        raise InvalidParameter("the prompt is empty, expected at least one token; give it text or a BOS token")
    # A prompt that fills the context leaves no room for an answer, unless none is asked for.
    room = limits.max_context - (request.params.max_tokens != 0)
    if prompt_len > room:
        raise ContextOverflow(
            f"prompt has {prompt_len:,} tokens, limit is {room:,} (a context of {limits.max_context:,}); "
            "shorten it or raise --max-context"
        )
    _check_prompt(request.prompt_ids, vocab_size)
    params = request.params
    if request.pooling is not None:
        _check_pooling(request)
    _check_known("a stop token id", params.stop_token_ids, vocab_size)
    _check_known("a logit_bias token id", tuple(params.logit_bias), vocab_size)
    if params.ignore_eos and request.constraint is not None:
        raise InvalidParameter("ignore_eos is set beside a constraint, whose answers would never end; leave it out")
    if params.min_tokens and len(params.all_stop_ids(eos_ids)) >= vocab_size:
        raise InvalidParameter("min_tokens is set, but every token of the vocabulary is a stop token; name fewer")


def _check_pooling(request: Request) -> None:
    if request.pooling not in ("mean", "last"):
        raise InvalidParameter(f"pooling is {request.pooling!r:.40}, expected 'mean' or 'last'")
    if request.params.max_tokens != 0 or request.params.prompt_logprobs or request.constraint is not None:
        raise InvalidParameter(
            "pooling is set on a request that wants tokens or log-probabilities; set max_tokens to 0 and nothing else"
        )


def _check_text(name: str, text: object, min_len: int, max_len: int) -> None:
    if not isinstance(text, str) or not min_len <= len(text) <= max_len:
        seen = f"{len(text):,} characters long" if isinstance(text, str) else type(text).__name__
        raise InvalidParameter(f"the {name} is {seen}, expected a string of {min_len} to {max_len:,} characters")


def _check_prompt(prompt_ids: tuple[int, ...], vocab_size: int) -> None:
    try:
        ids = np.array(prompt_ids)
    except ValueError:
        ids = np.zeros(0, dtype=np.object_)
    if ids.dtype.kind not in "iu" or ids.ndim != 1:
        raise InvalidParameter("the prompt holds something that is not a token id, expected integers only")
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= vocab_size:
        seen = low if low < 0 else high
        raise InvalidParameter(f"the prompt holds token id {seen:,}, the vocabulary has 0 to {vocab_size - 1:,}")


def _check_known(name: str, token_ids: tuple[int, ...], vocab_size: int) -> None:
    for token_id in token_ids:
        if not 0 <= token_id < vocab_size:
            raise InvalidParameter(f"{name} is {token_id:,}, the vocabulary has 0 to {vocab_size - 1:,}")
