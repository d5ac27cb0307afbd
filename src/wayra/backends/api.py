"""What a backend is: it loads a Program with its weights and then runs steps. Flat arrays in, flat arrays out.

Nothing here computes. The engine above knows only these types; the backends below know nothing of requests.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wayra.base import blocks
from wayra.model.program import Program
from wayra.model.spec import ModelSpec
from wayra.weights.tensors import ModelWeights

KV_BLOCK_LEN = blocks.KV_BLOCK_LEN


@dataclass(frozen=True, slots=True)
class SamplingBatch:
    """How to choose the next token of each logit row; every array has one entry a row unless a shape is given.

    temperature: 0 is greedy (the lowest id wins a tie). top_k 0, top_p 1 and min_p 0 are off.
    seeds, draws: the random number of a row is a pure function of (seed, draw), draw being the position of the token
    to be chosen, so that a row's choice never depends on its batch.
    history_starts [rows + 1], history_ids, history_counts: tokens seen so far, one entry a distinct token; count is how
    often it was generated (0: it occurs in the prompt only). repetition_penalty acts on all of them, presence and
    frequency penalties on those generated.
    bias_starts [rows + 1], bias_ids, bias_values: logit biases.
    allowed: uint32 [rows, ceil(vocab / 32)] or None, bit i of word w allows token 32 * w + i.
    num_logprobs: how many of the most likely tokens to report a row (0 to 20).
    Order: bias, penalties, mask, then greedy or temperature, top-k, top-p, min-p on the tempered probabilities.
    """

    temperature: NDArray[np.float32]
    top_k: NDArray[np.int32]
    top_p: NDArray[np.float32]
    min_p: NDArray[np.float32]
    seeds: NDArray[np.uint64]
    draws: NDArray[np.uint64]
    repetition_penalty: NDArray[np.float32]
    presence_penalty: NDArray[np.float32]
    frequency_penalty: NDArray[np.float32]
    history_starts: NDArray[np.int32]
    history_ids: NDArray[np.int32]
    history_counts: NDArray[np.int32]
    bias_starts: NDArray[np.int32]
    bias_ids: NDArray[np.int32]
    bias_values: NDArray[np.float32]
    allowed: NDArray[np.uint32] | None
    num_logprobs: int


@dataclass(frozen=True, slots=True)
class StepBatch:
    """The tokens of one step, sequence after sequence.

    token_ids, positions: int32 [tokens]; the positions of a sequence are consecutive.
    query_starts: int32 [seqs + 1], sequence s owns tokens query_starts[s] .. query_starts[s + 1].
    kv_lens: int32 [seqs], keys of the sequence once this step's tokens are stored (last position + 1).
    block_tables: int32 [seqs, blocks], the KV block that holds positions b * KV_BLOCK_LEN and following; unused -1.
    logit_rows: int32 [rows], tokens of this step whose logits are wanted.
    targets: int32 [rows] or None; when given, the log-probability of each target is reported.
    sampling: None when nothing is to be sampled (scoring, or no row wanted).
    return_logits: also return the raw logits.
    return_hidden: also return what the output head multiplies; rows may then be as many as the step has tokens. The
    head itself is left out where nothing else is asked of the rows.
    """

    token_ids: NDArray[np.int32]
    positions: NDArray[np.int32]
    query_starts: NDArray[np.int32]
    kv_lens: NDArray[np.int32]
    block_tables: NDArray[np.int32]
    logit_rows: NDArray[np.int32]
    targets: NDArray[np.int32] | None = None
    sampling: SamplingBatch | None = None
    return_logits: bool = False
    return_hidden: bool = False


@dataclass(frozen=True, slots=True)
class StepResult:
    """Log-probabilities are natural logarithms of the softmax of the raw logits (before bias, penalty, temperature).

    token_ids, logprobs: int32, float32 [rows]; the sampled tokens (empty without sampling).
    top_ids, top_logprobs: int32, float32 [rows, num_logprobs], most likely first.
    target_logprobs: float32 [rows] when targets were given.
    logits: float32 [rows, vocab] when return_logits. hidden: float32 [rows, hidden_size] when return_hidden, after the
    final norm.
    """

    token_ids: NDArray[np.int32]
    logprobs: NDArray[np.float32]
    top_ids: NDArray[np.int32]
    top_logprobs: NDArray[np.float32]
    target_logprobs: NDArray[np.float32] | None = None
    logits: NDArray[np.float32] | None = None
    hidden: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """max_step_tokens: tokens a step may hold. max_step_seqs: sequences (and sampled rows) a step may hold.

    kv_dtype: "f32", "f16", "bf16", "int8" or "int16". threads, isa: None lets the backend choose. packed_cache: keep
    the packed weights on disk so that the next start is fast. map_weights: leave them there, for models larger than
    memory; the system reads what a step needs and drops what it has no room for. quick_start: leave them there only
    until `Model.settle` moves them, so that a first step need not wait for it.
    """

    max_step_tokens: int = 512
    max_step_seqs: int = 64
    kv_dtype: str = "bf16"
    threads: int | None = None
    isa: str | None = None
    packed_cache: bool = True
    map_weights: bool = False
    quick_start: bool = False


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """Bytes held by a loaded model."""

    weights_bytes: int
    kv_bytes: int
    activation_bytes: int


class Model(Protocol):
    """A Program loaded on a backend. Not thread-safe: one caller steps it."""

    @property
    def spec(self) -> ModelSpec: ...

    @property
    def options(self) -> BackendOptions: ...

    def kv_bytes_per_block(self) -> int:
        """Bytes of one KV block over all layers."""
        ...

    def allocate_kv(self, num_blocks: int) -> None:
        """Make room for `num_blocks` KV blocks, zeroed; drops what was there. Raises OutOfMemory."""
        ...

    def kv_layout(self) -> str:
        """Names the bytes of a KV block, and how they are computed: they mean nothing to a model of another layout."""
        ...

    def read_kv(self, block_ids: NDArray[np.int32]) -> NDArray[np.uint8]:
        """The bytes of some KV blocks, uint8 [blocks, kv_bytes_per_block]. Raises ShapeError for one there is not."""
        ...

    def write_kv(self, block_ids: NDArray[np.int32], data: NDArray[np.uint8]) -> None:
        """Put back what `read_kv` of the same weights and `kv_layout` gave. Raises ShapeError."""
        ...

    def step(self, batch: StepBatch) -> StepResult:
        """Run the Program once. Writes the KV slots of the batch's tokens. Raises ShapeError on a malformed batch."""
        ...

    def settle(self, max_bytes: int) -> bool:
        """Between steps: move about so many bytes more of what a quick start left on disk to memory, where steps read
        them a little faster. True while some are left. Changes no result."""
        ...

    def memory(self) -> MemoryReport: ...

    def close(self) -> None: ...


class Backend(Protocol):
    """A place to run Programs."""

    name: str

    def load(self, program: Program, weights: ModelWeights, options: BackendOptions) -> Model:
        """Raises BackendError naming the operation or format it lacks, OutOfMemory when it does not fit."""
        ...
