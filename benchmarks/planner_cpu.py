"""How well the planner's roofline predicts this engine on this machine, for what it was not calibrated with.

python benchmarks/planner_cpu.py MODEL [MODEL ...] [--batches 1,2,4,8] [--contexts 128,512,2048] [--threads N]

Measures a grid of decode steps in this process with the native backend: each model (files of several sizes and
formats), batch and context; the median of several steps. The constants are then fitted to all models but one and
predict that one (with one model: to every other point). Run it on an idle machine. Ends in one JSON line.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import numpy as np

from wayra import LLM
from wayra.engine.request import SamplingParams
from wayra.llm.memory import available_bytes
from wayra.plan.calibration import Observation, fit_constants, predict
from wayra.plan.hardware import Hardware, this_machine
from wayra.plan.reading import Described, describe
from wayra.plan.roofline import Deployment, Load, decode_terms

STEPS = 24
REPEATS = 3
BAR = 0.10


@dataclass(frozen=True, slots=True)
class Point:
    model: str
    batch: int
    context: int
    observation: Observation


def measure(name: str, batches: list[int], contexts: list[int], threads: int | None, on: Hardware) -> Iterator[Point]:
    described = describe(name)
    longest = max(contexts) + 2 * STEPS
    with LLM(
        name, threads=threads, context_len=longest, max_batch=max(batches), speculate="off", prefix_cache=False
    ) as llm:
        for context in contexts:
            for batch in batches:
                seconds = statistics.median(_step_s(llm, batch, context) for _ in range(REPEATS))
                yield Point(name, batch, context, _observation(described, name, on, batch, context, seconds))


def _observation(
    described: Described, name: str, on: Hardware, batch: int, context: int, seconds: float
) -> Observation:
    if described.stored is None:
        raise SystemExit(f"{name} holds no weights; give a GGUF or safetensors file")
    deployment = Deployment(described.model, described.stored, on)
    # Steps are timed while the context grows from `context` by STEPS.
    terms = decode_terms(deployment, Load(batch, context, 2 * STEPS), interleaved=False)
    return Observation(terms, seconds, name)


def _step_s(llm: LLM, batch: int, context: int) -> float:
    """Seconds of a decode step: the same prompts with 2 * STEPS and with one token, the difference by step."""
    prompts = [[(31 * i + 7 * row) % 1000 + 10 for i in range(context)] for row in range(batch)]
    times: list[float] = []
    for count in (1, 2 * STEPS + 1):
        params = SamplingParams(max_tokens=count, temperature=0.0, ignore_eos=True)
        begin = time.perf_counter()
        llm.generate(prompts, params)
        times.append(time.perf_counter() - begin)
    return max(times[1] - times[0], 1e-6) / (2 * STEPS)


def judge(points: list[Point]) -> dict[str, object]:
    """Errors of each model under the constants of the others."""
    names = sorted({p.model for p in points})
    groups = [p.model for p in points] if len(names) > 1 else [str(i % 2) for i in range(len(points))]
    result: dict[str, object] = {}
    errors: list[float] = []
    for held in sorted(set(groups)):
        kept = [p.observation for p, group in zip(points, groups, strict=True) if group != held]
        left = [p.observation for p, group in zip(points, groups, strict=True) if group == held]
        constants = fit_constants(kept)
        seen, true = predict(left, constants), np.array([item.seconds for item in left])
        error = np.abs(seen / true - 1)
        inside = (true >= seen * constants.low) & (true <= seen * constants.high)
        errors += error.tolist()
        result[held] = {
            "points": len(left),
            "mape": round(float(error.mean()), 4),
            "worst": round(float(error.max()), 4),
            "covered": round(float(inside.mean()), 4),
            "constants": asdict(constants),
        }
    result["all_held_out"] = {"points": len(errors), "mape": round(sum(errors) / len(errors), 4), "bar": BAR}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--batches", default="1,2,4,8")
    parser.add_argument("--contexts", default="128,512,2048")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    batches = [int(n) for n in options.batches.split(",")]
    contexts = [int(n) for n in options.contexts.split(",")]
    on = this_machine(available_bytes() or 0, today=datetime.now(tz=UTC).date())
    points: list[Point] = []
    for name in options.models:
        for point in measure(name, batches, contexts, options.threads, on):
            points.append(point)
            print(
                f"{point.model} batch {point.batch} context {point.context}: {point.observation.seconds * 1e3:.3f} ms"
            )
    found = judge(points)
    machine = {"bytes_per_s": on.bytes_per_s, "flops": dict(on.flops), "load": os.getloadavg()}
    print(json.dumps({"machine": machine, "found": found}))


if __name__ == "__main__":
    main()
