"""A model in this process, asked through the facade's asynchronous stream."""

import contextlib
import time

from wayra.base.errors import WayraError
from wayra.client.failures import RequestFailed
from wayra.lab.targets.api import Ask, Reply, replied
from wayra.llm import LLM, SamplingParams


class LocalTarget:
    """Times are those of this program's event loop, as a server built on the facade would see them."""

    can_take_ids = True

    def __init__(self, llm: LLM) -> None:
        """The target owns `llm` and closes it."""
        self.llm = llm
        self.name = llm.name

    async def send(self, ask: Ask) -> Reply:
        reply = Reply(sent_s=time.perf_counter())

        async def receive() -> None:
            try:
                await self._receive(ask, reply)
            except WayraError as error:
                raise RequestFailed("engine", str(error)) from error

        return await replied(reply, receive)

    async def _receive(self, ask: Ask, reply: Reply) -> None:
        params = SamplingParams(
            temperature=ask.temperature, max_tokens=ask.max_tokens, ignore_eos=ask.ignore_eos, seed=ask.seed
        )
        async with contextlib.aclosing(self.llm.astream(ask.prompt, params)) as stream:
            async for chunk in stream:
                if chunk.token_ids:
                    reply.event_s.append(time.perf_counter())
                    reply.event_chars.append(len(chunk.text))
                    reply.event_tokens.append(len(chunk.token_ids))
                if chunk.completion is not None:
                    usage = chunk.completion.usage
                    reply.prompt_tokens, reply.completion_tokens = usage.prompt_tokens, usage.completion_tokens
                    reply.cached_tokens = usage.cached_tokens
                    reply.finish_reason, reply.text = chunk.completion.finish_reason, chunk.completion.text

    def describe(self) -> dict[str, object]:
        memory = self.llm.memory()
        return {
            "kind": "local",
            "model": self.llm.name,
            "source": self.llm.source,
            "context_len": self.llm.context_len,
            "load_s": self.llm.load_s,
            "weights_bytes": memory.weights_bytes,
            "kv_bytes": memory.kv_bytes,
        }

    async def aclose(self) -> None:
        self.llm.close()
