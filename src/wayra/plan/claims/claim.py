"""A claim: what a text says, as data, and the CSV files that claims are kept in."""

import csv
import io
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from wayra.base.errors import FileFormatError
from wayra.plan.files import read_text

Check = Literal["arithmetic", "memory", "roofline", "external", "consistency", "measurement", "definition"]
Relation = Literal[
    "equal", "one of", "within", "at most", "at least", "unlike", "significant", "indication", "cannot exist"
]  # fmt: skip
CHECKS: tuple[Check, ...] = (
    "arithmetic", "memory", "roofline", "external", "consistency", "measurement", "definition",
)  # fmt: skip
RELATIONS: tuple[Relation, ...] = (
    "equal", "one of", "within", "at most", "at least", "unlike", "significant", "indication", "cannot exist",
)  # fmt: skip
MAX_FILE_BYTES = 8 << 20
MAX_CLAIMS = 20_000
MAX_CELL = 2_000
REQUIRED = ("id", "subject", "metric", "unit", "check")
RUN_KINDS = ("bench", "eval")
_NUMBER = r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\s*\.\.\s*({_NUMBER})")
_BOUND = re.compile(rf"(<=|>=|<|>)?\s*({_NUMBER})")


@dataclass(frozen=True, slots=True)
class Stated:
    """What a claim states: a number, a range, a bound on a number, or words.

    low, high: the number twice, or the range; None for words. bound: "<", "<=", ">", ">=" or "". text: as written.
    """

    text: str
    low: float | None = None
    high: float | None = None
    bound: str = ""


@dataclass(frozen=True, slots=True)
class Measure:
    """What settles a claim: a figure of a lab's run, "bench gpt-4o@api.openai.com e2e_p95".

    kind: of the run. model: what it measured, by any of the names it goes by. host: of the server, "" for any, or none.
    figure, group: as the run calls them; group "" where only one has the figure.
    """

    kind: str
    model: str
    host: str
    figure: str
    group: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.model}{'@' if self.host else ''}{self.host} {self.figure} {self.group}".rstrip()


@dataclass(frozen=True, slots=True)
class Claim:
    """One row. relation: what the derived value says about the claimed one.

    "equal": they should agree. "one of": the claim quotes one of the published figures exactly. "within": it should
    lie in the range that what is not stated leaves open. "at most": the derived value is a ceiling. "at least": it is a
    need. "unlike": the two must differ. "significant": a derived interval must exclude zero. "indication": the derived
    value is a hint and settles nothing. "cannot exist": the subject does not.
    derivation: an expression of `plan.claims.language`, "" where none is possible. because: what numbers cannot say.
    printed: the derived value that the file itself prints, "" when it prints none. measure: what a run must have
    measured to settle it, None where the file does not say.
    """

    id: str
    seed: str
    subject: str
    metric: str
    stated: Stated
    unit: str
    check: Check
    relation: Relation = "equal"
    derivation: str = ""
    because: str = ""
    printed: str = ""
    measure: Measure | None = None


def stated(text: str) -> Stated:
    """Read a claimed value: "68", "5..10", ">=5000", "<0.1", or words."""
    text = text.strip()
    if found := _RANGE.fullmatch(text):
        low, high = sorted((float(found[1]), float(found[2])))
        return Stated(text, low, high)
    if found := _BOUND.fullmatch(text):
        value = float(found[2])
        return Stated(text, value, value, found[1] or "")
    return Stated(text)


def shipped_claims() -> tuple[Claim, ...]:
    """The quantitative claims of three articles of 2024 to 2026 about Llama models, with our derivations."""
    text = resources.files("wayra.plan").joinpath("data/seed_claims.csv").read_text("utf-8")
    return parse_claims(text, "the shipped claims")


def read_claims(path: Path) -> tuple[Claim, ...]:
    """Claims of a user's CSV file. Raises FileFormatError naming the line and what is wrong with it."""
    return parse_claims(read_text(path, MAX_FILE_BYTES, "list of claims"), path.name)


def parse_claims(text: str, where: str) -> tuple[Claim, ...]:
    """The claims of a CSV text, in order. Raises FileFormatError."""
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = tuple(reader.fieldnames or ())
        _check_columns(columns, where)
        claims: list[Claim] = []
        for row in reader:
            claims.append(_claim(row, f"{where}, line {reader.line_num}"))
            if len(claims) > MAX_CLAIMS:
                raise FileFormatError(f"{where} has more than {MAX_CLAIMS:,} claims; split it")
    except csv.Error as error:
        raise FileFormatError(f"{where}, line {reader.line_num}, is no CSV: {error}") from None
    ids = [claim.id for claim in claims]
    if twice := next((id for id in ids if ids.count(id) > 1), None) if len(set(ids)) < len(ids) else None:
        raise FileFormatError(f"{where} has two claims with the id {twice!r}; ids must differ")
    return tuple(claims)


def _check_columns(columns: tuple[str, ...], where: str) -> None:
    missing = [name for name in REQUIRED if name not in columns]
    if "claimed" not in columns and "claimed_value" not in columns:
        missing.append("claimed")
    if missing:
        seen = ", ".join(columns) or "none"
        raise FileFormatError(f"{where} lacks the columns {', '.join(missing)}; it has {seen[:200]}")


def _claim(row: dict[str | None, str | None], place: str) -> Claim:
    if None in row:
        raise FileFormatError(f"{place} has more cells than there are columns; quote cells that contain commas")
    cells = {key: (value or "").strip() for key, value in row.items() if key is not None}
    if long := next((key for key, value in cells.items() if len(value) > MAX_CELL), None):
        raise FileFormatError(f"{place}: {long!r} has more than {MAX_CELL:,} characters")
    claimed = cells.get("claimed") or cells.get("claimed_value", "")
    for name, value in (("id", cells["id"]), ("claimed", claimed)):
        if not value:
            raise FileFormatError(f"{place} has an empty {name!r}")
    check, relation = cells["check"], cells.get("relation", "") or "equal"
    if check not in CHECKS:
        raise FileFormatError(f"{place} has the check {check!r}; expected {', '.join(CHECKS)}")
    if relation not in RELATIONS:
        raise FileFormatError(f"{place} has the relation {relation!r}; expected {', '.join(RELATIONS)}")
    return Claim(
        id=cells["id"],
        seed=cells.get("seed", ""),
        subject=cells["subject"],
        metric=cells["metric"],
        stated=stated(claimed),
        unit=cells["unit"],
        check=check,
        relation=relation,
        derivation=cells.get("derivation", ""),
        because=cells.get("because", ""),
        printed=cells.get("derived_value", ""),
        measure=_measure(cells.get("measure", ""), place),
    )


def _measure(text: str, place: str) -> Measure | None:
    if not text:
        return None
    kind, *rest = text.split(None, 3)
    if kind not in RUN_KINDS or not 2 <= len(rest) <= 3:
        raise FileFormatError(
            f"{place} has the measure {text[:80]!r}; expected a kind of run ({', '.join(RUN_KINDS)}), a model, "
            'a figure and, where several have it, a group, like "bench smollm2 rate tg128"'
        )
    model, _, host = rest[0].partition("@")
    return Measure(kind, model, host, *rest[1:])
