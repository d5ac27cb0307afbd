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
from wayra.plan.roofline import Deployment, Load, decode_terms
from wayra.plan.stored import kv_bits, stored_as

COLUMNS = ("model", "format", "hardware", "gpus", "batch", "input_len", "output_len", "seconds_per_token")
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
    return tuple(_observation(row, f"{path.name}, line {i}", machine) for i, row in enumerate(rows, start=2))


def _observation(row: Mapping[str, str | None], where: str, machine: Machine) -> Observation:
    fmt = (row["format"] or "").strip()
    setup = Setup(
        model=(row["model"] or "").strip(),
        format=fmt or None,
        hardware=(row["hardware"] or "").strip(),
        gpus=int(_number(row, "gpus", where)),
        kv=(row.get("kv") or "bf16").strip(),
    )
    load = Load(_number(row, "batch", where), _number(row, "input_len", where), _number(row, "output_len", where))
    return observed(setup, load, _number(row, "seconds_per_token", where), machine)


def observed(setup: Setup, load: Load, seconds_per_token: float, machine: Machine) -> Observation:
    """A measured time with its terms. Raises whatever an unknown model, hardware or format raises."""
    is_here = setup.hardware == HERE
    on = machine() if is_here else hardware(setup.hardware)
    described = describe(setup.model)
    stored = stored_as(setup.format) if setup.format else described.stored or stored_as("bf16")
    deployment = Deployment(described.model, stored, on, setup.gpus, kv_bits(setup.kv))
    group = described.model.name if is_here else on.name
    return Observation(decode_terms(deployment, load), seconds_per_token, group, on.kind)


def _number(row: Mapping[str, str | None], column: str, where: str) -> float:
    text = (row[column] or "").strip()
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise FileFormatError(f"{where}: {column} is {text[:40]!r}; expected a number above 0")
    return value
