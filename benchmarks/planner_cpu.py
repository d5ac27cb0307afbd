"""How well the planner's roofline predicts this engine on this machine, for what it was not calibrated with.

python benchmarks/planner_cpu.py [--write] [MODEL ...] [--batches N,..] [--contexts N,..] [--lengths N,..] [--rounds N]

MODEL is a file, or a name as `wayra run` takes it. Without any: the default model, and models with random weights of
several sizes and formats, which are written to a temporary folder (4 GB; needs wayra[test]).

Two things are timed: a decode step of the native backend at one batch and context, every KV block filled, and the
reading of a prompt of one length, as the engine reads it, to its first token. All points of all models are measured in
turns, several rounds, and a point's time is the median of the rounds that other processes left alone. The machine's
speeds are measured before and after every turn, since memory can be half as fast a minute later. Then, for each model,
the constants are fitted to the other models and predict it; and for each format, batch, context and length, to the
other ones and predict those. --write puts the tables into docs/plan.md and the constants fitted to all points into the
package.

--times FILE keeps every time there, and goes on from those that it holds; with --rounds 0 it judges what it holds.
--folder DIR keeps the random models. Run it on an idle machine: the load is printed, and the spread of the rounds. Ends
in one JSON line.
"""

import argparse
import json
import os
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from measuring.figures import markdown_table, write_section
from measuring.machine import describe_machine
from measuring.shipped_constants import write_shipped
from measuring.step_times import Taken, Wanted, append_times, one_turn, read_times
from random_model import SHAPES, Shape, write_model

