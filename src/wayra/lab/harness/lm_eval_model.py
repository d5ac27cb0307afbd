"""EleutherAI's harness asks this class for likelihoods and answers; registered there as "wayra".

    wayra eval smollm2 --via lm-eval --suite hellaswag
    simple_evaluate(WayraLM(model="smollm2"), tasks=["hellaswag"])

Token boundaries, the first token of an empty context, truncation from the left and windows of long texts are the
harness's own definitions.
"""

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from lm_eval.api.model import LM  # pyright: ignore[reportMissingImports]
from lm_eval.api.registry import register_model  # pyright: ignore[reportMissingImports]

from wayra.base.errors import InvalidParameter, WayraError
from wayra.engine.request import MAX_STOPS
from wayra.lab.scoring.evaluate import first_of
from wayra.lab.scoring.loglikelihood import Pair, encoder_of, likelihoods, pair_of
from wayra.llm import LLM, SamplingParams

DEFAULT_ANSWER_TOKENS = 256
"""Longest answer where a task does not say, as the harness has it for Hugging Face's models."""
AT_ONCE = 64

OnDone = Callable[[int, int], None]
"""Told how many requests of a kind are done, and of how many."""


@register_model("wayra")
class WayraLM(LM):
    """A model of wayra's, here or behind a wayra or vLLM server, as the harness's models are."""

    def __init__(self, llm: LLM | None = None, on_done: OnDone | None = None, **options: Any) -> None:
        """llm: a loaded model, which stays the caller's; None loads one from the options, as LLM takes them."""
        super().__init__()
        for name in ("batch_size", "max_batch_size", "device"):
            options.pop(name, None)  # the harness gives them to every model
        self.llm = llm if llm is not None else LLM(**options)
        self._on_done = on_done
        self._encode = encoder_of(self.llm)

    @property
    def tokenizer_name(self) -> str:
        """Marks the harness's caches of requests."""
        return f"wayra/{self.llm.name}".replace("/", "__")

    @property
    def max_length(self) -> int:
        """Tokens the model reads for one prediction: one less than the context, which holds the scored one too."""
        return self.llm.context_len - 1

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Each request is a context and a continuation."""
        first_id = None if all(request.args[0] for request in requests) else self._first_id()
        room = self.max_length + 1
        asked: list[tuple[str, str]] = [request.args for request in requests]
        pairs = [pair_of(self._encode, context, rest, room, first_id) for context, rest in asked]
        return self._scored(pairs)

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Each request is a text, scored whole, in windows of the context side by side."""
        sums: list[float] = []
        for request in requests:
            ids = list(self._encode(request.args[0]))
            windows = rolling_windows(ids, self._first_id(), self.max_length)
            sums.append(sum(value for value, _ in self._scored(windows)))
        return sums

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Each request is a context and the harness's generation arguments."""

        async def answer() -> list[str]:
            return await self._all([self._answer(*request.args) for request in requests])

        return asyncio.run(answer())

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The text of a conversation. Raises TemplateError when the model has no template."""
        template = self.llm.template
        if template is None:
            return self.llm.render(chat_history)  # which says why not
        return template.render(chat_history, add_generation_prompt=add_generation_prompt)

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """Marks the harness's records."""
        return "" if not chat_template else f"{self.llm.name}'s own"

    def _first_id(self) -> int:
        """What an empty context is: BOS, else the end of a text."""
        tokenizer = self.llm.tokenizer
        if tokenizer.bos_id is not None:
            return tokenizer.bos_id
        if not tokenizer.eos_ids:
            raise InvalidParameter("the model has neither BOS nor an end of text to stand for an empty context")
        return min(tokenizer.eos_ids)

    def _scored(self, pairs: Sequence[Pair]) -> list[tuple[float, bool]]:
        async def score() -> list[tuple[float, bool]]:
            # Choices of one token after one context are read from one answer.
            groups: dict[tuple[int, ...], list[int]] = {}
            for index, pair in enumerate(pairs):
                own = () if len(pair.continuation) == 1 else (index,)
                groups.setdefault((len(pair.continuation), *own, *pair.context), []).append(index)
            members = list(groups.values())
            found = await self._all([likelihoods(self.llm, [pairs[i] for i in group]) for group in members])
            by_index = dict(zip(itertools.chain(*members), itertools.chain(*found), strict=True))
            return [(by_index[i].loglikelihood, by_index[i].is_greedy) for i in range(len(pairs))]

        return asyncio.run(score())

    async def _all(self, work: Sequence[Any]) -> list[Any]:
        """Some at once, in order."""
        slots = asyncio.Semaphore(AT_ONCE)
        done = 0

        async def one(coroutine: Any) -> Any:
            nonlocal done
            async with slots:
                result = await coroutine
            done += 1
            if self._on_done is not None:
                self._on_done(done, len(work))
            return result

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(coroutine)) for coroutine in work]
        except* WayraError as errors:
            raise first_of(errors) from None
        return [task.result() for task in tasks]

    async def _answer(self, context: str, arguments: Mapping[str, Any]) -> str:
        max_tokens = int(arguments.get("max_gen_toks", arguments.get("max_tokens", DEFAULT_ANSWER_TOKENS)))
        until = stops_of(arguments)
        ids = list(self._encode(context)) or [self._first_id()]
        room = self.max_length - max_tokens
        if room < 1:
            raise InvalidParameter(
                f"the task wants answers of {max_tokens:,} tokens, the context holds {self.max_length:,}; raise it"
            )
        params = SamplingParams(
            temperature=temperature_of(arguments),
            top_p=float(arguments.get("top_p") or 1.0),
            max_tokens=max_tokens,
            stop=until[:MAX_STOPS],
        )
        (completion,) = await self.llm.agenerate([ids[-room:]], params)
        text = completion.text
        for stop in until[MAX_STOPS:]:
            text = text.partition(stop)[0]
        return text


def stops_of(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """`until`, which may be one text or several. Raises InvalidParameter for anything else."""
    until = arguments.get("until") or ()
    if isinstance(until, str):
        return (until,)
    if not isinstance(until, Sequence) or any(not isinstance(stop, str) for stop in until):
        raise InvalidParameter(f"until is {until!r:.80}, expected a text or a list of texts")
    return tuple(stop for stop in cast(Sequence[str], until) if stop)


def temperature_of(arguments: Mapping[str, Any]) -> float:
    """Greedy unless sampling is asked for, whatever temperature stands beside it."""
    temperature = float(arguments.get("temperature") or 0.0)
    if arguments.get("do_sample") is False or (arguments.get("do_sample") is None and not temperature):
        return 0.0
    return temperature if arguments.get("temperature") is not None else 1.0


def rolling_windows(ids: Sequence[int], first_id: int, max_len: int) -> list[Pair]:
    """Each token scored once: the first window after first_id, the following after as much context as fits.

    max_len: tokens that a window may score; context and scored tokens together are at most one more.
    """
    pairs: list[Pair] = []
    for start in range(0, len(ids), max_len):
        stop = min(start + max_len, len(ids))
        if start == 0:
            pairs.append(Pair((first_id,), tuple(ids[:stop])))
        else:
            context = ids[max(0, stop - max_len - 1) : start]
            pairs.append(Pair(tuple(context), tuple(ids[start:stop])))
    return pairs
