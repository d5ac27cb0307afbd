"""How well the planner's roofline predicts GPUs it was not fitted to: time per output token of measured deployments.

python benchmarks/planner_speed.py        (needs the package aiconfigurator-core 0.12.0, which carries the measurements)

Points: Llama 3.1 8B and 70B served by one engine whose prefills and decodes share the cards, with a known concurrency.
Each GPU is left out in turn; five constants are fitted to the points of the others, their intervals too. Ends in one
JSON line.

The form of the roofline was chosen looking at H100 and B200 only; H200 was predicted once it stood.
"""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

import numpy as np

from wayra.plan.calibration import Observation, fit_constants, predict
from wayra.plan.hardware import hardware
from wayra.plan.models import architecture
from wayra.plan.roofline import Constants, Deployment, Load, decode_terms
from wayra.plan.stored import stored_as

MODELS = {
    "meta-llama/Llama-3.1-70B": "llama-3.1-70b",
    "meta-llama/Llama-3.1-8B-Instruct": "llama-3.1-8b",
    "nvidia/Llama-3.1-8B-Instruct-FP8": "llama-3.1-8b",
}
# Rows of this sample without a precision are of bf16 checkpoints.
FORMATS = {"": "bf16", "bf16": "bf16", "fp8": "fp8", "fp4": "nvfp4"}


@dataclass(frozen=True, slots=True)
class Point:
    observation: Observation
    system: str
    engine: str
    model: str


def points() -> Iterator[Point]:
    path = resources.files("aiconfigurator_core").joinpath("systems/silicon_sample.csv")
    for row in csv.DictReader(path.read_text("utf-8").splitlines()):
        if row["mode"] != "agg" or row["model_path"] not in MODELS:
            continue
        concurrency = re.search(r"silicon_concurrency=(\d+)", row["silicon_data_source"])
        batch = int(concurrency.group(1)) if concurrency else int(row["batch_size"])
        deployment = Deployment(
            architecture(MODELS[row["model_path"]]),
            stored_as(FORMATS[row["precision"]]),
            hardware(row["system"]),
            int(row["tp_size"]),
        )
        terms = decode_terms(deployment, Load(batch, int(row["isl"]), int(row["osl"])))
        seconds = float(row["silicon_tpot_ms"]) / 1e3
        yield Point(Observation(terms, seconds, row["system"]), row["system"], row["backend"], deployment.model.name)


def judged(held: list[Point], constants: Constants) -> dict[str, object]:
    seen = predict([p.observation for p in held], constants)
    true = np.array([p.observation.seconds for p in held])
    error = np.abs(seen / true - 1)
    inside = (true >= seen * constants.low) & (true <= seen * constants.high)
    return {
        "points": len(held),
        "mape": round(float(error.mean()), 4),
        "median": round(float(np.median(error)), 4),
        "covered": round(float(inside.mean()), 4),
        "interval": [round(constants.low, 3), round(constants.high, 3)],
        "by_engine": {
            f"{engine}, {model}": round(float(error[[(p.engine, p.model) == (engine, model) for p in held]].mean()), 4)
            for engine, model in sorted({(p.engine, p.model) for p in held})
        },
        "constants": [float(f"{value:.3g}") for value in _values(constants)],
    }


def _values(constants: Constants) -> tuple[float, ...]:
    c = constants
    return (c.bandwidth_share, c.compute_share, c.layer_s, c.sum_s, c.sequence_s)


def main() -> None:
    everything = list(points())
    result: dict[str, object] = {}
    errors: list[tuple[int, float, float]] = []
    for system in sorted({p.system for p in everything}):
        fitted = fit_constants([p.observation for p in everything if p.system != system])
        held = [p for p in everything if p.system == system]
        found = judged(held, fitted)
        result[system] = found
        errors.append((len(held), float(str(found["mape"])), float(str(found["covered"]))))
        print(f"{system}: {found}")
    count = sum(n for n, _, _ in errors)
    result["all_held_out"] = {
        "points": count,
        "mape": round(sum(n * e for n, e, _ in errors) / count, 4),
        "covered": round(sum(n * c for n, _, c in errors) / count, 4),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
