"""Predictable tokens without maths, for tests of schedulers, servers and faces.

The KV cache is real in form: each slot stores the token id written to it, and what a row answers is a hash of every id
found through its block table up to its own position. A wrong table, a stale or shared block, a wrong position or a
corrupted prefix therefore changes the output, which an engine that computes by luck does not survive.

The definition, all integers modulo 2^64:
    mix(z)       the finaliser of SplitMix64
    hash(row)    mix(sum over positions p up to the row's of (id_at(p) + 2) * mix(p + 1))
    favourite    hash(row) modulo vocab, the greedy token
    logit(t)     8 / (1 + (t - favourite) modulo vocab)
"""

import numpy as np
from numpy.typing import NDArray

from wayra.backends.api import (
    KV_BLOCK_LEN,
    BackendOptions,
    MemoryReport,
    SamplingBatch,
    StepBatch,
    StepResult,
)
from wayra.backends.check_batch import check_batch, check_kv_blocks, check_kv_bytes
from wayra.backends.numpy.sample import RowSampling
from wayra.model.program import Program
from wayra.model.spec import ModelSpec, RopeSpec
from wayra.weights.tensors import ModelWeights

_PEAK_LOGIT = 8.0


def null_spec(vocab_size: int = 1009, context_len: int = 4096) -> ModelSpec:
    """A model in name only: what the engine asks of a spec, and the least of everything else."""
    rope = RopeSpec(theta=10000.0, rotary_dim=2)
    return ModelSpec(
        family="null", name="null", num_layers=1, hidden_size=2, num_heads=1, num_kv_heads=1, head_dim=2, ffn_size=2,
        vocab_size=vocab_size, context_len=context_len, norm_eps=1e-5, rope=rope, tied_embeddings=True,
    )  # fmt: skip


class NullBackend:
    """Loads anything; only the vocabulary and the context length of the spec matter."""

    name = "null"

    def load(self, program: Program, weights: ModelWeights, options: BackendOptions) -> "NullModel":
        """The weights are not looked at."""
        return NullModel(program.spec, options)


