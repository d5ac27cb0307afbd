"""The NumPy backend: interprets a Program call by call with the definitions in `ops`."""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from wayra.backends.api import KV_BLOCK_LEN, BackendOptions, MemoryReport, StepBatch, StepResult
from wayra.backends.check_batch import check_batch, check_kv_blocks, check_kv_bytes
from wayra.backends.numpy import ops
from wayra.backends.numpy.kv import STORED, LayerKV, stored_len
from wayra.backends.numpy.sample import RowSampling, log_softmax, most_likely
from wayra.backends.numpy.weights import Activations, DenseWeight, dense_weight
from wayra.base.errors import BackendError, InvalidParameter, OutOfMemory, ShapeError
from wayra.model import families
from wayra.model.cost import memory
from wayra.model.program import ArrayRef, Attr, Program
from wayra.model.spec import ModelSpec
from wayra.model.verify import verify
from wayra.model.vocabulary import Ops
from wayra.weights.tensors import ModelWeights

Array = NDArray[Any]


class NumpyBackend:
    """activations: "float" multiplies exact weights with float activations; "rounded" rounds both as the native backend
    does, which is tested against it (rounding.py)."""

    name = "numpy"

    def __init__(self, activations: Activations = "float") -> None:
        if activations not in ("float", "rounded"):
            raise InvalidParameter(f"activations is {activations!r}; expected 'float' or 'rounded'")
        self.activations: Activations = activations

    def load(self, program: Program, weights: ModelWeights, options: BackendOptions) -> "NumpyModel":
        """Dequantise the weights to float32. Raises ShapeError, BackendError or OutOfMemory."""
        verify(program)
        if options.kv_dtype not in STORED:
            raise BackendError(f"kv_dtype {options.kv_dtype!r} is unknown; expected one of {', '.join(STORED)}")
        matrices: dict[str, DenseWeight] = {}
        vectors: dict[str, NDArray[np.float32]] = {}
        for slot in families.slots(program.spec):
            if slot.kind == "matrix" and slot.name in weights.matrices:
                matrices[slot.name] = dense_weight(weights.matrices[slot.name], slot.shape, self.activations)
            elif slot.kind == "vector" and slot.name in weights.vectors:
                vectors[slot.name] = _vector(slot.name, weights.vectors[slot.name], slot.shape)
            elif not slot.optional:
                raise ShapeError(f"the model lacks weight {slot.name}, which its family needs")
        return NumpyModel(program, options, matrices, vectors, self.activations)


