"""Times of single steps of this engine, as the planner predicts them: decode steps, and whole prompts read.

Every time is kept, as a line of JSON, and a measurement can go on in another process. One that other processes
disturbed is taken again, and says so if that did not help.
"""

import json
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from measuring.machine import LoadMeter, wait_for_quiet
from measuring.wayra_batches import WayraBatches
from wayra.backends.api import KV_BLOCK_LEN

LEAST_SECONDS = 0.25
"""Of a time's steps together: the load of others is counted in hundredths of a second."""
LEAST_STEPS = 8
MOST_STEPS = 40
TRIES = 2
QUIET_WAIT_S = 15


@dataclass(frozen=True, slots=True)
class Taken:
    """One time. kind: "decode", a step of `batch` sequences of `tokens` each; "prompt", one of so many tokens read."""

    model: str
    kind: str
    batch: int
    tokens: int
    seconds: float
    disturbed: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to time of one model. decode: batch and context of each point. prompts: their lengths.

    kv_dtype: of the cache, in as many bits as the planner counts.
    """

    model: str
    path: Path
    decode: tuple[tuple[int, int], ...]
    prompts: tuple[int, ...]
    kv_dtype: str

    def blocks(self) -> int:
        """KV blocks that the largest point takes."""
        return max(b * -(-(c + 1) // KV_BLOCK_LEN) for b, c in (*self.decode, *((1, n) for n in self.prompts)))


class StepTimer(WayraBatches):
    """Decode steps at any context without reading a prompt: what a step costs does not depend on what was read."""

    def fill(self, blocks: int) -> None:
        """Small values in every block, so that each has memory of its own."""
        one = self._model.read_kv(np.zeros(1, np.int32))
        noise = (np.arange(one.size, dtype=np.uint16) % 97).astype(np.uint8).reshape(one.shape)
        for block in range(blocks):
            self._model.write_kv(np.array([block], np.int32), noise)

    def step_s(self, batch: int, context: int) -> float:
        """Median seconds of a step that chooses token `context` + 1 of `batch` sequences."""
        blocks = -(-(context + 1) // KV_BLOCK_LEN)
        tables = np.arange(batch * blocks, dtype=np.int32).reshape(batch, blocks)
        tokens = np.arange(10, 10 + batch, dtype=np.int32)[:, None]
        self._step_many(tokens, context, tables)
        times: list[float] = []
        while len(times) < LEAST_STEPS or (sum(times) < LEAST_SECONDS and len(times) < MOST_STEPS):
            begin = time.perf_counter()
            self._step_many(tokens, context, tables)
            times.append(time.perf_counter() - begin)
        return statistics.median(times)

    def prompt_s(self, tokens: int) -> float:
        """Median seconds to read a prompt of so many tokens and choose the next; short ones are read several times."""
        ids = [10 + n % 1000 for n in range(tokens)]
        times = [self.prefill(ids)]
        while sum(times) < LEAST_SECONDS:
            times.append(self.prefill(ids))
        return statistics.median(times)


def one_turn(wanted: Wanted, threads: int) -> Iterator[Taken]:
    """Every point of a model once."""
    timer = StepTimer(
        str(wanted.path),
        threads,
        wanted.blocks() * KV_BLOCK_LEN,
        wanted.kv_dtype,
        max_rows=max((b for b, _ in wanted.decode), default=1),
        packed_cache=False,
    )
    timer.fill(wanted.blocks())
    timer.prompt_s(64)  # The first step finds cold memory.
    wait_for_quiet(QUIET_WAIT_S)
    for batch, context in wanted.decode:
        seconds, disturbed = _undisturbed(lambda b=batch, c=context: timer.step_s(b, c))
        yield Taken(wanted.model, "decode", batch, context, seconds, disturbed)
    for tokens in wanted.prompts:
        seconds, disturbed = _undisturbed(lambda n=tokens: timer.prompt_s(n))
        yield Taken(wanted.model, "prompt", 1, tokens, seconds, disturbed)


def _undisturbed(take: Callable[[], float]) -> tuple[float, bool]:
    """Seconds, and whether others were busy meanwhile in every try."""
    for _ in range(TRIES):
        meter = LoadMeter()
        seconds = take()
        if not meter.read().is_noisy:
            return seconds, False
    return seconds, True


def append_times(path: Path, taken: Iterable[Taken], report: Callable[[Taken], None]) -> None:
    with path.open("a", encoding="utf-8") as file:
        for item in taken:
            file.write(json.dumps(asdict(item)) + "\n")
            file.flush()
            report(item)


def read_times(path: Path) -> list[Taken]:
    return [Taken(**json.loads(line)) for line in path.read_text("utf-8").splitlines()]
