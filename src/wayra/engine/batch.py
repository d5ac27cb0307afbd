"""The plan of a step as the flat arrays a backend reads. Runs in every step, so lists first and one conversion each."""

from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wayra.backends.api import KV_BLOCK_LEN, SamplingBatch, StepBatch
from wayra.engine.sampling import SamplingBuilder
from wayra.engine.scheduler import Chunk
from wayra.engine.sequence import Sequence


def target_slot(seq: Sequence) -> int:
    """The row of a sequence in the block tables of the engine's own KV cache."""
    return seq.slot


class BatchBuilder:
    """tables: a KV cache's block tables, int32 [max_running, blocks], read anew in each step.

    slot_of: the row of a sequence in these tables.
    """

    def __init__(
        self, tables: NDArray[np.int32], vocab_size: int, slot_of: Callable[[Sequence], int] = target_slot
    ) -> None:
        self._tables = tables
        self._slot_of = slot_of
        self._sampling = SamplingBuilder(vocab_size)
        self._vocab_size = vocab_size

    def build(self, plan: SequenceOf[Chunk]) -> StepBatch:
        """The batch of a plan; the rows of a chunk follow those of the chunks before it."""
        token_ids: list[int] = []
        positions: list[int] = []
        query_starts = [0]
        kv_lens: list[int] = []
        slots: list[int] = []
        logit_rows: list[int] = []
        rows: list[Sequence | None] = []
        draws: list[int] = []
        drafted_before: list[tuple[int, ...]] = []
        is_scored = False
        num_prompt_top = 0
        for chunk in plan:
            seq, start, count, num_rows, drafted = chunk
            end = start + count
            if count == 1 and not drafted:
                token_ids.append(seq.token_ids[start])
                positions.append(start)
            else:
                token_ids += seq.token_ids[start:end]
                token_ids += drafted[max(0, start - len(seq.token_ids)) :]
                positions += range(start, end)
            num_tokens = len(token_ids)
            query_starts.append(num_tokens)
            kv_lens.append(end)
            slots.append(self._slot_of(seq))
            if num_rows:
                logit_rows += range(num_tokens - num_rows, num_tokens)
                draws += range(end - num_rows + 1, end + 1)
                num_sampled = min(num_rows, 1 + len(drafted)) if chunk.samples and seq.pool is None else 0
                num_scored = num_rows - num_sampled
                rows += [None] * num_scored + [seq] * num_sampled
                first = len(drafted) + 1 - num_sampled
                drafted_before += [()] * num_scored + [drafted[: first + i] for i in range(num_sampled)]
                is_scored = is_scored or seq.prompt_logprobs is not None
                num_prompt_top = max(num_prompt_top, seq.params.prompt_top_logprobs)
        num_blocks = -(-max(kv_lens) // KV_BLOCK_LEN)
        return StepBatch(
            token_ids=np.array(token_ids, dtype=np.int32),
            positions=np.array(positions, dtype=np.int32),
            query_starts=np.array(query_starts, dtype=np.int32),
            kv_lens=np.array(kv_lens, dtype=np.int32),
            block_tables=self._tables[slots, :num_blocks],
            logit_rows=np.array(logit_rows, dtype=np.int32),
            targets=_targets(plan) if is_scored else None,
            sampling=self._sampling_batch(rows, draws, drafted_before, num_prompt_top),
            return_hidden=any(chunk.seq.pool is not None for chunk in plan),
        )

    def _sampling_batch(
        self,
        rows: list[Sequence | None],
        draws: list[int],
        drafted_before: list[tuple[int, ...]],
        num_prompt_top: int,
    ) -> SamplingBatch | None:
        # Rows that are only scored go through the sampler too where their likeliest tokens are wanted.
        if num_prompt_top == 0 and all(seq is None for seq in rows):
            return None
        sampling = self._sampling.build(rows, draws, drafted_before)
        if num_prompt_top > sampling.num_logprobs:
            return replace(sampling, num_logprobs=min(num_prompt_top, self._vocab_size))
        return sampling


def _targets(plan: SequenceOf[Chunk]) -> NDArray[np.int32]:
    """The token that follows each row's; 0 where it is not known yet or nobody asks."""
    targets: list[int] = []
    for seq, start, num_tokens, num_rows, _ in plan:
        following = seq.token_ids[start + num_tokens - num_rows + 1 : start + num_tokens + 1]
        targets += following + [0] * (num_rows - len(following))
    return np.array(targets, dtype=np.int32)
