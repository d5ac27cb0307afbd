"""Where the compute threads run: apart, however the system placed them, and free to go anywhere."""

import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from backend_batches import chunk_batch
from backend_registry import BACKENDS
from tiny_llama import tiny_spec, tiny_weights

from wayra.backends.api import BackendOptions
from wayra.model.record import record

VOCAB_SIZE = 50
SHIPPED = sorted(name for name in BACKENDS if name.startswith("native-"))
TASKS = Path("/proc/self/task")
PATIENCE_S = 30.0


def cpu_of(thread: int) -> int:
    """Where it runs or last ran. Source: proc(5), field 39 of stat."""
    return int((TASKS / str(thread) / "stat").read_text().rpartition(")")[2].split()[36])


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_threads_left_on_one_core_part_and_stay_free_to_move() -> None:
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        pytest.skip("one core has no other to go to")
    before = {int(task.name) for task in TASKS.iterdir()}
    spec = tiny_spec(VOCAB_SIZE)
    options = BackendOptions(max_step_tokens=64, max_step_seqs=4, threads=2, packed_cache=False)
    model = BACKENDS[SHIPPED[0]](record(spec), tiny_weights(spec), options)
    model.allocate_kv(4)
    (helper,) = {int(task.name) for task in TASKS.iterdir()} - before
    caller = threading.get_native_id()
    batch = chunk_batch(np.arange(40, dtype=np.int32), 0, 40, [2, 0])
    for thread in (caller, helper):
        os.sched_setaffinity(thread, {min(allowed)})
    model.step(batch)  # a thread that sleeps goes where it must when it wakes
    assert (cpu_of(caller), cpu_of(helper)) == (min(allowed), min(allowed))
    for thread in (caller, helper):
        os.sched_setaffinity(thread, allowed)
    until = time.monotonic() + PATIENCE_S
    while cpu_of(helper) == cpu_of(caller) and time.monotonic() < until:
        model.step(batch)
    assert cpu_of(helper) != cpu_of(caller)
    assert os.sched_getaffinity(helper) == allowed
