"""The host of a model in this process: prompts become requests, the runner's thread computes them."""

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from wayra.base.errors import BackendError
from wayra.engine.grammar import GrammarCompiler
from wayra.engine.request import Pooling, Request, SamplingParams
from wayra.llm.assemble import Assembler
from wayra.llm.gather import gather
from wayra.llm.host import Ask
from wayra.llm.load import Loaded
from wayra.llm.prompts import Conversation, Prompt, PromptReader
from wayra.llm.runner import EngineRunner, Event, Job

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class LocalHost:
    """A loaded model."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.name = loaded.name
        self.source = loaded.source
        self.load_s = loaded.load_s
        self.context_len: int | None = loaded.plan.context_len
        self.can_chat = loaded.template is not None
        self.reader = PromptReader(loaded.tokenizer, loaded.template, loaded.spec.vocab_size)
        self.runner = EngineRunner(loaded.engine, loaded.release, loaded.settle)
        self._grammars = GrammarCompiler(loaded.tokenizer, loaded.spec.vocab_size)
        self._ids = itertools.count(1)

    def prepare(self, asks: Sequence[Ask]) -> list[Request]:
        """Raises InvalidParameter, TemplateError."""
        return [self._request(ask) for ask in asks]

    def submit(self, work: Request, deliver: Callable[[Event], None], streaming: bool) -> None:
        """Raises BackendError when closed."""
        self.runner.submit(Job(work, Assembler(self.loaded.tokenizer, work), deliver, streaming))

    def cancel(self, request_id: str) -> None:
        self.runner.cancel(request_id)

    def prompt_ids(self, prompt: Prompt | Conversation) -> tuple[int, ...]:
        return self.reader.read(prompt)

    def text_ids(self, text: str) -> list[int]:
        """Control tokens written in it are plain text."""
        return self.loaded.tokenizer.encode(text)

    def first_id(self) -> int | None:
        tokenizer = self.loaded.tokenizer
        return tokenizer.bos_id if tokenizer.add_bos else None

    def embed(self, prompts: Sequence[Prompt], pooling: Pooling) -> "list[NDArray[np.float32]]":
        """Raises as `prepare`; when one fails the others are cancelled."""
        params = SamplingParams(max_tokens=0)
        requests = [
            Request(str(next(self._ids)), self.reader.read(prompt), params, pooling=pooling) for prompt in prompts
        ]
        vectors = [completion.embedding for completion in gather(self, requests)]
        found = [vector for vector in vectors if vector is not None]
        if len(found) < len(requests):
            raise BackendError("the engine gave no vector for a prompt")
        return found

    def close(self) -> None:
        self.runner.close()

    def _request(self, ask: Ask) -> Request:
        # The compiler keeps what it compiled, so that many prompts of one structure cost once.
        constraint = None if ask.structure is None else self._grammars.compile(ask.structure).constraint()
        return Request(str(next(self._ids)), self.reader.read(ask.prompt), ask.params, constraint=constraint)
