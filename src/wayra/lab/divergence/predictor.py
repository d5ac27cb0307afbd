"""A model as a source of whole next-token distributions, which the facade's answers do not give."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from wayra.backends.api import KV_BLOCK_LEN, BackendOptions, Model, StepBatch
from wayra.base.errors import BackendError
from wayra.base.settings import Settings
from wayra.llm.load import make_backend, weights_bytes
from wayra.llm.memory import available_bytes, kv_bytes_per_block, kv_dtype_beside, plan_kv
from wayra.llm.options import LLMOptions
from wayra.llm.tokenizers import load_tokenizer
from wayra.model.record import record
from wayra.text.tokenizer import Tokenizer
from wayra.weights.loader import load_weights, model_spec, open_checkpoint

if TYPE_CHECKING:
    from wayra.weights.sources import Progress

STEP_TOKENS = 512
STEP_ROWS = 128
"""Of a vocabulary of floats each: 25 MB where it has 49,152 tokens."""


class Predictor:
    """A loaded model with room for one sequence. Not thread-safe; a context manager, which frees it."""

    def __init__(self, name: str, settings: Settings, options: LLMOptions, progress: "Progress | None" = None) -> None:
        """options: how to load it; its context_len must be a number, and is the longest sequence.

        Raises WayraError as `wayra.llm.load.load`.
        """
        from wayra.weights.sources import resolve

        context_len = options.context_len or STEP_TOKENS
        backend = make_backend(options.backend, settings)
        local = resolve(name, settings, progress=progress, offline=settings.hub_offline)
        with ExitStack() as files:
            checkpoint = open_checkpoint(local.path)
            files.callback(checkpoint.close)
            spec = model_spec(checkpoint)
            weights = load_weights(checkpoint, spec)
            kv_dtype = options.kv_dtype or kv_dtype_beside(weights)
            need_bytes, block_bytes = weights_bytes(weights, options), kv_bytes_per_block(spec, kv_dtype)
            plan_kv(spec, options, need_bytes, available_bytes(), block_bytes)  # refuses what does not fit
            how = BackendOptions(
                max_step_tokens=STEP_TOKENS,
                max_step_seqs=STEP_ROWS,
                kv_dtype=kv_dtype,
                threads=options.threads or settings.threads,
                isa=options.isa or settings.isa,
                map_weights=options.map_weights,
            )
            self.name = local.name
            self.tokenizer: Tokenizer = load_tokenizer(checkpoint, settings.cache_dir)
            self._model: Model = backend.load(record(spec), weights, how)
        self._closed = False
        num_blocks = -(-context_len // KV_BLOCK_LEN)
        try:
            self._model.allocate_kv(num_blocks)
        except BaseException:
            self.close()
            raise
        self._tables = np.arange(num_blocks, dtype=np.int32)[None]

    def log_probabilities(self, token_ids: Sequence[int], first_row: int) -> Iterator[NDArray[np.float32]]:
        """What it expects after each token from `first_row` on: natural logarithms, float32 [rows, vocab], in pieces.

        The pieces are of the same tokens for every model.
        """
        for start in range(0, first_row, STEP_TOKENS):
            self._step(token_ids[start : min(start + STEP_TOKENS, first_row)], start, wants_rows=False)
        for start in range(first_row, len(token_ids), STEP_ROWS):
            logits = self._step(token_ids[start : start + STEP_ROWS], start, wants_rows=True)
            if logits is None:
                raise BackendError(f"{self.name}: this backend gives no logits; take another with --backend")
            yield log_softmax(logits)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _step(self, token_ids: Sequence[int], start: int, *, wants_rows: bool) -> NDArray[np.float32] | None:
        stop = start + len(token_ids)
        batch = StepBatch(
            token_ids=np.array(token_ids, np.int32),
            positions=np.arange(start, stop, dtype=np.int32),
            query_starts=np.array((0, len(token_ids)), np.int32),
            kv_lens=np.array((stop,), np.int32),
            block_tables=self._tables,
            logit_rows=np.arange(len(token_ids) if wants_rows else 0, dtype=np.int32),
            return_logits=wants_rows,
        )
        return self._model.step(batch).logits


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of each row, the sum taken in float64."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    total = np.exp(shifted).sum(axis=1, keepdims=True, dtype=np.float64)
    return shifted - np.log(total).astype(np.float32)
