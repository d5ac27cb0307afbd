"""How well the planner's roofline predicts this engine on this machine, for what it was not calibrated with.

python benchmarks/planner_cpu.py [--write] [MODEL ...] [--batches N,..] [--contexts N,..] [--rounds N] [--threads N]

MODEL is a file, or a name as `wayra run` takes it. Without any: the default model, and models with random weights of
several sizes and formats, which are written to a temporary folder (1 GB; needs wayra[test]).

A point is a decode step of the native backend at one batch and context, every KV block filled; all points are measured
in turns, several rounds, and a point's time is the median of its rounds. Then, for each model, the constants are fitted
to the other models and predict it; and for each batch and each context, to the other ones and predict those. --write
puts the table into docs/plan.md and the constants fitted to all points into the package. Run it on an idle machine: the
load is printed, and the spread of the rounds. Ends in one JSON line.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from measuring.figures import markdown_table, write_section
from measuring.machine import describe_machine
from measuring.shipped_constants import write_shipped
from measuring.wayra_batches import WayraBatches
from random_model import Shape, write_model

from wayra.backends.api import KV_BLOCK_LEN
from wayra.base import formats
from wayra.base.settings import from_environment
from wayra.llm.memory import available_bytes
from wayra.plan.calibration import MIN_RUNS, Observation, fit_constants, predict
from wayra.plan.hardware import Hardware, this_machine
from wayra.plan.reading import Described, describe
from wayra.plan.roofline import Deployment, Load, decode_terms
from wayra.weights.sources.resolve import resolve

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "plan.md"
DEFAULT_MODEL = "smollm2"
STEPS = 8
ROUNDS = 7
BAR = 0.10
VOCAB = 49_152
SHAPES = (
    ("random 0.23B, Q8_0", Shape(12, 1024, 16, 4, 64, 4096, VOCAB, True, 1e4, 8192), formats.Q8_0),
    ("random 0.23B, BF16", Shape(12, 1024, 16, 4, 64, 4096, VOCAB, True, 1e4, 8192), formats.BF16),
    (
        "random 0.17B, as many KV heads as heads, Q4_0",
        Shape(16, 768, 12, 12, 64, 3072, VOCAB, True, 1e4, 8192),
        formats.Q4_0,
    ),
    ("random 0.59B, Q4_0", Shape(8, 2048, 32, 8, 64, 8192, VOCAB, True, 1e4, 8192), formats.Q4_0),
)


@dataclass(frozen=True, slots=True)
class Point:
    """seconds: of a step, the median of the rounds. spread: highest by lowest round."""

    model: str
    batch: int
    context: int
    spread: float
    observation: Observation


@dataclass(frozen=True, slots=True)
class Repeats:
    threads: int
    rounds: int


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
        for _ in range(STEPS):
            begin = time.perf_counter()
            self._step_many(tokens, context, tables)
            times.append(time.perf_counter() - begin)
        return statistics.median(times)


def measure(
    models: Sequence[tuple[str, Path]], grid: Sequence[tuple[int, int]], how: Repeats, on: Hardware
) -> list[Point]:
    """grid: (batch, context) of each point."""
    found: list[Point] = []
    for name, path in models:
        described = describe(str(path))
        room = max(b * (-(-(c + 1) // KV_BLOCK_LEN)) for b, c in grid)
        timer = StepTimer(str(path), how.threads, room * KV_BLOCK_LEN, max_rows=max(b for b, _ in grid))
        timer.fill(room)
        rounds = [[timer.step_s(batch, context) for batch, context in grid] for _ in range(how.rounds)]
        del timer
        for i, (batch, context) in enumerate(grid):
            times = [one[i] for one in rounds]
            found.append(_point((name, described), on, (batch, context), times))
            print(f"{name}, batch {batch}, context {context}: {statistics.median(times) * 1e3:.3f} ms", flush=True)
    return found


def _point(model: tuple[str, Described], on: Hardware, at: tuple[int, int], times: Sequence[float]) -> Point:
    name, described = model
    if described.stored is None:
        raise SystemExit(f"{name} holds no weights; give a GGUF or safetensors file")
    deployment = Deployment(described.model, described.stored, on)
    terms = decode_terms(deployment, Load(at[0], at[1], 0), interleaved=False)
    observation = Observation(terms, statistics.median(times), name, "cpu")
    return Point(name, *at, max(times) / min(times), observation)


def held_out(points: Sequence[Point], what: str, key: Callable[[Point], object]) -> list[dict[str, object]]:
    """Errors of each group under the constants of the others."""
    found: list[dict[str, object]] = []
    for group in sorted({key(p) for p in points}, key=str):
        kept = [p.observation for p in points if key(p) != group]
        left = [p.observation for p in points if key(p) == group]
        if len(kept) < MIN_RUNS:
            continue
        constants = fit_constants(kept)
        seen, true = predict(left, constants), np.array([item.seconds for item in left])
        inside = (true >= seen * constants.low) & (true <= seen * constants.high)
        found.append(
            {
                "left_out": f"{what} {group}".strip(),
                "points": len(left),
                "mape": round(float(np.abs(seen / true - 1).mean()), 4),
                "median_ratio": round(float(np.median(seen / true)), 4),
                "covered": round(float(inside.mean()), 4),
            }
        )
    return found


def table(rows: Sequence[dict[str, object]]) -> str:
    head = ("left out of the fit", "points", "MAPE", "median ratio", "within the interval")
    return markdown_table(
        head,
        [
            (
                str(row["left_out"]),
                str(row["points"]),
                f"{row['mape']:.1%}",
                f"{row['median_ratio']:.2f}",
                f"{row['covered']:.0%}",
            )
            for row in rows
        ],
    )


def default_models(folder: Path) -> list[tuple[str, Path]]:
    default = resolve(DEFAULT_MODEL, from_environment()).path
    found = [(DEFAULT_MODEL, default)]
    for i, (name, shape, fmt) in enumerate(SHAPES):
        write_model(name, shape, fmt, folder / f"random-{i}.gguf")
        found.append((name, folder / f"random-{i}.gguf"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--batches", default="1,2,4,8,16")
    parser.add_argument("--contexts", default="128,1024,4096")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--write", action="store_true", help="write the table and the constants")
    options = parser.parse_args()
    batches = [int(n) for n in options.batches.split(",")]
    contexts = [int(n) for n in options.contexts.split(",")]
    # The largest batch takes shorter contexts, so that the KV cache stays small beside what a laptop has.
    grid = [(b, c) for c in contexts for b in batches if b * c <= 2 * max(contexts)]
    if len(grid) * (len(options.models) or 1 + len(SHAPES)) < MIN_RUNS:
        parser.error(f"{len(grid)} batches and contexts; name more of them or of models, for {MIN_RUNS} points or more")
    on = this_machine(available_bytes() or 0, today=datetime.now(tz=UTC).date())
    begun = os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:
        named = [(name, resolve(name, from_environment()).path) for name in options.models]
        how = Repeats(options.threads, options.rounds)
        points = measure(named or default_models(Path(folder)), grid, how, on)
    by_model = held_out(points, "", lambda p: p.model)
    others = held_out(points, "batch", lambda p: p.batch) + held_out(points, "context", lambda p: p.context)
    rows = [*by_model, *others]
    print(table(rows))
    source = f"fitted to {len(points)} decode steps of this engine on {describe_machine()}, {on.as_of}"
    constants = fit_constants([p.observation for p in points], source=source)
    if options.write:
        write_section(DOCUMENT, "planner_cpu", f"Measured on {describe_machine()}.\n\n{table(rows)}")
        write_shipped("cpu", constants)
    mape = sum(float(str(r["mape"])) * int(str(r["points"])) for r in by_model) / max(1, len(points))
    result = {
        "held_out_models_mape": round(mape, 4),
        "bar": BAR,
        "left_out": rows,
        "spread_of_rounds": round(statistics.median(p.spread for p in points), 3),
        "load": begun,
        "machine": {"bytes_per_s": on.bytes_per_s, "flops": dict(on.flops)},
        "constants": {name: getattr(constants, name) for name in constants.__dataclass_fields__},
        "points": [asdict(p) for p in points],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
