"""wayra behind the workers' calls: the native backend's own step, greedy sampling included in the time."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wayra.backends.api import KV_BLOCK_LEN, BackendOptions, SamplingBatch, StepBatch, StepResult
from wayra.backends.native.backend import NativeBackend
from wayra.backends.native.isa import choose_isa
from wayra.base.settings import from_environment
from wayra.llm.memory import kv_dtype_beside
from wayra.model.record import record
from wayra.weights.loader import load_weights, model_spec, open_checkpoint
from wayra.weights.packed_cache import default_root

STEP_TOKENS = 512


def greedy_row(vocab_size: int) -> SamplingBatch:
    """One row, its likeliest token; nothing biased, penalised or masked."""

    def floats(value: float) -> Any:
        return np.full(1, value, np.float32)

    none, starts = np.zeros(0, np.int32), np.zeros(2, np.int32)
    zeros = np.zeros(1, np.uint64)
    return SamplingBatch(
        temperature=floats(0), top_k=np.zeros(1, np.int32), top_p=floats(1), min_p=floats(0),
        seeds=zeros, draws=zeros, repetition_penalty=floats(1), presence_penalty=floats(0),
        frequency_penalty=floats(0), history_starts=starts, history_ids=none, history_counts=none,
        bias_starts=starts, bias_ids=none, bias_values=np.zeros(0, np.float32), allowed=None, num_logprobs=0,
    )  # fmt: skip


class WayraEngine:
    """A model on the native backend with room for one sequence.

    kv_dtype: None for what users get who choose none. max_rows: logit rows that `logits` may ask for.
    """

    CALLS = ("prefill", "decode", "logits")

    def __init__(
        self,
        path: str,
        threads: int,
        context_len: int,
        kv_dtype: str | None = None,
        max_rows: int = 1,
        packed_cache: bool = True,
        **_other: Any,
    ) -> None:
        settings = from_environment()
        started = time.perf_counter()
        checkpoint = open_checkpoint(Path(path))
        spec = model_spec(checkpoint)
        weights = load_weights(checkpoint, spec)
        kv_dtype = kv_dtype or kv_dtype_beside(weights)
        options = BackendOptions(
            max_step_tokens=max(STEP_TOKENS, max_rows),
            max_step_seqs=max_rows,
            kv_dtype=kv_dtype,
            threads=threads,
            isa=settings.isa,
            packed_cache=packed_cache,
        )
        backend = NativeBackend(default_root(settings))
        self._model = backend.load(record(spec), weights, options)
        checkpoint.close()
        num_blocks = -(-context_len // KV_BLOCK_LEN)
        self._model.allocate_kv(num_blocks)
        self._tables = np.arange(num_blocks, dtype=np.int32)[None]
        self._greedy = greedy_row(spec.vocab_size)
        self._vocab_size = spec.vocab_size
        self.facts = {
            "isa": choose_isa(settings.isa).isa,
            "settings": f"steps of {STEP_TOKENS} tokens, KV {kv_dtype}",
            "load_s": time.perf_counter() - started,
            "vocab_size": spec.vocab_size,
            "packed_bytes": self._model.memory().weights_bytes,
        }

    def prefill(self, token_ids: Sequence[int]) -> float:
        """Seconds to read a prompt from nothing to the choice of the next token."""
        started = time.perf_counter()
        self._prefill(token_ids)
        return time.perf_counter() - started

    def decode(self, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> float:
        """Seconds to take in `token_ids` one by one after a prompt, choosing a next token each time."""
        self._prefill(prompt_ids)
        started = time.perf_counter()
        for position, token_id in enumerate(token_ids, len(prompt_ids)):
            self._step((token_id,), position, np.zeros(1, np.int32), self._greedy)
        return time.perf_counter() - started

    def logits(self, token_ids: Sequence[int], first_row: int, last_row: int, path: str) -> None:
        """Write the logits of tokens first_row..last_row (exclusive) to `path`, float32 [rows, vocab].

        The tokens must fit one step.
        """
        rows = np.arange(first_row, last_row, dtype=np.int32)
        found = self._step(token_ids, 0, rows, None).logits
        out = np.lib.format.open_memmap(path, "w+", np.float32, (len(rows), self._vocab_size))
        out[:] = found

    def _prefill(self, token_ids: Sequence[int]) -> None:
        for start in range(0, len(token_ids), STEP_TOKENS):
            chunk = token_ids[start : start + STEP_TOKENS]
            is_last = start + STEP_TOKENS >= len(token_ids)
            rows = np.full(1 if is_last else 0, len(chunk) - 1, np.int32)
            self._step(chunk, start, rows, self._greedy if is_last else None)

    def _step(
        self, token_ids: Sequence[int], start: int, rows: "np.ndarray[Any, Any]", sampling: SamplingBatch | None
    ) -> StepResult:
        stop = start + len(token_ids)
        return self._model.step(
            StepBatch(
                token_ids=np.array(token_ids, np.int32),
                positions=np.arange(start, stop, dtype=np.int32),
                query_starts=np.array((0, len(token_ids)), np.int32),
                kv_lens=np.array((stop,), np.int32),
                block_tables=self._tables,
                logit_rows=rows,
                sampling=sampling,
                return_logits=sampling is None and len(rows) > 0,
            )
        )
