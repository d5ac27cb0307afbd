"""What the native backend refuses, and Programs it must lower right though no family of today records them."""

import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from backend_batches import chunk_batch, int32
from backend_registry import BACKENDS, Load
from tiny_llama import blocky_spec, tiny_spec, tiny_weights

from wayra.backends.api import BackendOptions, StepBatch
from wayra.backends.numpy import NumpyBackend
from wayra.base.errors import BackendError
from wayra.base.formats import F32, Q8_0
from wayra.model.program import ArrayRef, Call, Program
from wayra.model.record import record
from wayra.model.spec import RopeSpec
from wayra.model.verify import verify

OPTIONS = BackendOptions(max_step_tokens=64, max_step_seqs=8, kv_dtype="f32", threads=1, packed_cache=False)
THREADS = 200
# Room for a few of the threads' stacks (8 MB each) and for a tiny model.
SPARE_BYTES = 96 << 20


@pytest.fixture(params=list(BACKENDS))
def load(request: pytest.FixtureRequest) -> Load:
    return BACKENDS[request.param]


def rewired(program: Program, rewire: Callable[[list[Call]], Sequence[Call]]) -> Program:
    changed = replace(program, calls=tuple(rewire(list(program.calls))))
    verify(changed)
    return changed


def test_a_product_may_read_the_residual_stream_itself(load: Load) -> None:
    spec = blocky_spec()

    def skip_the_norm(calls: list[Call]) -> list[Call]:
        # The second layer's QKV reads x instead of norm(x): x has been updated in place by then.
        numbers = [i for i, call in enumerate(calls) if call.weights[:1] == ("layers.1.qkv",)]
        (norm,) = [call for call in calls if call.weights == ("layers.1.attn_norm",)]
        for i in numbers:
            calls[i] = replace(calls[i], inputs=(norm.outputs[0],))
        return calls

    program = rewired(record(spec), skip_the_norm)
    weights = tiny_weights(spec, Q8_0)
    batch = chunk_batch(np.arange(1, 8, dtype=np.int32), 0, 7, [0])
    found, wanted = load(program, weights, OPTIONS), NumpyBackend("rounded").load(program, weights, OPTIONS)
    results = []
    for model in (found, wanted):
        model.allocate_kv(1)
        logits = model.step(batch).logits
        assert logits is not None
        results.append(np.array(logits, np.float64))
    error = np.square(results[0] - results[1]).sum() / np.square(results[1]).sum()
    # Last bits that move an activation to the next of 127 integers.
    assert error < 1e-2


def test_a_residual_read_after_its_update_is_refused(load: Load) -> None:
    spec = tiny_spec()

    def read_late(calls: list[Call]) -> list[Call]:
        embedded = calls[0].outputs[0]
        (number,) = [i for i, call in enumerate(calls) if call.weights == ("layers.1.attn_norm",)]
        calls[number] = replace(calls[number], inputs=(embedded, calls[number].inputs[1]))
        return calls

    with pytest.raises(BackendError, match="updated in place"):
        load(rewired(record(spec), read_late), tiny_weights(spec), OPTIONS)


def test_rows_may_be_taken_at_the_end_and_more_of_them_than_tokens(load: Load) -> None:
    spec = tiny_spec()

    def take_last(calls: list[Call]) -> list[Call]:
        """The last layer for all tokens; rows of the final norm's result are taken."""
        takes = [call for call in calls if call.op == "take_rows"]
        whole = {take.outputs[0].id: take.inputs[0] for take in takes}
        late: list[Call] = []
        for call in calls:
            if call.op == "logits":
                rows = ArrayRef(1000, ("rows", spec.hidden_size), "f32")
                late.append(replace(takes[0], inputs=(inputs_of(call, whole)[0], takes[0].inputs[1]), outputs=(rows,)))
                late.append(replace(call, inputs=(rows,)))
            elif call.op != "take_rows":
                outputs = tuple(replace(ref, shape=("tokens", ref.shape[1])) for ref in call.outputs)
                late.append(replace(call, inputs=inputs_of(call, whole), outputs=outputs))
                whole |= {ref.id: ref for ref in outputs}
        return late

    def inputs_of(call: Call, whole: dict[int, ArrayRef | None]) -> tuple[ArrayRef | None, ...]:
        return tuple(ref if ref is None else whole.get(ref.id, ref) for ref in call.inputs)

    weights = tiny_weights(spec)
    batch = StepBatch(
        int32(5, 6), int32(0, 1), int32(0, 2), int32(2), int32(0)[None], int32(1, 0, 1, 1, 0), return_logits=True
    )
    results = []
    for program in (record(spec), rewired(record(spec), take_last)):
        model = load(program, weights, OPTIONS)
        model.allocate_kv(1)
        logits = model.step(batch).logits
        assert logits is not None
        results.append(np.array(logits))
    np.testing.assert_array_equal(results[0], results[1])


