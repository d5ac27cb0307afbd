"""What comes from the server, turned into the facade's chunks and completions; times are taken as the bytes arrive."""

import time
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from wayra.base.errors import ServerError
from wayra.client.api import Choice, ChoiceLogprobs, Chunk, Usage
from wayra.engine.request import FinishReason, SamplingParams, TokenLogprob
from wayra.llm import results

ID_PREFIX = "token_id:"
ENDINGS: Mapping[str, FinishReason] = {"length": "length", "stop": "stop"}


class _Top(msgspec.Struct):
    token: str
    logprob: float


class _Entry(msgspec.Struct):
    token: str
    logprob: float
    top_logprobs: list[_Top] = []


_chunks = msgspec.json.Decoder(Chunk)
_entries = msgspec.json.Decoder(_Entry)
_tokens = msgspec.json.Decoder(str)


class AnswerReader:
    """One answer, event by event. Raises ServerError for what is not the API's."""

    def __init__(self, params: SamplingParams) -> None:
        self._params = params
        self._started_s = time.perf_counter()
        self._first_s: float | None = None
        self._last_s: float | None = None
        self._texts: list[str] = []
        self._token_ids: list[int] = []
        self._logprobs: list[TokenLogprob] = []
        self._usage = Usage()
        self._reason: FinishReason | None = None
        self._is_done = False

    def take(self, event: bytes) -> results.Chunk | None:
        """What an event brings, if it brings anything; never the last chunk, which `finish` gives."""
        if event == b"[DONE]":
            self._is_done = True
            return None
        chunk = _decoded(event)
        self._usage = chunk.usage or self._usage
        for choice in chunk.choices[:1]:
            return self._piece(choice)
        return None

    def finish(self) -> results.Chunk:
        """The last chunk, when the server has sent everything. Raises ServerError when it ended too early."""
        if self._reason is None and not self._is_done:
            raise ServerError("the server ended its answer without saying why; ask again")
        reason = self._reason or "stop"
        return results.Chunk("", (), (), reason, self._completion(reason))

    def cancelled(self) -> results.Chunk:
        """The last chunk of an answer that was given up."""
        return results.Chunk("", (), (), "cancelled", self._completion("cancelled"))

    def scored(self, content: bytes) -> results.Chunk:
        """The one chunk of an answer that only scores its prompt."""
        chunk = _decoded(content)
        self._usage = chunk.usage or self._usage
        found = chunk.choices[0].logprobs if chunk.choices else None
        if found is None or not found.token_logprobs:
            raise ServerError("the server gave no log-probabilities for the prompt")
        scores = tuple(score for score in found.token_logprobs[1:] if score is not None)
        top = None
        if self._params.prompt_top_logprobs:
            tops = (found.top_logprobs or [])[1:]
            top = tuple(tuple((_token_id(name), score) for name, score in (one or {}).items()) for one in tops)
        return results.Chunk("", (), (), "length", self._completion("length", scores, top))

    def _piece(self, choice: Choice) -> results.Chunk | None:
        text = choice.text or (choice.delta.content if choice.delta is not None else None) or ""
        token_ids = tuple(choice.token_ids or ())
        logprobs = tuple(_logprobs(choice.logprobs)) if choice.logprobs is not None else ()
        if choice.finish_reason is not None:
            self._reason = ENDINGS.get(choice.finish_reason, "stop")
        if not (text or token_ids or logprobs):
            return None
        self._last_s = time.perf_counter()
        self._first_s = self._first_s or self._last_s
        self._texts.append(text)
        self._token_ids += token_ids
        self._logprobs += logprobs
        return results.Chunk(text, token_ids, logprobs)

    def _completion(
        self,
        reason: FinishReason,
        prompt_logprobs: tuple[float, ...] | None = None,
        prompt_top: tuple[tuple[tuple[int, float], ...], ...] | None = None,
    ) -> results.Completion:
        details = self._usage.prompt_tokens_details
        usage = results.Usage(
            prompt_tokens=self._usage.prompt_tokens or 0,
            cached_tokens=(details.cached_tokens or 0) if details is not None else 0,
            completion_tokens=self._usage.completion_tokens or len(self._token_ids),
        )
        return results.Completion(
            text="".join(self._texts),
            token_ids=tuple(self._token_ids),
            finish_reason=reason,
            usage=usage,
            timings=self._timings(usage),
            logprobs=tuple(self._logprobs) if self._params.logprobs is not None else None,
            prompt_logprobs=prompt_logprobs,
            prompt_top=prompt_top,
        )

    def _timings(self, usage: results.Usage) -> results.Timings:
        total_s = time.perf_counter() - self._started_s
        if self._first_s is None or self._last_s is None:
            return results.Timings(None, total_s, None, None)
        ttft_s, decode_s = self._first_s - self._started_s, self._last_s - self._first_s
        computed, decoded = usage.prompt_tokens - usage.cached_tokens, usage.completion_tokens - 1
        return results.Timings(
            ttft_s=ttft_s,
            total_s=total_s,
            prefill_tokens_per_s=computed / ttft_s if ttft_s > 0 and computed > 0 else None,
            decode_tokens_per_s=decoded / decode_s if decoded > 0 and decode_s > 0 else None,
        )


def _decoded(content: bytes) -> Chunk:
    try:
        chunk = _chunks.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ServerError(f"the server's answer is not what the API says ({error!s:.200}): {content[:80]!r}") from error
    if bytes(chunk.error) != b"null":
        raise ServerError(f"the server failed on this request: {_message(bytes(chunk.error))}")
    return chunk


def _message(error: bytes) -> str:
    found = msgspec.json.decode(error)
    return str(found.get("message", found) if isinstance(found, dict) else found)[:300]


def _logprobs(found: ChoiceLogprobs) -> Iterable[TokenLogprob]:
    """Of a chat's chunk, or of a completion's."""
    try:
        if found.content is not None:
            for entry in map(_entries.decode, found.content):
                top = tuple((_token_id(one.token), one.logprob) for one in entry.top_logprobs)
                yield TokenLogprob(_token_id(entry.token), entry.logprob, top)
            return
        names = [_tokens.decode(name) for name in found.tokens or ()]
        tops: Sequence[dict[str, float] | None] = found.top_logprobs or [None] * len(names)
        for name, score, top in zip(names, found.token_logprobs or (), tops, strict=True):
            if score is not None:
                pairs = tuple((_token_id(other), one) for other, one in (top or {}).items())
                yield TokenLogprob(_token_id(name), score, pairs)
    except (msgspec.DecodeError, ValueError) as error:
        raise ServerError(f"the server's log-probabilities are not what the API says: {error!s:.200}") from error


def _token_id(name: str) -> int:
    if not (name.startswith(ID_PREFIX) and name[len(ID_PREFIX) :].isdigit()):
        raise ServerError(f"the server names a token {name!r:.40} instead of telling its id")
    return int(name[len(ID_PREFIX) :])
