"""From the engine's token ids to text: one Assembler a request turns Outputs into Chunks and, at the end, a Completion.

Knows nothing of threads or of who waits for the text.
"""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from wayra.base.errors import BackendError
from wayra.engine.request import FinishReason, Output, Request, TokenLogprob
from wayra.llm.results import Chunk, Completion, Timings, Usage
from wayra.text.detokenize import StreamDecoder
from wayra.text.stop import StopMatcher
from wayra.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Assembler:
    """The text of one request so far.

    After `push` has returned a chunk with a finish_reason the request is over; when the reason is a stop string the
    engine does not know it yet, and the caller has to cancel the request there.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        request: Request,
        clock: Callable[[], float] = time.perf_counter,
        visible: frozenset[int] = frozenset(),
    ) -> None:
        """visible: control tokens whose text belongs to the answer."""
        self._params = request.params
        self._prompt_tokens = len(request.prompt_ids)
        self._decoder = StreamDecoder(tokenizer, visible=visible)
        self._stops = StopMatcher(request.params.stop) if request.params.stop else None
        self._clock = clock
        self._submitted = clock()
        self._first_token: float | None = None
        self._last_token: float | None = None
        self._cached_tokens = 0
        self._drafted_tokens = 0
        self._accepted_tokens = 0
        self._texts: list[str] = []
        self._token_ids: list[int] = []
        self._logprobs: list[TokenLogprob] = []
        self._prompt_logprobs: tuple[float, ...] | None = None
        self._prompt_top: tuple[tuple[tuple[int, float], ...], ...] | None = None
        self._embedding: NDArray[np.float32] | None = None

    def push(self, output: Output) -> Chunk:
        """Take what one step gave. Raises BackendError when the engine reports that this request failed."""
        if output.finish_reason == "error":
            raise BackendError(output.error or "the request failed in the engine")
        self._cached_tokens = max(self._cached_tokens, output.cached_tokens)
        self._drafted_tokens += output.drafted_tokens
        self._accepted_tokens += output.accepted_tokens
        if output.prompt_logprobs is not None:
            self._prompt_logprobs = output.prompt_logprobs
            self._prompt_top = output.prompt_top
        self._embedding = output.embedding
        texts: list[str] = []
        taken, stopped = self._take(output.token_ids, texts)
        reason: FinishReason | None = "stop" if stopped else output.finish_reason
        if reason is not None and not stopped:
            texts.append(self._flush())
        return self._chunk("".join(texts), output, taken, reason)

    def cancelled(self) -> Chunk:
        """The last chunk of a request that was cancelled: what was held back, and the completion."""
        text = self._flush()
        return self._chunk(text, Output("", ()), 0, "cancelled")

    def _take(self, token_ids: Sequence[int], texts: list[str]) -> tuple[int, bool]:
        """Decode token by token, so that a stop string ends the ids exactly where it ends the text."""
        if token_ids:
            self._last_token = self._clock()
            if self._first_token is None:
                self._first_token = self._last_token
        for taken, token_id in enumerate(token_ids, 1):
            self._token_ids.append(token_id)
            text = self._decoder.push((token_id,))
            if self._stops is None or len(self._token_ids) < self._params.min_tokens:
                texts.append(text)
                continue
            safe, stopped = self._stops.push(text)
            texts.append(safe)
            if stopped:
                return taken, True
        return len(token_ids), False

    def _flush(self) -> str:
        """What decoder and matcher still hold back."""
        tail = self._decoder.flush()
        if self._stops is None:
            return tail
        safe, stopped = self._stops.push(tail)
        return safe if stopped else safe + self._stops.flush()

    def _chunk(self, text: str, output: Output, taken: int, reason: FinishReason | None) -> Chunk:
        self._texts.append(text)
        logprobs = output.logprobs[:taken]
        self._logprobs += logprobs
        completion = self._completion(reason) if reason is not None else None
        return Chunk(text, output.token_ids[:taken], logprobs, reason, completion)

    def _completion(self, reason: FinishReason) -> Completion:
        return Completion(
            text="".join(self._texts),
            token_ids=tuple(self._token_ids),
            finish_reason=reason,
            usage=Usage(
                prompt_tokens=self._prompt_tokens,
                cached_tokens=self._cached_tokens,
                completion_tokens=len(self._token_ids),
                drafted_tokens=self._drafted_tokens,
                accepted_tokens=self._accepted_tokens,
            ),
            timings=self._timings(),
            logprobs=tuple(self._logprobs) if self._params.logprobs is not None else None,
            prompt_logprobs=self._prompt_logprobs,
            prompt_top=self._prompt_top,
            embedding=self._embedding,
            stop_string=None if self._stops is None else self._stops.matched,
        )

    def _timings(self) -> Timings:
        total_s = self._clock() - self._submitted
        if self._first_token is None or self._last_token is None:
            return Timings(None, total_s, None, None)
        ttft_s = self._first_token - self._submitted
        decode_s = self._last_token - self._first_token
        decoded = len(self._token_ids) - 1
        computed = self._prompt_tokens - self._cached_tokens
        return Timings(
            ttft_s=ttft_s,
            total_s=total_s,
            prefill_tokens_per_s=computed / ttft_s if ttft_s > 0 else None,
            decode_tokens_per_s=decoded / decode_s if decoded > 0 and decode_s > 0 else None,
        )