from wayra.base import formats
from wayra.base.errors import InvalidParameter
from wayra.base.formats import WeightFormat
from wayra.base.settings import from_environment
from wayra.llm.memory import available_bytes
from wayra.plan.calibration import Observation, fit_constants, predict
from wayra.plan.hardware import Hardware, this_machine
from wayra.plan.reading import Described, describe
from wayra.plan.roofline import Constants, Deployment, Load, decode_terms, prefill_flops, prefill_terms
from wayra.weights.loader import load_weights, model_spec, open_checkpoint
from wayra.weights.sources.aliases import DEFAULT_MODEL
from wayra.weights.sources.resolve import resolve

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "plan.md"
ROUNDS = 5
BAR = 0.10
MOST_OPERATIONS = 4.5e12
"""Longer prompts of a large model would take most of the time and say what its shorter ones say."""
VOCAB = 49_152
RANDOM: Mapping[str, tuple[Shape, tuple[WeightFormat, ...]]] = {
    "random 0.17B, as many KV heads as heads": (
        Shape(16, 768, 12, 12, 64, 3072, VOCAB, True, 1e4, 8192), (formats.Q4_0, formats.Q6_K)
    ),
    "random 0.12B, 32 layers": (Shape(32, 512, 8, 2, 64, 1536, VOCAB, True, 1e4, 8192), (formats.Q4_0, formats.Q8_0)),
    "random 0.23B": (
        Shape(12, 1024, 16, 4, 64, 4096, VOCAB, True, 1e4, 8192), (formats.Q8_0, formats.BF16, formats.Q4_K)
    ),
    "random 0.59B": (Shape(8, 2048, 32, 8, 64, 8192, VOCAB, True, 1e4, 8192), (formats.Q4_0,)),
    "random, shape of Llama 3.2 1B": (SHAPES["1b"], (formats.Q4_0, formats.Q8_0)),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Subject:
    """A model that is measured. shape: what models of several formats share."""

    name: str
    shape: str
    format: str
    path: Path


@dataclass(frozen=True, slots=True)
class Point:
    """A time of a subject, the median of the rounds. spread: highest by lowest round."""

    subject: Subject
    kind: str
    batch: int
    tokens: int
    spread: float
    observation: Observation


def subjects(names: Sequence[str], folder: Path) -> list[Subject]:
    """Those named; else the default model and random ones, which are written unless they are there."""
    chosen = [_subject(name, name) for name in names or [DEFAULT_MODEL]]
    if names:
        return chosen
    for shape, (numbers, kinds) in RANDOM.items():
        for fmt in kinds:
            path = folder / f"{shape.replace(' ', '-').replace(',', '')}-{fmt.name}.gguf"
            if not path.exists():
                write_model(shape, numbers, fmt, path)
            chosen.append(Subject(f"{shape}, {fmt.name}", shape, fmt.name, path))
    return chosen


def _subject(name: str, shape: str) -> Subject:
    path = resolve(name, from_environment()).path
    if describe(str(path)).stored is None:
        raise SystemExit(f"{name} holds no weights; give a GGUF or safetensors file")
    return Subject(name, shape, _format_of(path), path)


def _format_of(path: Path) -> str:
    """The format of most of a file's bytes."""
    checkpoint = open_checkpoint(path)
    try:
        sizes: Counter[str] = Counter()
        for weight in load_weights(checkpoint, model_spec(checkpoint)).matrices.values():
            for part in weight.parts:
                sizes[part.tensor.fmt.name] += part.tensor.data.nbytes
        return sizes.most_common(1)[0][0]
    finally:
        checkpoint.close()


def wanted_of(subject: Subject, grid: Sequence[tuple[int, int]], lengths: Sequence[int]) -> Wanted:
    described = describe(str(subject.path))
    model = described.model
    kept = tuple(n for n in lengths if n <= model.context_len and prefill_flops(model, n) <= MOST_OPERATIONS)
    # Constants are of a cache in 16 bits; beside floats the engine takes integers by itself.
    is_quantised = described.stored is not None and described.stored.maths == "int8"
    return Wanted(subject.name, subject.path, tuple(grid), kept, "bf16" if is_quantised else "int16")


def machine_of(times: Sequence[Taken], now: Hardware, model: str | None = None) -> Hardware:
    """`now` with the median of the speeds measured around each of the model's turns, or of all of them."""
    times = [t for t in times if model in {None, t.model}]
    of = {what: [t.seconds for t in times if t.kind == what] for what in ("bytes_per_s", *now.flops)}
    if not all(of.values()):
        return now
    middle = {what: statistics.median(values) for what, values in of.items()}
    return replace(now, bytes_per_s=middle["bytes_per_s"], flops={what: middle[what] for what in now.flops})


def here() -> Hardware:
    return this_machine(available_bytes() or 0, today=datetime.now(tz=UTC).date())


def speeds_now(model: str) -> list[Taken]:
    now = here()
    rates = {"bytes_per_s": now.bytes_per_s, **now.flops}
    return [Taken(model, what, 0, 0, rate) for what, rate in rates.items()]


def points_of(chosen: Sequence[Subject], times: Sequence[Taken], now: Hardware) -> list[Point]:
    found: list[Point] = []
    for subject in chosen:
        on = machine_of(times, now, subject.name)
        described = describe(str(subject.path))
        of: dict[tuple[str, int, int], list[Taken]] = {}
        for item in times:
            if item.model == subject.name and item.kind in TITLES:
                of.setdefault((item.kind, item.batch, item.tokens), []).append(item)
        for (kind, batch, tokens), taken in of.items():
            # Disturbed ones say something only where there are no others.
            seconds = [t.seconds for t in taken if not t.disturbed] or [t.seconds for t in taken]
            made = _observation(subject, described, on, (kind, batch, tokens), statistics.median(seconds))
            found.append(Point(subject, kind, batch, tokens, max(seconds) / min(seconds), made))
    return found


def _observation(
    subject: Subject, described: Described, on: Hardware, at: tuple[str, int, int], seconds: float
) -> Observation:
    kind, batch, tokens = at
    if described.stored is None:
        raise SystemExit(f"{subject.name} holds no weights; give a GGUF or safetensors file")
    deployment = Deployment(described.model, described.stored, on)
    if kind == "prompt":
        return Observation(prefill_terms(deployment, tokens), seconds, subject.name, "cpu", is_prompt=True)
    terms = decode_terms(deployment, Load(batch, tokens, 0), interleaved=False)
    return Observation(terms, seconds, subject.name, "cpu")


Row = dict[str, object]


def held_out(points: Sequence[Point], kind: str, what: str, key: Callable[[Point], object]) -> list[Row]:
    """Errors of each group of decode steps (or prompts) under the constants of all other points."""
    judged = [p for p in points if p.kind == kind]
    found: list[Row] = []
    for group in sorted({key(p) for p in judged}, key=lambda name: (isinstance(name, str), name)):
        left = [p.observation for p in judged if key(p) == group]
        # A model or a format is left out of both; a batch or a length is one of its own kind.
        kept = [p.observation for p in points if key(p) != group or (what in _OF_KIND and p.kind != kind)]
        try:
            constants = fit_constants(kept)
        except InvalidParameter:
            continue
        if len(left) < len(judged) and constants.interval(is_prompt=kind == "prompt") is not None:
            found.append({"left_out": f"{what} {group}".strip(), **figures(left, constants)})
    return found


_OF_KIND = ("batch", "context", "length")


def figures(left: Sequence[Observation], constants: Constants) -> Row:
    seen, true = predict(left, constants), np.array([item.seconds for item in left])
    low, high = constants.interval(is_prompt=left[0].is_prompt) or (0.0, 0.0)
    inside = (true >= seen * low) & (true <= seen * high)
    error = np.abs(seen / true - 1)
    return {
        "points": len(left),
        "mape": round(float(error.mean()), 4),
        "worst": round(float(error.max()), 4),
        "median_ratio": round(float(np.median(seen / true)), 4),
        "covered": round(float(inside.mean()), 4),
    }


def all_held_out(points: Sequence[Point]) -> dict[str, list[Row]]:
    """Tables by kind of point."""
    shape: Callable[[Point], object] = lambda p: p.subject.shape  # noqa: E731
    fmt: Callable[[Point], object] = lambda p: p.subject.format  # noqa: E731
    both = [("", shape), ("format", fmt)]
    ways = {
        "decode": [*both, ("batch", lambda p: p.batch), ("context", lambda p: p.tokens)],
        "prompt": [*both, ("length", lambda p: p.tokens)],
    }
    return {
        kind: [row for what, key in chosen for row in held_out(points, kind, what, key)]
        for kind, chosen in ways.items()
    }


def table(rows: Sequence[Row]) -> str:
    head = ("left out of the fit", "points", "MAPE", "worst", "median ratio", "within the interval")
    shares = ("mape", "worst", "median_ratio", "covered")
    shown = ("{:.1%}", "{:.1%}", "{:.2f}", "{:.0%}")
    cells = [[form.format(row[name]) for form, name in zip(shown, shares, strict=True)] for row in rows]
    return markdown_table(head, [(f"{r['left_out']}", f"{r['points']}", *c) for r, c in zip(rows, cells, strict=True)])


def measure(chosen: Sequence[Subject], options: argparse.Namespace, into: Path) -> None:
    batches, contexts, lengths = (_numbers(text) for text in (options.batches, options.contexts, options.lengths))
    # The largest batch takes shorter contexts, so that the KV cache stays small beside what a laptop has.
    grid = [(b, c) for c in contexts for b in batches if b * c <= 2 * max(contexts)]
    wanted = [wanted_of(subject, grid, lengths) for subject in chosen]
    for number in range(options.rounds):
        print(f"round {number + 1} of {options.rounds}", flush=True)
        for one in wanted:
            append_times(into, speeds_now(one.model), _report)
            append_times(into, one_turn(one, options.threads), _report)
            append_times(into, speeds_now(one.model), _report)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _report(t: Taken) -> None:
    is_time = t.kind in TITLES
    shown = f"{t.batch} x {t.tokens}: {t.seconds * 1e3:.3f} ms" if is_time else f"{t.seconds / 1e9:.1f} G/s"
    print(f"{t.model}, {t.kind}: {shown}", flush=True)


def write(tables: Mapping[str, Sequence[Row]], points: Sequence[Point], constants: Constants) -> None:
    spread = statistics.median(p.spread for p in points)
    body = (
        f"Measured on {describe_machine()}. The slowest round of a point took {spread:.2f} times its fastest (median)."
    )
    body += "".join(f"\n\n{TITLES[kind]}\n\n{table(rows)}" for kind, rows in tables.items())
    write_section(DOCUMENT, "planner_cpu", body)
    write_shipped("cpu", constants)


TITLES = {"decode": "Decode steps:", "prompt": "Prompts read, to the first token:"}


def main() -> None:
    options = _options()
    begun = os.getloadavg()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(options.folder or made)
        chosen = subjects(options.models, folder)
        kept = options.times or Path(made) / "times.jsonl"
        measure(chosen, options, kept)
        times = read_times(kept)
        now = here()
        on = machine_of(times, now)
        points = points_of(chosen, times, now)
    tables = all_held_out(points)
    for kind, rows in tables.items():
        print(f"{TITLES[kind]}\n\n{table(rows)}\n")
    counts = {kind: sum(p.kind == kind for p in points) for kind in TITLES}
    source = (
        f"fitted to {counts['decode']} decode steps and {counts['prompt']} prompts of this engine on "
        f"{describe_machine()}, {on.as_of}"
    )
    constants = fit_constants([p.observation for p in points], source=source)
    if options.write:
        write(tables, points, constants)
    result = {
        "left_out": tables,
        "bar": BAR,
        "spread_of_rounds": round(statistics.median(p.spread for p in points), 3),
        "load": begun,
        "machine": {"bytes_per_s": on.bytes_per_s, "flops": dict(on.flops)},
        "constants": asdict(constants),
    }
    print(json.dumps(result))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--batches", default="1,2,4,8,16")
    parser.add_argument("--contexts", default="128,1024,4096")
    parser.add_argument("--lengths", default="64,128,512,1024,2048,4096")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--times", type=Path, metavar="FILE", help="keep every time there, and use those it holds")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="keep the random models there")
    parser.add_argument("--write", action="store_true", help="write the tables and the constants")
    return parser.parse_args()


if __name__ == "__main__":
    main()
