"""Constants of the roofline on disk: those shipped for each class of hardware, and those a user fitted."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path

from wayra.base.errors import FileFormatError, InvalidParameter
from wayra.plan.files import read_text
from wayra.plan.hardware import KINDS
from wayra.plan.roofline import Constants

SHARES = ("bandwidth_share", "compute_share")
OF_STEPS = ("kv_share", "rows_share")
OPTIONAL_SHARES = (*OF_STEPS, "attention_share", "wait_share")
OPTIONAL_INTERVALS = {"prompts": ("prompt_low", "prompt_high"), "first tokens": ("first_low", "first_high")}
OPTIONAL = (*OPTIONAL_SHARES, "first_token_s", *(name for ends in OPTIONAL_INTERVALS.values() for name in ends))
OF_PROMPTS = tuple(name for name in OPTIONAL if name not in OF_STEPS)
TIMES = ("layer_s", "sum_s", "sequence_s")
MAX_FILE_BYTES = 1 << 20


@lru_cache(maxsize=8)
def default_constants(kind: str) -> Constants:
    """Those shipped for "gpu", "unified" or "cpu"."""
    text = resources.files("wayra.plan").joinpath("data/constants.toml").read_text("utf-8")
    document = tomllib.loads(text)
    if kind not in document:
        raise InvalidParameter(f"there are no constants for {kind!r}; known: {', '.join(document)}")
    return replace(_checked(document[kind], "constants.toml"), kind=kind)


def read_constants(path: Path) -> Constants:
    """What `write_constants` wrote. Raises FileFormatError saying what is wrong with it."""
    text = read_text(path, MAX_FILE_BYTES, "file of constants, as wayra calibrate writes it")
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path} is no TOML: {str(error)[:120]}") from error
    return _checked(document, path.name)


def constants_for(constants: Constants, kind: str) -> Constants:
    """The same, if they are for this kind of hardware or for none in particular. Raises InvalidParameter otherwise."""
    if constants.kind not in ("", kind):
        raise InvalidParameter(
            f"these constants are of hardware of the kind {constants.kind}, wanted are those of {kind}"
        )
    return constants


def write_constants(path: Path, constants: Constants) -> None:
    """Replaces the file. Raises InvalidParameter when it cannot be written."""
    try:
        path.write_text(as_toml(constants), "utf-8")
    except OSError as error:
        raise InvalidParameter(f"{path} cannot be written: {error.strerror}") from error


def as_toml(constants: Constants) -> str:
    lines: list[str] = []
    for field in fields(Constants):
        value = getattr(constants, field.name)
        if field.name in OPTIONAL and not value:
            continue
        shown = '"' + value.replace("\\", "/").replace('"', "'") + '"' if isinstance(value, str) else repr(float(value))
        lines.append(f"{field.name} = {shown}")
    return "\n".join(lines) + "\n"


def _checked(row: Mapping[str, object], where: str) -> Constants:
    numbers: dict[str, float] = {}
    for name in (*SHARES, *TIMES, "low", "high", *OPTIONAL):
        if name not in row and name not in OPTIONAL:
            raise FileFormatError(f"{where} lacks {name}; expected a file that wayra calibrate wrote")
        value = row.get(name, 0.0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise FileFormatError(f"{where}: {name} is {value!r}; expected a number")
        numbers[name] = float(value)
    for name in SHARES:
        if not 0 < numbers[name] <= 1:
            raise FileFormatError(f"{where}: {name} is {numbers[name]:g}; expected more than 0 and at most 1")
    for name in OPTIONAL_SHARES:
        if not 0 <= numbers[name] <= 1:
            raise FileFormatError(f"{where}: {name} is {numbers[name]:g}; expected 0 (for none of its own) to 1")
    for name in (*TIMES, "first_token_s"):
        if not 0 <= numbers[name] <= 10:
            raise FileFormatError(f"{where}: {name} is {numbers[name]:g}; expected 0 to 10 seconds")
    if (numbers["low"] or numbers["high"]) and not 0 < numbers["low"] <= 1 <= numbers["high"]:
        raise FileFormatError(f"{where}: the interval {numbers['low']:g} to {numbers['high']:g} must hold 1")
    for what, ends in OPTIONAL_INTERVALS.items():
        low, high = (numbers[name] for name in ends)
        if (low or high) and not 0 < low <= 1 <= high:
            raise FileFormatError(f"{where}: the interval of {what} {low:g} to {high:g} must hold 1")
    kind = str(row.get("kind", ""))
    if kind not in ("", *KINDS):
        raise FileFormatError(f"{where}: kind is {kind[:40]!r}; expected one of {', '.join(KINDS)}")
    return Constants(**numbers, source=str(row.get("source", "")), kind=kind)
