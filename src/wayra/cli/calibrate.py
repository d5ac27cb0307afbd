"""`wayra calibrate`: fit the planner's constants of speed to measured runs."""

from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import click
import numpy as np

from wayra.base.settings import Settings
from wayra.cli.output import emit, json_option, print_line, printable
from wayra.llm.memory import available_bytes
from wayra.plan.calibration import Observation, fit_constants, predict
from wayra.plan.constants import as_toml, write_constants
from wayra.plan.hardware import this_machine
from wayra.plan.measurements import COLUMNS, FIRST_TOKEN, Machine, Setup, observed, observed_prompt, read_measurements
from wayra.plan.roofline import Constants

EPILOG = f"""\b
Columns of a CSV: {", ".join(COLUMNS[:4])},
                  {", ".join(COLUMNS[4:])}
and, if known, on CPUs with one request at a time: {FIRST_TOKEN}
\b
Examples:
  wayra bench smollm2 --concurrency 1,2,3,4,6,8,12,16 && wayra calibrate latest --out mine.toml
  wayra bench smollm2 --pp 64,256,1024,4096 && wayra calibrate 20261121T101500-bench-a1b2c3 latest --out mine.toml
  wayra calibrate runs.csv --out mine.toml
  wayra calibrate 20261121T101500-bench-a1b2c3 --model llama-3.1-8b --format fp8 --hardware h100
  wayra plan work.toml --constants mine.toml
"""


MOST_SCATTER = 4
"""Upper by lower end of an interval: of engines of all kinds on all GPUs it is 1.7."""


@click.command(epilog=EPILOG)
@click.argument("runs", nargs=-1, required=True)
@click.option("--model", metavar="NAME", help="What a measured server served: a name or a file.")
@click.option("--format", "fmt", metavar="NAME", help="How its weights were stored.  [default: the file's own]")
@click.option("--hardware", metavar="NAME", help="What it ran on, e.g. h100; cpu is this machine.  [default: cpu]")
@click.option("--gpus", type=click.IntRange(1, 1024), default=1, show_default=True, help="How many cards.")
@click.option("--kv", default="bf16", show_default=True, metavar="TYPE", help="Type of its KV cache.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write the constants here, as TOML.")
@json_option
@click.pass_obj
def calibrate(settings: Settings, runs: tuple[str, ...], out: Path | None, as_json: bool, **flags: Any) -> None:
    """Fit the constants of the planner to measured times of output tokens, and on a CPU of prompts.

    RUNS are recorded runs of `wayra bench` (an id, the beginning of one, or latest), or CSV files with one row a run. A
    run of a model here says itself what it measured; for a server, name the model and the hardware.

    Prints the constants, the mean error on these runs, and the interval that holds nine of ten runs left out of a fit.
    Prompts count where they were read one at a time, and need several lengths; without them, the shipped constants of
    prompts are kept.
    """
    today = datetime.now(tz=UTC).date()
    machine = cache(lambda: this_machine(available_bytes() or 0, today=today))
    stated = Setup(flags["model"] or "", flags["fmt"], flags["hardware"] or "", flags["gpus"], flags["kv"])
    observations = [item for name in runs for item in _observations(settings, name, stated, machine)]
    source = (
        f"fitted to {len(observations)} times of {', '.join(Path(name).name for name in runs)}, {today.isoformat()}"
    )
    found = fit_constants(observations, source=source)
    if out is not None:
        write_constants(out, found)
    errors = {
        what: _mean_error(chosen, found)
        for what, is_prompt in (("tokens", False), ("prompts", True))
        if (chosen := [item for item in observations if item.is_prompt is is_prompt])
    }
    document = {**asdict(found), "runs": len(observations), "mean_error": errors["tokens"], "mean_errors": errors}
    notes = _notes(found)
    emit({**document, "notes": notes}, as_json, lambda: _print(found, errors, notes))


def _observations(settings: Settings, name: str, stated: Setup, machine: Machine) -> list[Observation]:
    if name.endswith(".csv"):
        return list(read_measurements(Path(name), machine))
    from wayra.cli.calibrate_runs import check_useful, loads_of, prompts_of, setup_of
    from wayra.lab.runs import RunStore

    run = RunStore(settings).open(name)
    setup = setup_of(run, settings, stated)
    found = [observed(setup, load, seconds, machine) for load, seconds in loads_of(run)]
    for tokens, seconds in prompts_of(run):
        found += observed_prompt(setup, tokens, seconds, machine)
    check_useful(run, found)
    return found


def _mean_error(observations: list[Observation], found: Constants) -> float:
    true = np.array([item.seconds for item in observations])
    return float(np.mean(np.abs(predict(observations, found) / true - 1)))


def _notes(found: Constants) -> list[str]:
    """What is odd about a fit: an interval this wide comes of times that something else disturbed."""
    return [
        f"times of {what} scatter over {high / low:.0f} times around the fit; measure them again on a quiet machine"
        for what, low, high in (
            ("tokens", found.low, found.high),
            ("prompts", found.prompt_low or 1, found.prompt_high or 1),
        )
        if high > MOST_SCATTER * low
    ]


def _print(found: Constants, errors: dict[str, float], notes: list[str]) -> None:
    for line in as_toml(found).splitlines():
        print_line(printable(line))
    for what, error in errors.items():
        print_line(f"mean error on the measured times of {what}: {error:.1%}")
    print_line(f"nine of ten times left out of a fit lie within {found.low:.2f} to {found.high:.2f} of the prediction")
    if "prompts" in errors and (prompts := found.interval(is_prompt=True)):
        print_line(f"those of prompts within {prompts[0]:.2f} to {prompts[1]:.2f}")
    for text in notes:
        print_line(f"note: {text}")
