"""Reads the chunks of an OpenAI-style stream: which carry content, how many tokens, the usage, the end, an error."""

from collections.abc import Sequence

import msgspec

from wayra.client.api import Choice, Chunk, Usage
from wayra.client.failures import RequestFailed
from wayra.lab.targets.api import Reply

DECODER = msgspec.json.Decoder(Chunk)
"""Stateless; to make one costs more than an event."""


class StreamEvents:
    """Fills a reply from the events of one stream."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._texts: list[str] = []
        self._is_done = False
        self._counted_tokens = 0
        self.num_events = 0

    def take(self, at_s: float, event: bytes) -> None:
        """Raises RequestFailed when the event is no chunk or reports an error."""
        self.num_events += 1
        if event == b"[DONE]":
            self._is_done = True
            return
        try:
            chunk = DECODER.decode(event)
        except (msgspec.DecodeError, RecursionError) as error:
            raise RequestFailed("rubbish", f"an event is not what the API says ({error}): {event[:80]!r}") from error
        self._take_chunk(at_s, chunk)

    def take_chunks(self, times: Sequence[float], chunks: Sequence[Chunk]) -> None:
        """Events that were decoded already. Raises RequestFailed when one reports an error."""
        self.num_events += len(chunks)
        for at_s, chunk in zip(times, chunks, strict=False):
            self._take_chunk(at_s, chunk)

    def _take_chunk(self, at_s: float, chunk: Chunk) -> None:
        if bytes(chunk.error) != b"null":
            raise RequestFailed("server", f"the stream reports an error: {bytes(chunk.error)[:300].decode()}")
        text, has_content, tokens = "", False, None
        for choice in chunk.choices[:1]:
            text, has_content = _content(choice)
            tokens = _token_count(choice)
            if choice.finish_reason is not None:
                self._reply.finish_reason = choice.finish_reason
        if chunk.usage is not None:
            tokens = self._take_usage(chunk.usage, tokens)
        if has_content:
            self._texts.append(text)
            self._reply.event_s.append(at_s)
            self._reply.event_chars.append(len(text))
            self._reply.event_tokens.append(tokens)

    def text(self) -> str:
        return "".join(self._texts)

    def finish(self) -> None:
        """Raises RequestFailed when the answer ended without saying so."""
        if not self._is_done and self._reply.finish_reason is None:
            raise RequestFailed("cut", "the stream ended without a finish reason and without [DONE]")

    def _take_usage(self, usage: Usage, tokens: int | None) -> int | None:
        reply = self._reply
        reply.prompt_tokens = usage.prompt_tokens if usage.prompt_tokens is not None else reply.prompt_tokens
        if usage.prompt_tokens_details is not None:
            reply.cached_tokens = usage.prompt_tokens_details.cached_tokens
        if usage.completion_tokens is None:
            return tokens
        reply.completion_tokens = usage.completion_tokens
        since, self._counted_tokens = usage.completion_tokens - self._counted_tokens, usage.completion_tokens
        return tokens if tokens is not None else since


def _content(choice: Choice) -> tuple[str, bool]:
    if choice.text:
        return choice.text, True
    delta = choice.delta
    if delta is None:
        return "", False
    text = delta.content or delta.reasoning_content or delta.reasoning or ""
    return text, bool(text or delta.tool_calls)


def _token_count(choice: Choice) -> int | None:
    if choice.token_ids is not None:
        return len(choice.token_ids)
    if choice.logprobs is not None:
        found = choice.logprobs.content if choice.logprobs.content is not None else choice.logprobs.tokens
        return None if found is None else len(found)
    return None