class NullModel:
    """A Model whose tokens are a function of what its KV cache holds. Deterministic on every machine."""

    def __init__(self, spec: ModelSpec | None = None, options: BackendOptions | None = None) -> None:
        self._spec = spec or null_spec()
        self._options = options or BackendOptions()
        self._kv = np.full((0, KV_BLOCK_LEN), -1, dtype=np.int32)
        vocab_size = self._spec.vocab_size
        # By distance from the favourite, so already in descending order.
        self._logits = (_PEAK_LOGIT / (1.0 + np.arange(vocab_size))).astype(np.float32)
        total = np.log(np.exp(self._logits.astype(np.float64)).sum())
        self._logprobs = (self._logits.astype(np.float64) - total).astype(np.float32)

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    @property
    def options(self) -> BackendOptions:
        return self._options

    def kv_bytes_per_block(self) -> int:
        return KV_BLOCK_LEN * self._kv.itemsize

    def allocate_kv(self, num_blocks: int) -> None:
        """Slots start as -1, which hashes unlike any token."""
        self._kv = np.full((num_blocks, KV_BLOCK_LEN), -1, dtype=np.int32)

    def kv_layout(self) -> str:
        """Token ids, whatever the options."""
        return "null-1"

    def read_kv(self, block_ids: NDArray[np.int32]) -> NDArray[np.uint8]:
        """The bytes of some KV blocks, uint8 [blocks, kv_bytes_per_block]. Raises ShapeError for one there is not."""
        check_kv_blocks(block_ids, len(self._kv))
        return self._kv[block_ids].view(np.uint8)

    def write_kv(self, block_ids: NDArray[np.int32], data: NDArray[np.uint8]) -> None:
        """Put back what `read_kv` gave. Raises ShapeError."""
        check_kv_blocks(block_ids, len(self._kv))
        check_kv_bytes(data, len(block_ids), self.kv_bytes_per_block())
        self._kv[block_ids] = np.ascontiguousarray(data).view(np.int32)

    def step(self, batch: StepBatch) -> StepResult:
        """Store the batch's ids, hash what the tables lead to, choose. Raises ShapeError on a malformed batch."""
        check_batch(batch, self._spec, self._options, len(self._kv))
        favourites = np.zeros(len(batch.token_ids), dtype=np.int64)
        spans = list(zip(batch.query_starts[:-1].tolist(), batch.query_starts[1:].tolist(), strict=True))
        # All writes before all reads, as in a real step, where every sequence shares one pass over the layers.
        for s, (start, end) in enumerate(spans):
            positions = batch.positions[start:end]
            self._kv[batch.block_tables[s][positions // KV_BLOCK_LEN], positions % KV_BLOCK_LEN] = batch.token_ids[
                start:end
            ]
        for s, (start, end) in enumerate(spans):
            kv_len = int(batch.kv_lens[s])
            table = batch.block_tables[s, : -(-kv_len // KV_BLOCK_LEN)]
            hashes = _prefix_hashes(self._kv[table].reshape(-1)[:kv_len])
            favourites[start:end] = (hashes[kv_len - (end - start) :] % np.uint64(self._spec.vocab_size)).astype(
                np.int64
            )
        return self._answer(batch, favourites[batch.logit_rows])

    def settle(self, max_bytes: int) -> bool:
        return False

    def memory(self) -> MemoryReport:
        return MemoryReport(weights_bytes=0, kv_bytes=self._kv.nbytes, activation_bytes=0)

    def close(self) -> None:
        self._kv = self._kv[:0]

    def _answer(self, batch: StepBatch, favourites: NDArray[np.int64]) -> StepResult:
        vocab_size = self._spec.vocab_size
        sampling = batch.sampling
        chosen = np.zeros(0, dtype=np.int64)
        num_top = 0
        if sampling is not None:
            chosen = np.array([self._choose(sampling, i, int(f)) for i, f in enumerate(favourites)], dtype=np.int64)
            num_top = min(sampling.num_logprobs, vocab_size)
        num_rows = len(chosen)
        top = (favourites[:num_rows, None] + np.arange(num_top)) % vocab_size
        targets = None if batch.targets is None else self._logprobs[(batch.targets - favourites) % vocab_size]
        distances = (np.arange(vocab_size) - favourites[:, None]) % vocab_size if batch.return_logits else None
        return StepResult(
            token_ids=chosen.astype(np.int32),
            logprobs=self._logprobs[(chosen - favourites[:num_rows]) % vocab_size],
            top_ids=top.astype(np.int32),
            top_logprobs=np.tile(self._logprobs[:num_top], (num_rows, 1)),
            target_logprobs=targets,
            logits=None if distances is None else self._logits[distances],
            hidden=_hidden(favourites, self._spec.hidden_size) if batch.return_hidden else None,
        )

    def _choose(self, sampling: SamplingBatch, row: int, favourite: int) -> int:
        if _is_plain_greedy(sampling, row):
            return favourite
        distances = (np.arange(self._spec.vocab_size) - favourite) % self._spec.vocab_size
        return RowSampling(sampling, row).choose(self._logits[distances])


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele et al. 2014)."""
    z = values * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _hidden(favourites: NDArray[np.int64], size: int) -> NDArray[np.float32]:
    """float32 [rows, size]: another vector for each favourite, in -1 .. 1."""
    entries = favourites[:, None].astype(np.uint64) * np.uint64(size) + np.arange(1, size + 1, dtype=np.uint64)
    return ((_mix(entries) >> np.uint64(40)).astype(np.float32) / np.float32(1 << 23) - 1).astype(np.float32)


def _prefix_hashes(token_ids: NDArray[np.int32]) -> NDArray[np.uint64]:
    """uint64 [tokens]: entry p hashes tokens 0 .. p."""
    weights = _mix(np.arange(1, len(token_ids) + 1, dtype=np.uint64))
    return _mix(np.cumsum((token_ids.astype(np.int64) + 2).astype(np.uint64) * weights, dtype=np.uint64))


def _is_plain_greedy(sampling: SamplingBatch, row: int) -> bool:
    return bool(
        sampling.temperature[row] == 0
        and sampling.allowed is None
        and sampling.bias_starts[row] == sampling.bias_starts[row + 1]
        and sampling.history_starts[row] == sampling.history_starts[row + 1]
    )
