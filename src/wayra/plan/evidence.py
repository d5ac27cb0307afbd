"""Facts and benchmark scores with their sources and dates, as shipped; read once, never hard-coded in a derivation."""

import csv
import difflib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType

from wayra.base.errors import FileFormatError, InvalidParameter
from wayra.plan.files import read_text
from wayra.plan.prices.dated import first_day

MAX_FILE_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Fact:
    """Something looked up: a number, a range ("83.4..94.3") or words."""

    key: str
    value: str
    unit: str
    source: str
    as_of: str

    def origin(self) -> str:
        return f"{self.source}, {self.as_of}"


@dataclass(frozen=True, slots=True)
class Score:
    """What a model reached on a benchmark. measured_here: by our lab, not by the model's makers."""

    model: str
    benchmark: str
    setting: str
    value: float
    source: str
    as_of: str
    url: str
    measured_here: bool = False

    def origin(self) -> str:
        setting = f" ({self.setting})" if self.setting else ""
        return f"{'own run: ' if self.measured_here else ''}{self.source}{setting}, {self.as_of}"


def fact(key: str) -> Fact:
    """Raises InvalidParameter for an unknown key, with the nearest ones."""
    facts = _facts()
    if key in facts:
        return facts[key]
    near = ", ".join(difflib.get_close_matches(key, facts, n=3)) or "none"
    raise InvalidParameter(f"no fact is called {key!r}; nearest: {near}")


def scores(model: str | None = None, benchmark: str | None = None) -> tuple[Score, ...]:
    """All published scores, or those of a model or on a benchmark."""
    return tuple(row for row in _scores() if model in (None, row.model) and benchmark in (None, row.benchmark))


def scored_models() -> tuple[str, ...]:
    return tuple(dict.fromkeys(row.model for row in _scores()))


def benchmarks() -> tuple[str, ...]:
    return tuple(dict.fromkeys(row.benchmark for row in _scores()))


def read_scores(path: Path) -> tuple[Score, ...]:
    """Scores of one's own runs: a CSV with model, benchmark, score, source, as_of and, if wanted, setting and url.

    Raises: FileFormatError naming the line.
    """
    text = read_text(path, MAX_FILE_BYTES, "list of scores")
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        missing = {"model", "benchmark", "score", "source", "as_of"} - set(reader.fieldnames or ())
        if missing:
            raise FileFormatError(f"{path.name} lacks the columns {', '.join(sorted(missing))}")
        return tuple(_own_score(row, f"{path.name}, line {reader.line_num}") for row in reader)
    except csv.Error as error:
        raise FileFormatError(f"{path.name} is no CSV: {error}") from None


def _own_score(row: Mapping[str | None, str | None], place: str) -> Score:
    if None in row:
        raise FileFormatError(f"{place} has more cells than there are columns; quote cells that contain commas")
    cells = {key: (value or "").strip() for key, value in row.items() if key is not None}
    try:
        value = float(cells["score"])
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 100:
        raise FileFormatError(f"{place} has the score {cells['score']!r}; expected points from 0 to 100")
    try:
        first_day(cells["as_of"])
    except InvalidParameter as error:
        raise FileFormatError(f"{place}, 'as_of': {error}") from None
    return Score(
        model=cells["model"],
        benchmark=cells["benchmark"],
        setting=cells.get("setting", ""),
        value=value,
        source=cells["source"],
        as_of=cells["as_of"],
        url=cells.get("url", ""),
        measured_here=True,
    )


def _table(name: str) -> list[dict[str, str]]:
    text = resources.files("wayra.plan").joinpath(f"data/{name}").read_text("utf-8")
    return list(csv.DictReader(text.splitlines(), strict=True))


@lru_cache(maxsize=1)
def _facts() -> Mapping[str, Fact]:
    return MappingProxyType({row["key"]: Fact(**row) for row in _table("facts.csv")})


@lru_cache(maxsize=1)
def _scores() -> tuple[Score, ...]:
    return tuple(
        Score(
            row["model"],
            row["benchmark"],
            row["setting"],
            float(row["score"]),
            row["source"],
            row["as_of"],
            row["url"],
        )
        for row in _table("scores.csv")
    )