def _vector(name: str, values: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    if values.shape != shape or values.dtype != np.float32:
        raise ShapeError(f"weight {name} is {values.dtype} {values.shape}; the model needs float32 {shape}")
    return values


class NumpyModel:
    """A Program with its weights in float32. Not thread-safe."""

    def __init__(
        self,
        program: Program,
        options: BackendOptions,
        matrices: Mapping[str, DenseWeight],
        vectors: Mapping[str, NDArray[np.float32]],
        activations: Activations = "float",
    ) -> None:
        self._activations = activations
        self._program = program
        self._options = options
        self._matrices: Mapping[str, DenseWeight] = matrices
        self._vectors: Mapping[str, NDArray[np.float32]] = vectors
        self._kv: NDArray[np.generic] = _new_kv(program.spec, options.kv_dtype, 0)

    @property
    def spec(self) -> ModelSpec:
        return self._program.spec

    @property
    def options(self) -> BackendOptions:
        return self._options

    def kv_bytes_per_block(self) -> int:
        """Bytes of one KV block over all layers."""
        kv_dtype = self._options.kv_dtype
        values = 2 * KV_BLOCK_LEN * self.spec.num_kv_heads * stored_len(self.spec.head_dim, kv_dtype)
        return self.spec.num_layers * values * np.dtype(STORED[kv_dtype]).itemsize

    def allocate_kv(self, num_blocks: int) -> None:
        """Make room for `num_blocks` KV blocks, zeroed; drops what was there. Raises OutOfMemory, InvalidParameter."""
        if num_blocks < 0:
            raise InvalidParameter(f"{num_blocks} KV blocks; expected at least 0")
        try:
            self._kv = _new_kv(self.spec, self._options.kv_dtype, num_blocks)
        except (MemoryError, ValueError):
            need_mb = num_blocks * self.kv_bytes_per_block() >> 20
            raise OutOfMemory(f"{num_blocks} KV blocks need {need_mb} MB; ask for a shorter context") from None

    def kv_layout(self) -> str:
        """Keys then values of each layer; activations because the values depend on them."""
        spec = self.spec
        shape = f"{spec.num_layers}x{spec.num_kv_heads}x{spec.head_dim}"
        return f"numpy-1; {self._activations}; {self._options.kv_dtype}; {shape}"

    def read_kv(self, block_ids: NDArray[np.int32]) -> NDArray[np.uint8]:
        """The bytes of some KV blocks, uint8 [blocks, kv_bytes_per_block]. Raises ShapeError for one there is not."""
        check_kv_blocks(block_ids, self._kv.shape[2])
        blocks = np.ascontiguousarray(np.moveaxis(self._kv[:, :, block_ids], 2, 0))
        return blocks.view(np.uint8).reshape(len(block_ids), self.kv_bytes_per_block())

    def write_kv(self, block_ids: NDArray[np.int32], data: NDArray[np.uint8]) -> None:
        """Put back what `read_kv` gave. Raises ShapeError."""
        check_kv_blocks(block_ids, self._kv.shape[2])
        check_kv_bytes(data, len(block_ids), self.kv_bytes_per_block())
        layers, pairs, _, *rest = self._kv.shape
        values = np.ascontiguousarray(data).view(self._kv.dtype).reshape(len(block_ids), layers, pairs, *rest)
        self._kv[:, :, block_ids] = np.moveaxis(values, 0, 2)

    def step(self, batch: StepBatch) -> StepResult:
        """Run the Program once. Writes the KV slots of the batch's tokens. Raises ShapeError on a malformed batch."""
        check_batch(batch, self.spec, self._options, self._kv.shape[2])
        hidden, logits = self._run(batch)
        return _result(hidden, logits, batch)

    def _run(self, batch: StepBatch) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What the head multiplies, and what it gives."""
        step = StepOps(self._matrices, self._vectors, self._kv, self._options.kv_dtype, batch)
        program = self._program
        values: dict[int, Array] = {ref.id: getattr(batch, name) for name, ref in program.inputs.items()}

        def value(ref: ArrayRef | None) -> Array | None:
            return None if ref is None else values[ref.id]

        for call in program.calls:
            outputs = step.call(call.op, tuple(value(ref) for ref in call.inputs), call.weights, call.attrs)
            values.update((ref.id, output) for ref, output in zip(call.outputs, outputs, strict=True))
        head = next(call for call in program.calls if program.output in call.outputs)
        hidden = value(head.inputs[0])
        assert hidden is not None
        return cast(NDArray[np.float32], hidden), values[program.output.id]

    def settle(self, max_bytes: int) -> bool:
        return False

    def memory(self) -> MemoryReport:
        """Bytes held; activations are those of the largest step."""
        tokens = self._options.max_step_tokens
        step_need = memory(self._program, tokens=tokens, rows=tokens, weight_bits=32.0)
        weights = sum(w.num_bytes for w in self._matrices.values()) + sum(v.nbytes for v in self._vectors.values())
        return MemoryReport(weights, self._kv.nbytes, step_need.activation_bytes)

    def close(self) -> None:
        """Let go of weights and cache."""
        self._matrices, self._vectors = {}, {}
        self._kv = _new_kv(self.spec, self._options.kv_dtype, 0)


def _new_kv(spec: ModelSpec, kv_dtype: str, num_blocks: int) -> NDArray[np.generic]:
    """[layers, 2, blocks, KV_BLOCK_LEN, kv_heads, stored_len]."""
    head_len = stored_len(spec.head_dim, kv_dtype)
    shape = (spec.num_layers, 2, num_blocks, KV_BLOCK_LEN, spec.num_kv_heads, head_len)
    return np.zeros(shape, STORED[kv_dtype])


class StepOps(Ops[Array]):
    """The operations over real arrays, for one step. A family's forward can also be run on it directly, to debug it."""

    def __init__(
        self,
        matrices: Mapping[str, DenseWeight],
        vectors: Mapping[str, NDArray[np.float32]],
        kv: NDArray[np.generic],
        kv_dtype: str,
        batch: StepBatch,
    ) -> None:
        self._matrices = matrices
        self._vectors = vectors
        self._kv = kv
        self._kv_dtype = kv_dtype
        self._batch = batch

    def call(
        self, op: str, inputs: tuple[Array | None, ...], weights: tuple[str | None, ...], attrs: Mapping[str, Attr]
    ) -> tuple[Array, ...]:
        x: Any = inputs[0]
        match op:
            case "embed":
                return (ops.embed(x, self._matrix(weights[0])),)
            case "add_rms_norm":
                return ops.add_rms_norm(x, inputs[1], self._vector(weights[0]), _number(attrs["eps"]))
            case "linear":
                bias = None if weights[1] is None else self._vector(weights[1])
                return (ops.linear(x, self._matrix(weights[0]), bias),)
            case "rope_store":
                positions: Any = inputs[1]
                inv_freq, magnitude = self._vector(weights[0]), _number(attrs["magnitude"])
                return (ops.rope_store(x, positions, inv_freq, magnitude, _heads(attrs), self._layer_kv(attrs)),)
            case "attention":
                window = None if attrs["window"] is None else _integer(attrs["window"])
                return (ops.attention(x, _number(attrs["scale"]), window, _heads(attrs), self._layer_kv(attrs)),)
            case "swiglu":
                return (ops.swiglu(x),)
            case "take_rows":
                rows: Any = inputs[1]
                return (ops.take_rows(x, rows),)
            case "logits":
                return (ops.logits(x, self._matrix(weights[0])),)
            case _:
                raise BackendError(f"the numpy backend has no operation {op!r}")

    def _matrix(self, name: str | None) -> DenseWeight:
        return self._matrices[str(name)]

    def _vector(self, name: str | None) -> NDArray[np.float32]:
        return self._vectors[str(name)]

    def _layer_kv(self, attrs: Mapping[str, Attr]) -> LayerKV:
        return LayerKV(self._kv[_integer(attrs["layer"])], self._kv_dtype, self._batch)


def _integer(value: Attr) -> int:
    assert isinstance(value, int)
    return value


def _number(value: Attr) -> float:
    assert isinstance(value, int | float)
    return float(value)


def _heads(attrs: Mapping[str, Attr]) -> ops.HeadAttrs:
    return ops.HeadAttrs(_integer(attrs["num_heads"]), _integer(attrs["num_kv_heads"]), _integer(attrs["head_dim"]))


def _result(hidden: NDArray[np.float32], logits: NDArray[np.float32], batch: StepBatch) -> StepResult:
    """Sampling and log-probabilities, from the raw logits [rows, vocab]."""
    sampling, rows = batch.sampling, range(len(logits))
    num_top = 0 if sampling is None else sampling.num_logprobs
    is_scored = sampling is not None or batch.targets is not None
    logprobs = [log_softmax(row) for row in logits] if is_scored else []
    chosen = [] if sampling is None else [RowSampling(sampling, i).choose(logits[i]) for i in rows]
    top_ids = np.array([most_likely(logits[i], num_top) for i in rows if num_top], np.int32).reshape(len(rows), num_top)
    top_logprobs = np.array([logprobs[i][top_ids[i]] for i in rows if num_top], np.float32).reshape(len(rows), num_top)
    targets = None
    if batch.targets is not None:
        targets = np.array([logprobs[i][batch.targets[i]] for i in rows], np.float32)
    return StepResult(
        token_ids=np.array(chosen, np.int32),
        logprobs=np.array([logprobs[i][token] for i, token in enumerate(chosen)], np.float32),
        top_ids=top_ids,
        top_logprobs=top_logprobs,
        target_logprobs=targets,
        logits=logits if batch.return_logits else None,
        hidden=hidden if batch.return_hidden else None,
    )
