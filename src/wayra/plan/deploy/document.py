"""Options of a plan as they are read back from its JSON, checked: the file may have been edited or made up."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, cast

from wayra.base.errors import FileFormatError, InvalidParameter
from wayra.plan.catalogue import candidates
from wayra.plan.hardware import HERE, KINDS, hardware
from wayra.plan.options import Place
from wayra.plan.stored import stored_as

MAX_BYTES = 64 << 20
_NOTHING = "clients talk to the provider with a key of yours, there is nothing to set up"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_WHOLE: Mapping[str, tuple[int, int]] = {
    "gpus": (1, 1024), "machines": (1, 100_000), "cores": (0, 4096), "batch": (1, 1 << 16), "context": (1, 1 << 30),
}  # fmt: skip
_NUMBERS: Mapping[str, tuple[float, float]] = {
    "weights_bytes": (1, 1e15), "kv_bytes": (1, 1e15), "runtime_bytes": (0, 1e13),
    "requests_per_s": (1e-12, 1e9), "mean_requests_per_s": (0, 1e9),
}  # fmt: skip


def place_in_plan(text: str, option: str, where: str) -> tuple[str, Place]:
    """Label and place of an option in what `wayra plan --json` printed. option: "3", or "3.1" for a part of a hybrid.

    Raises: FileFormatError when the text is no plan; InvalidParameter when the option is none that can be set up.
    """
    rows = _rows(_plan(text, where).get("options"), f"{where}: options")
    whole, _, part = option.partition(".")
    row = _numbered(rows, whole, "option", rows)
    if part and not row.get("parts"):
        raise InvalidParameter(f"option {whole} has no parts; name it alone")
    if part:
        row = _numbered(_rows(row.get("parts"), f"{where}: parts of option {whole}"), part, "part", rows)
    label = _one_line(row.get("label", ""))
    if row.get("place") is None:
        raise InvalidParameter(_nothing_to_set_up(option, label, row, rows))
    place = row["place"]
    if not isinstance(place, dict):
        raise FileFormatError(f"{where}: the place of option {option} is no object; expected one, as wayra plan prints")
    return label, _place(cast(dict[str, object], place), f"{where}, option {option}")


def _one_line(label: object) -> str:
    """A label as it may stand in a comment of a manifest or a script: whatever it holds, it cannot end the comment."""
    return "".join(letter for letter in " ".join(str(label).split()) if letter.isprintable())[:200]


def _plan(text: str, where: str) -> Mapping[str, object]:
    if len(text) > MAX_BYTES:
        raise FileFormatError(f"{where} has more than {MAX_BYTES:,} characters; it is no plan")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{where} is no JSON: {str(error)[:120]}; give what wayra plan --json prints") from error
    if not isinstance(document, dict) or "options" not in document:
        raise FileFormatError(f"{where} has no options; give what wayra plan --json prints, or a workload file")
    return cast(dict[str, object], document)


def _rows(found: object, where: str) -> list[dict[str, object]]:
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in cast(list[object], found)):
        raise FileFormatError(f"{where} is no list of objects")
    return cast(list[dict[str, object]], found)


def _numbered(
    rows: Sequence[dict[str, object]], text: str, what: str, options: Sequence[dict[str, object]]
) -> dict[str, object]:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= len(rows)):
        raise InvalidParameter(f"there is no {what} {text[:20]!r}; there are {len(rows)}{_able(options)}")
    return rows[int(text) - 1]


def _nothing_to_set_up(
    option: str, label: str, row: Mapping[str, object], options: Sequence[Mapping[str, object]]
) -> str:
    if row.get("parts"):
        parts = _rows(row["parts"], "the parts of the option")
        able = [f"{option}.{number}" for number, part in enumerate(parts, start=1) if part.get("place") is not None]
        if able:
            return f"option {option} is a hybrid; name a part of it that is on hardware: {', '.join(able)}"
        return f"option {option} is made of APIs alone, {label}: {_NOTHING}{_able(options)}"
    if row.get("kind") == "api":
        return f"option {option} is {label}: {_NOTHING}{_able(options)}"
    return f"option {option} does not say what sets it up; make the plan again with this version{_able(options)}"


def _able(options: Sequence[Mapping[str, object]]) -> str:
    able = [str(i) for i, row in enumerate(options, start=1) if row.get("place") is not None]
    return f"; on hardware: {', '.join(able[:12])}" if able else "; none of the plan is on hardware"


def _place(row: Mapping[str, object], where: str) -> Place:
    if missing := [field.name for field in fields(Place) if field.name not in row]:
        raise FileFormatError(f"{where}: the place lacks {missing[0]}; make the plan again with this version")
    texts = {name: row[name] for name in ("model", "format", "hardware", "hardware_kind")}
    for name, text in texts.items():
        if not isinstance(text, str) or not _NAME.fullmatch(text):
            raise FileFormatError(f"{where}: {name} is {str(text)[:40]!r}; expected a name")
    named = cast(dict[str, str], texts)
    if named["hardware_kind"] not in KINDS:
        raise FileFormatError(f"{where}: hardware_kind is {named['hardware_kind']!r}; expected {', '.join(KINDS)}")
    candidates((named["model"],))
    if named["hardware"] != HERE:
        hardware(named["hardware"])
    stored_as(named["format"])
    whole = {name: int(_number(row, name, *limits, where, is_whole=True)) for name, limits in _WHOLE.items()}
    numbers = {name: _number(row, name, *limits, where) for name, limits in _NUMBERS.items()}
    made: dict[str, Any] = {**named, **whole, **numbers}
    return Place(**made)


def _number(
    row: Mapping[str, object], name: str, low: float, high: float, where: str, *, is_whole: bool = False
) -> float:
    value = row[name]
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or (is_whole and not isinstance(value, int)) or not low <= cast(float, value) <= high:
        raise FileFormatError(f"{where}: {name} is {str(value)[:40]!r}; expected {low:g} to {high:g}")
    return float(cast(float, value))
