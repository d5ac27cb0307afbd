"""Measured times to calibrate with, from a simple CSV: one row a run."""

import csv
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from wayra.base.errors import FileFormatError
from wayra.plan.calibration import Observation
from wayra.plan.files import read_text
from wayra.plan.hardware import HERE, Hardware, hardware
from wayra.plan.reading import describe
from wayra.plan.roofline import Deployment, Load, decode_terms, prefill_terms
from wayra.plan.stored import kv_bits, stored_as

COLUMNS = ("model", "format", "hardware", "gpus", "batch", "input_len", "output_len", "seconds_per_token")
FIRST_TOKEN = "seconds_to_first_token"
MAX_ROWS = 100_000
MAX_FILE_BYTES = 32 << 20
Machine = Callable[[], Hardware]
"""This machine, whose speeds are measured when they are asked for."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What was measured. model: a name or a path. format None: the file's own. hardware HERE: this machine."""

    model: str
    format: str | None = None
    hardware: str = HERE
    gpus: int = 1
    kv: str = "bf16"


def read_measurements(path: Path, machine: Machine) -> tuple[Observation, ...]:
    """Rows of a CSV with COLUMNS (and "kv", by default bf16). hardware "cpu" is `machine()`; format "" the file's own.

    seconds_per_token: the mean time between two tokens of one answer while `batch` requests are served.
    FIRST_TOKEN, if there: of a request alone (batch 1) on a CPU, the time of reading its prompt.
    Raises: FileFormatError naming the line, and whatever an unknown model, hardware or format raises.
    """
    text = read_text(path, MAX_FILE_BYTES, "list of measured runs")
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""))
        if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
            raise FileFormatError(f"{path.name} lacks the column {missing[0]}; expected {', '.join(COLUMNS)}")
        rows = [row for row, _ in zip(reader, range(MAX_ROWS), strict=False)]
    except csv.Error as error:
        raise FileFormatError(f"{path} is no CSV: {error}") from error
    found = (_observations(row, f"{path.name}, line {i}", machine) for i, row in enumerate(rows, start=2))
    return tuple(item for items in found for item in items)


def _observations(row: Mapping[str, str | None], where: str, machine: Machine) -> list[Observation]:
    fmt = (row["format"] or "").strip()
    setup = Setup(
        model=(row["model"] or "").strip(),
        format=fmt or None,
        hardware=(row["hardware"] or "").strip(),
        gpus=int(_number(row, "gpus", where)),
        kv=(row.get("kv") or "bf16").strip(),
    )
    load = Load(_number(row, "batch", where), _number(row, "input_len", where), _number(row, "output_len", where))
    found = [observed(setup, load, _number(row, "seconds_per_token", where), machine)]
    if load.batch == 1 and (row.get(FIRST_TOKEN) or "").strip():
        found += observed_prompt(setup, load.input_len, _number(row, FIRST_TOKEN, where), machine)
    return found


def observed(setup: Setup, load: Load, seconds_per_token: float, machine: Machine) -> Observation:
    """A measured time with its terms. Raises whatever an unknown model, hardware or format raises."""
    deployment, group = _deployment(setup, machine)
    return Observation(decode_terms(deployment, load), seconds_per_token, group, deployment.hardware.kind)


def observed_prompt(setup: Setup, tokens: float, seconds: float, machine: Machine) -> list[Observation]:
    """The time of reading a prompt with nothing beside it; none where there are no constants to be had from it: on
    cards, whose servers take a time of their own. Raises as `observed`.
    """
    deployment, group = _deployment(setup, machine)
    if deployment.hardware.kind != "cpu":
        return []
    return [Observation(prefill_terms(deployment, tokens), seconds, group, "cpu", is_prompt=True)]


def _deployment(setup: Setup, machine: Machine) -> tuple[Deployment, str]:
    """What was measured, and what it is left out with when intervals are made."""
    is_here = setup.hardware == HERE
    on = machine() if is_here else hardware(setup.hardware)
    described = describe(setup.model)
    stored = stored_as(setup.format) if setup.format else described.stored or stored_as("bf16")
    deployment = Deployment(described.model, stored, on, setup.gpus, kv_bits(setup.kv))
    return deployment, described.model.name if is_here else on.name


def _number(row: Mapping[str, str | None], column: str, where: str) -> float:
    text = (row[column] or "").strip()
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise FileFormatError(f"{where}: {column} is {text[:40]!r}; expected a number above 0")
    return value
