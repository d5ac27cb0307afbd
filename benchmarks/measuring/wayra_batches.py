"""wayra behind the workers' calls with several sequences in a step, for batched decode."""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from measuring.wayra_engine import STEP_TOKENS, WayraEngine, greedy_row
from wayra.backends.api import KV_BLOCK_LEN, SamplingBatch, StepBatch


def greedy_rows(count: int, vocab_size: int) -> SamplingBatch:
    one = greedy_row(vocab_size)
    many: dict[str, Any] = {
        field.name: np.zeros(count + 1, np.int32) if field.name.endswith("_starts") else np.repeat(value, count)
        for field in dataclasses.fields(one)
        if isinstance(value := getattr(one, field.name), np.ndarray)
    }
    return dataclasses.replace(one, **many)


class WayraBatches(WayraEngine):
    """max_rows: the largest batch; its sequences share the room of `context_len`."""

    CALLS = (*WayraEngine.CALLS, "batched")

    def batched(self, prompts: Sequence[Sequence[int]], num_tokens: int) -> float:
        """Seconds to choose `num_tokens` more tokens of each prompt, one a step; prompts are alike in length."""
        prompt_len = len(prompts[0])
        blocks = -(-(prompt_len + num_tokens) // KV_BLOCK_LEN)
        tables = np.arange(len(prompts) * blocks, dtype=np.int32).reshape(len(prompts), blocks)
        at_once = max(1, STEP_TOKENS // prompt_len)
        chosen = np.concatenate([
            self._step_many(np.array(prompts[i : i + at_once], np.int32), 0, tables[i : i + at_once])
            for i in range(0, len(prompts), at_once)
        ])  # fmt: skip
        started = time.perf_counter()
        for position in range(prompt_len, prompt_len + num_tokens):
            chosen = self._step_many(chosen[:, None], position, tables)
        return time.perf_counter() - started

    def _step_many(self, token_ids: Any, start: int, tables: Any) -> Any:
        """token_ids: int32 [sequences, tokens of each]. The next token of each, int32 [sequences]."""
        count, length = token_ids.shape
        starts = np.arange(0, count * length + 1, length, dtype=np.int32)
        return self._model.step(
            StepBatch(
                token_ids=token_ids.reshape(-1),
                positions=np.tile(np.arange(start, start + length, dtype=np.int32), count),
                query_starts=starts,
                kv_lens=np.full(count, start + length, np.int32),
                block_tables=tables,
                logit_rows=starts[1:] - 1,
                sampling=greedy_rows(count, self._vocab_size),
            )
        ).token_ids