def test_heads_too_large_for_the_kernels_are_refused(load: Load) -> None:
    spec = replace(tiny_spec(), num_heads=1, num_kv_heads=1, head_dim=1026, rope=RopeSpec(1e4, 16))
    with pytest.raises(BackendError, match="heads of 1026 dimensions; expected 1 to 1024"):
        load(record(spec), tiny_weights(spec, F32), OPTIONS)


IN_LITTLE_SPACE = f"""
import resource, sys
sys.path[:0] = sys.argv[1:]
from pathlib import Path
from dataclasses import replace
import numpy as np
from tiny_llama import tiny_spec, tiny_weights
from wayra.backends.api import BackendOptions
from wayra.backends.native import _native
from wayra.backends.native.backend import NativeBackend
from wayra.base.errors import WayraError
from wayra.model.record import record

spec = tiny_spec()
weights = tiny_weights(spec)
options = BackendOptions(max_step_tokens=64, max_step_seqs=8, threads=1, packed_cache=False)
NativeBackend().load(record(spec), weights, options)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {SPARE_BYTES}, resource.RLIM_INFINITY))
for changed in ({{"threads": {THREADS}}}, {{"max_step_tokens": 1 << 20}}):
    try:
        NativeBackend().load(record(spec), weights, replace(options, **changed))
    except WayraError as error:
        print(f"{{type(error).__name__}}: {{error}}")
rows, cols = 16 * {THREADS}, 8
raw = np.random.default_rng(0).integers(0, 255, 4 * rows * cols, np.uint8)
packed = [np.zeros(_native.packed_bytes(0, rows, cols), np.uint8) for _ in range(2)]
for out, threads in zip(packed, (1, {THREADS})):
    _native.pack(0, rows, cols, raw, None, out, threads)
print("packed alike", bool(packed[0].any()) and packed[0].tobytes() == packed[1].tobytes())
NativeBackend().load(record(spec), weights, options)
print("loaded again")
"""


def test_threads_the_system_does_not_give_are_an_error_or_done_without() -> None:
    pytest.importorskip("wayra.backends.native._native", reason="the native backend is not built here")
    if sys.platform != "linux":
        pytest.skip("limits the address space the way Linux does")
    stack_bytes = resource.getrlimit(resource.RLIMIT_STACK)[0]
    if stack_bytes != resource.RLIM_INFINITY and stack_bytes * THREADS < 2 * SPARE_BYTES:
        pytest.skip(f"stacks of {stack_bytes:,} bytes fit in any number")
    support = str(Path(__file__).parents[2] / "support")
    command = [sys.executable, "-c", IN_LITTLE_SPACE, support, *sys.path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    lines = done.stdout.splitlines()
    assert len(lines) == 4, f"exit code {done.returncode}: {done.stdout}{done.stderr}"
    assert lines[0].startswith("BackendError: the native backend cannot run this model here: the system gave ")
    assert f" of {THREADS} threads" in lines[0]
    assert lines[1] == "OutOfMemory: no room for steps of 1,048,576 tokens and 8 sequences; ask for less"
    assert lines[2:] == ["packed alike True", "loaded again"]
