"""The native backend behind `backends.api`: packs or maps the weights, lowers the Program, runs steps."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wayra.backends.api import BackendOptions, MemoryReport, SamplingBatch, StepBatch, StepResult
from wayra.backends.check_batch import check_batch
from wayra.backends.native import _native
from wayra.backends.native.isa import choose_isa, choose_threads, describe
from wayra.backends.native.lower import lower
from wayra.backends.native.packing import fill_arena, map_arena, plan_spans, quick_arena
from wayra.base.errors import BackendError, InvalidParameter, OutOfMemory, ShapeError
from wayra.model.program import Program
from wayra.model.spec import ModelSpec
from wayra.model.verify import verify
from wayra.weights.tensors import ModelWeights

if TYPE_CHECKING:
    from wayra.backends.native.profile import StepTimes

__all__ = ["NativeBackend", "NativeModel", "describe"]

KV_TYPES = {"f32": 0, "f16": 1, "bf16": 2, "int8": 3, "int16": 4}
KV_LAYOUT = "native 5: csrc/core/abi.h"
"""Raised with every change of the layout or of the arithmetic: blocks stored by another are never read."""
MAX_KV_BYTES = 1 << 56
"""More than any address space holds, less than overflows."""
_NO_IDS = np.empty(0, np.int32)
_NO_LOGPROBS = np.empty(0, np.float32)


class NativeBackend:
    """cache_root: folder of packed weights; None keeps none."""

    name = "native"

    def __init__(self, cache_root: Path | None = None) -> None:
        self._cache_root = cache_root

    def load(self, program: Program, weights: ModelWeights, options: BackendOptions) -> "NativeModel":
        """Raises BackendError naming the operation or type it lacks, OutOfMemory when the weights do not fit."""
        verify(program)
        if options.kv_dtype not in KV_TYPES:
            raise BackendError(f"kv_dtype {options.kv_dtype!r} is unknown; expected one of {', '.join(KV_TYPES)}")
        spec = program.spec
        choice = choose_isa(options.isa)
        threads = choose_threads(options.threads)
        spans, size = plan_spans(weights)
        place = map_arena if options.map_weights else quick_arena if options.quick_start else fill_arena
        arena = place(weights, spans, size, self._cache_root if options.packed_cache else None, threads)
        limits = [options.max_step_tokens, options.max_step_seqs, spec.vocab_size]
        kv = [spec.num_layers, spec.num_kv_heads, spec.head_dim, KV_TYPES[options.kv_dtype]]
        try:
            model = _native.Model(str(choice.kernels), threads, limits, kv, arena)
            lower(program, weights, spans, model)
        except MemoryError:
            tokens, seqs = options.max_step_tokens, options.max_step_seqs
            raise OutOfMemory(f"no room for steps of {tokens:,} tokens and {seqs:,} sequences; ask for less") from None
        except (RuntimeError, ValueError) as error:
            raise BackendError(f"the native backend cannot run this model here: {error}") from None
        return NativeModel(program, options, model, size, choice.isa)


class NativeModel:
    """A Program on the executor. Not thread-safe."""

    def __init__(
        self, program: Program, options: BackendOptions, model: _native.Model, weights_bytes: int, isa: str
    ) -> None:
        self._program = program
        self._spec = program.spec
        self._options = options
        self._model: _native.Model | None = model
        self._weights_bytes = weights_bytes
        self._isa = isa
        self._num_blocks = 0

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    @property
    def options(self) -> BackendOptions:
        return self._options

    def kv_bytes_per_block(self) -> int:
        return self._native().kv_bytes_per_block()

    def allocate_kv(self, num_blocks: int) -> None:
        """Zeroed blocks; the system gives their pages as they are first written. Drops what was there.

        Raises OutOfMemory, InvalidParameter.
        """
        if num_blocks < 0:
            raise InvalidParameter(f"{num_blocks} KV blocks; expected at least 0")
        need_bytes = num_blocks * self.kv_bytes_per_block()
        self._num_blocks = 0
        try:
            if need_bytes > MAX_KV_BYTES:
                raise MemoryError
            self._native().allocate_kv(num_blocks)
        except MemoryError:
            need_mb = need_bytes // 10**6
            raise OutOfMemory(f"{num_blocks} KV blocks need {need_mb:,} MB; ask for a shorter context") from None
        self._num_blocks = num_blocks

    def kv_layout(self) -> str:
        """Names the bytes of a KV block: they mean nothing to a model of another layout."""
        spec = self._spec
        shape = f"{spec.num_layers}x{spec.num_kv_heads}x{spec.head_dim}"
        return f"{KV_LAYOUT}; {self._isa}; {self._options.kv_dtype}; {shape}"

    def read_kv(self, block_ids: NDArray[np.int32]) -> NDArray[np.uint8]:
        """The bytes of some KV blocks, uint8 [blocks, kv_bytes_per_block]. Raises ShapeError for one there is not."""
        out = np.empty((len(block_ids), self.kv_bytes_per_block()), np.uint8)
        with _shape_errors():
            self._native().read_kv(block_ids, out)
        return out

    def write_kv(self, block_ids: NDArray[np.int32], data: NDArray[np.uint8]) -> None:
        """Put back what `read_kv` of a model of the same `kv_layout` gave. Raises ShapeError."""
        with _shape_errors():
            self._native().write_kv(block_ids, data)

    def settle(self, max_bytes: int) -> bool:
        return not self._options.map_weights and self._native().settle(max_bytes)

    def step(self, batch: StepBatch) -> StepResult:
        """Run the Program once. Writes the KV slots of the batch's tokens. Raises ShapeError on a malformed batch."""
        check_batch(batch, self._spec, self._options, self._num_blocks)
        rows = len(batch.logit_rows)
        sampling = batch.sampling
        num_top = 0 if sampling is None else sampling.num_logprobs
        top_ids = np.empty((rows, num_top), np.int32)
        top_logprobs = np.empty((rows, num_top), np.float32)
        token_ids = _NO_IDS if sampling is None else np.empty(rows, np.int32)
        logprobs = _NO_LOGPROBS if sampling is None else np.empty(rows, np.float32)
        target_logprobs = None if batch.targets is None else np.empty(rows, np.float32)
        logits = np.empty((rows, self._spec.vocab_size), np.float32) if batch.return_logits else None
        hidden = np.empty((rows, self._spec.hidden_size), np.float32) if batch.return_hidden else None
        self._native().step(
            batch.token_ids,
            batch.positions,
            batch.query_starts,
            batch.kv_lens,
            batch.block_tables,
            batch.logit_rows,
            batch.targets,
            target_logprobs,
            logits,
            hidden,
            None if sampling is None else _sampling(sampling),
            top_ids,
            top_logprobs,
            token_ids,
            logprobs,
        )
        return StepResult(token_ids, logprobs, top_ids, top_logprobs, target_logprobs, logits, hidden)

    def profile_step(self, batch: StepBatch) -> "tuple[StepResult, StepTimes]":
        """`step`, with the time of each call and thread; that takes a little time itself. Raises ShapeError."""
        from wayra.backends.native.profile import step_times

        native = self._native()
        native.start_profile()
        try:
            started_ns = time.perf_counter_ns()
            result = self.step(batch)
            wall_ns = time.perf_counter_ns() - started_ns
        finally:
            native.stop_profile()
        return result, step_times(self._program, native.profile(), wall_ns)

    def memory(self) -> MemoryReport:
        kv_bytes = self._num_blocks * self.kv_bytes_per_block()
        return MemoryReport(self._weights_bytes, kv_bytes, self._native().activation_bytes())

    def close(self) -> None:
        """Free weights, cache and threads."""
        self._model = None

    def _native(self) -> _native.Model:
        if self._model is None:
            raise BackendError("the model has been closed; load it again")
        return self._model


@contextmanager
def _shape_errors() -> Generator[None]:
    try:
        yield
    except ValueError as error:
        raise ShapeError(str(error)) from None


def _sampling(s: SamplingBatch) -> _native.Sampling:
    return _native.Sampling(
        s.temperature,
        s.top_k,
        s.top_p,
        s.min_p,
        s.seeds,
        s.draws,
        s.repetition_penalty,
        s.presence_penalty,
        s.frequency_penalty,
        s.history_starts,
        s.history_ids,
        s.history_counts,
        s.bias_starts,
        s.bias_ids,
        s.bias_values,
        s.allowed,
    )
