"""`wayra calibrate`: fit the planner's constants to measured runs."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click
import numpy as np

from wayra.cli.output import emit, json_option, print_line, printable
from wayra.llm.memory import available_bytes
from wayra.plan.calibration import Observation, fit_constants, predict
from wayra.plan.constants import as_toml, write_constants
from wayra.plan.hardware import this_machine
from wayra.plan.measurements import COLUMNS, read_measurements
from wayra.plan.roofline import Constants

EPILOG = f"""\b
Columns: {", ".join(COLUMNS[:4])},
         {", ".join(COLUMNS[4:])}
\b
Examples:
  wayra calibrate runs.csv --out mine.toml
  wayra fit llama3.1:8b --gpu h100 --constants mine.toml
"""


@click.command(epilog=EPILOG)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write the constants here, as TOML.")
@json_option
def calibrate(runs: tuple[Path, ...], out: Path | None, as_json: bool) -> None:
    """Fit five constants to measured times of output tokens: RUNS are CSV files, one row a run.

    Prints the constants, the mean error on these runs, and the interval that holds nine of ten runs left out of a fit.
    Hardware "cpu" is this machine.
    """
    today = datetime.now(tz=UTC).date()
    machine = this_machine(available_bytes() or 0, today=today)
    observations = [item for path in runs for item in read_measurements(path, machine)]
    source = f"fitted to {len(observations)} runs of {', '.join(path.name for path in runs)}, {today.isoformat()}"
    found = fit_constants(observations, source=source)
    if out is not None:
        write_constants(out, found)
    error = _mean_error(observations, found)
    document = {**asdict(found), "runs": len(observations), "mean_error": error}
    emit(document, as_json, lambda: _print(found, error, len(observations)))


def _mean_error(observations: list[Observation], found: Constants) -> float:
    true = np.array([item.seconds for item in observations])
    return float(np.mean(np.abs(predict(observations, found) / true - 1)))


def _print(found: Constants, error: float, count: int) -> None:
    for line in as_toml(found).splitlines():
        print_line(printable(line))
    print_line(f"mean error on the {count} runs it was fitted to: {error:.1%}")
    print_line(f"nine of ten runs left out lie within {found.low:.2f} to {found.high:.2f} of the prediction")
