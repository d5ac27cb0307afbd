"""Log-likelihoods of given continuations, with the token boundaries of EleutherAI's harness: scores agree with it.

A continuation's tokens are those of context and continuation encoded together, without as many as the context alone
has; spaces that end the context belong to the continuation. What does not fit loses its beginning.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wayra.base.errors import BackendError, ContextOverflow, DataError, InvalidParameter
from wayra.llm import LLM, Completion, SamplingParams

MAX_TOP = 20
"""Alternatives that a request may ask for."""

Encode = Callable[[str], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Pair:
    """Token ids of a context and of what continues it. is_truncated: the context lost its beginning."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]
    is_truncated: bool = False


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Sum of the natural log-probabilities; is_greedy: each token was the likeliest in its place."""

    loglikelihood: float
    is_greedy: bool


def encoder_of(llm: LLM) -> Encode:
    """Text to ids as the model reads it, control tokens recognised; a text that begins with BOS gets no second one."""
    if llm.url is not None:
        return llm.prompt_ids
    tokenizer = llm.tokenizer
    bos = "" if tokenizer.bos_id is None else tokenizer.token_bytes(tokenizer.bos_id).decode("utf-8", "replace")

    def encode(text: str) -> Sequence[int]:
        add_bos = False if bos and text.startswith(bos) else None
        return tokenizer.encode(text, add_bos=add_bos, parse_special=True)

    return encode


def pair_of(encode: Encode, context: str, continuation: str, room: int, first_id: int | None = None) -> Pair:
    """room: tokens that fit. first_id: what an empty context is, BOS or the end of a text.

    Raises DataError for an empty continuation, InvalidParameter for an empty context without first_id, ContextOverflow
    when the continuation alone fills the room.
    """
    if not context:
        if first_id is None:
            raise InvalidParameter("a continuation needs a context, even an empty one's first token; give some text")
        ids = list(encode(continuation))
        ids = ids if ids and ids[0] == first_id else [first_id, *ids]
        return _fitted(ids[:1], ids[1:], room)
    kept = context.rstrip()
    kept, moved = (kept, context[len(kept) :]) if kept else (context, "")
    alone = list(encode(kept))
    both = list(encode(kept + moved + continuation))
    return _fitted(both[: len(alone)], both[len(alone) :], room)


def _fitted(context: Sequence[int], continuation: Sequence[int], room: int) -> Pair:
    if not continuation:
        raise DataError("a continuation has no tokens of its own; choices must not be empty")
    if len(continuation) >= room:
        raise ContextOverflow(f"a continuation has {len(continuation):,} tokens, the context holds {room:,}")
    left = room - len(continuation)
    return Pair(tuple(context[-left:]), tuple(continuation), len(context) > left)


async def likelihoods(llm: LLM, pairs: Sequence[Pair]) -> list[Likelihood]:
    """One for each pair. Raises a WayraError when the model cannot be asked."""
    found: dict[int, Likelihood] = {}
    first = pairs[0]
    if llm.url is None and all(len(pair.continuation) == 1 and pair.context == first.context for pair in pairs):
        found = await _of_one_token(llm, pairs)
    rest = [index for index in range(len(pairs)) if index not in found]
    if rest:
        params = SamplingParams(temperature=0.0, max_tokens=0, prompt_logprobs=True, prompt_top_logprobs=1)
        prompts = [(*pairs[index].context, *pairs[index].continuation) for index in rest]
        for index, completion in zip(rest, await llm.agenerate(prompts, params), strict=True):
            found[index] = _scored(completion, pairs[index])
    return [found[index] for index in range(len(pairs))]


async def _of_one_token(llm: LLM, pairs: Sequence[Pair]) -> dict[int, Likelihood]:
    """Continuations of one token after one context: what the model says next tells all that are likely enough."""
    params = SamplingParams(temperature=0.0, max_tokens=1, ignore_eos=True, logprobs=MAX_TOP)
    (completion,) = await llm.agenerate([pairs[0].context], params)
    if not completion.logprobs:
        return {}
    top = completion.logprobs[0].top
    known = dict(top)
    return {
        index: Likelihood(known[pair.continuation[0]], top[0][0] == pair.continuation[0])
        for index, pair in enumerate(pairs)
        if pair.continuation[0] in known
    }


def _scored(completion: Completion, pair: Pair) -> Likelihood:
    count = len(pair.continuation)
    logprobs, top = completion.prompt_logprobs, completion.prompt_top
    if logprobs is None or top is None or len(logprobs) < count or len(top) < count:
        raise BackendError("the model gave no log-probabilities for the prompt")
    is_greedy = all(
        bool(best) and best[0][0] == token_id for best, token_id in zip(top[-count:], pair.continuation, strict=True)
    )
    return Likelihood(sum(logprobs[-count:]), is_greedy)
