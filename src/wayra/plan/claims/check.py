"""Checks a list of claims: derives each, judges it, and compares with what the list itself prints as derived."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from types import MappingProxyType

from wayra.base.errors import FileFormatError, InvalidParameter, SourceError, UnsupportedModel
from wayra.plan.claims.claim import Claim, Measure, shipped_claims, stated
from wayra.plan.claims.functions import functions
from wayra.plan.claims.language import Derived, Functions, derive
from wayra.plan.claims.verdict import Judgement, Verdict, judge, judge_measured, judge_without_derivation
from wayra.plan.files import read_text
from wayra.plan.quantity import Quantity, given, number

MAX_RUN_BYTES = 8 << 20
MAX_VALUE = 1e18
_FACTORS: Mapping[tuple[str, str], float] = MappingProxyType(
    {("ms", "s"): 1e-3, ("s", "ms"): 1e3, ("", "%"): 100.0, ("", "points"): 100.0}
)
"""From the lab's units to those that claims are in."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A claim with its derivation and verdict.

    problem: why it could not be derived here, "" when it could. lab: how to measure it, "" where none is needed.
    disagrees: how the value printed in the file differs from the derived one, "" when it does not or there is none.
    """

    claim: Claim
    derived: Derived | None
    judgement: Judgement
    problem: str = ""
    lab: str = ""
    disagrees: str = ""


@dataclass(frozen=True, slots=True)
class Measurement:
    """A lab run's result for one claim. run: which, and what it measured on what.

    low, high: its 95 % interval, None where none is known. problem: why there is no value, "" when there is one.
    """

    claim: str
    value: float
    unit: str
    run: str
    low: float | None = None
    high: float | None = None
    problem: str = ""


def check_claims(
    claims: Sequence[Claim], *, prices_of: date, measured: Mapping[str, Measurement] | None = None
) -> tuple[Checked, ...]:
    """Check every claim. Derivations that cannot be done say why and leave the claim undecided."""
    known = {claim.id: claim for claim in claims}
    table = functions(prices_of)
    return tuple(_check(claim, known, table, (measured or {}).get(claim.id)) for claim in claims)


def with_shipped_derivations(claims: Sequence[Claim]) -> tuple[Claim, ...]:
    """Claims of a file without derivations get ours where id, subject and claimed value are those of a shipped one."""
    ours = {claim.id: claim for claim in shipped_claims()}

    def filled(claim: Claim) -> Claim:
        own = ours.get(claim.id)
        if claim.derivation or own is None or (own.subject, own.stated) != (claim.subject, claim.stated):
            return claim
        known = {name: getattr(own, name) for name in ("derivation", "relation", "because", "seed")}
        return replace(claim, **known, measure=claim.measure or own.measure)

    return tuple(filled(claim) for claim in claims)


def read_measurements(path: Path) -> dict[str, Measurement]:
    """A lab run's results: a JSON list of {"claim": id, "value": number, "unit": text, "run": name}.

    Raises: FileFormatError naming what is wrong.
    """
    text = read_text(path, MAX_RUN_BYTES, "list of results")
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError):
        raise FileFormatError(f"{path.name} is no JSON; expected a list of results") from None
    if not isinstance(rows, list):
        raise FileFormatError(
            f"{path.name} is no list; expected [{{'claim': ..., 'value': ..., 'unit': ..., 'run': ...}}]"
        )
    found = [_measurement(row, f"{path.name}, result {number}") for number, row in enumerate(rows, start=1)]
    return {row.claim: row for row in found}


def _measurement(row: object, place: str) -> Measurement:
    if not isinstance(row, dict) or set(row) != {"claim", "value", "unit", "run"}:
        raise FileFormatError(f"{place} needs exactly the keys claim, value, unit and run")
    value = row["value"]
    # The bound comes first: JSON's whole numbers may be too long for a float.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_VALUE:
        raise FileFormatError(f"{place} has the value {str(value)[:20]}; expected a number, at most {MAX_VALUE:g}")
    if not all(isinstance(row[key], str) for key in ("claim", "unit", "run")):
        raise FileFormatError(f"{place}: claim, unit and run must be texts")
    return Measurement(row["claim"], float(value), row["unit"], f"run {row['run']}, as {place} states it")


def _check(claim: Claim, known: Mapping[str, Claim], table: Functions, measured: Measurement | None) -> Checked:
    lab = lab_command(claim) if claim.check == "measurement" else ""
    if measured is not None:
        return _by_measurement(claim, measured, lab)
    if not claim.derivation:
        return Checked(claim, None, judge_without_derivation(claim), lab=lab)
    try:
        derived = derive(claim.derivation, claim.unit, known, table)
    except (InvalidParameter, SourceError, UnsupportedModel) as error:
        return Checked(claim, None, judge_without_derivation(replace(claim, relation="equal")), str(error), lab)
    return Checked(claim, derived, judge(claim, derived), lab=lab, disagrees=_disagreement(claim, derived))


def _by_measurement(claim: Claim, measured: Measurement, lab: str) -> Checked:
    factor = 1.0 if measured.unit == claim.unit else _FACTORS.get((measured.unit, claim.unit))
    problem = measured.problem
    if factor is None and not problem:
        problem = f"{measured.run}: measured in {measured.unit!r}, the claim is in {claim.unit!r}"
    if factor is None or problem:
        return Checked(claim, None, judge_without_derivation(claim), problem, lab)
    ends = (measured.value, measured.value)
    if measured.low is not None and measured.high is not None:
        ends = (measured.low, measured.high)
    low, high = (given("measured", end * factor, claim.unit, measured.run) for end in ends)
    derived = Derived(measured.run, low, high)
    return Checked(claim, derived, judge_measured(replace(claim, relation="equal"), derived), lab=lab)


def lab_command(claim: Claim) -> str:
    """The lab's command that would settle a claim to be measured."""
    if claim.measure is not None:
        return _command_of(claim.measure)
    text = f"{claim.subject} {claim.metric}".lower()
    if "latency" in text and "network" not in text:
        return "wayra bench URL --requests 200"
    if any(word in text for word in ("throughput", "speed")):
        return "wayra bench MODEL-OR-URL --sweep"
    if "humaneval" in text:
        return "wayra eval MODEL --suite humaneval"
    if "ten-task" in text:
        return "wayra compare MODEL-A MODEL-B --suite tasks"
    if "accuracy loss" in text:
        return "wayra compare MODEL MODEL:QUANTISATION"
    return "wayra bench URL"


def _command_of(wanted: Measure) -> str:
    if wanted.kind != "bench":
        return f"wayra {wanted.kind} {wanted.model} --suite {wanted.group.partition('/')[0] or 'SUITE'}"
    if wanted.host:
        return f"wayra bench https://{wanted.host} --model {wanted.model}"
    return f"wayra bench {wanted.model}"


def _disagreement(claim: Claim, derived: Derived) -> str:
    """Of several published figures a file may print the range."""
    printed = stated(claim.printed)
    quoted = claim.relation == "one of" and derived.low is not None
    if quoted and printed.low is not None and printed.high is not None:
        assert derived.low is not None
        if printed.low <= derived.low.value <= printed.high:
            return ""
    return printed_differs(claim.printed, derived)


def printed_differs(printed: str, derived: Derived) -> str:
    """How a value printed with so many digits differs from the derived one, "" when it agrees to its last digit."""
    if not printed:
        return ""
    if derived.words is not None:
        return (
            "" if printed.lower() == derived.words.text.lower() else f"{printed} printed, {derived.words.text} derived"
        )
    said = stated(printed)
    if said.low is None or said.high is None or derived.low is None or derived.high is None:
        return f"{printed} printed, a number derived"
    texts = [part.strip() for part in printed.split("..")]
    pairs = ((texts[0], said.low, derived.low), (texts[-1], said.high, derived.high))
    wrong = [
        f"{text} printed, {number(true.value)} derived" for text, value, true in pairs if not _agrees(text, value, true)
    ]
    return "; ".join(dict.fromkeys(wrong))


def _agrees(text: str, value: float, true: Quantity) -> bool:
    half = 0.5 * 10.0 ** -len(text.partition(".")[2])
    return abs(value - true.value) <= half * (1 + 1e-9)


def count(results: Iterable[Checked]) -> dict[Verdict, int]:
    """How many claims came out how, every verdict listed."""
    counts = dict.fromkeys(Verdict, 0)
    for result in results:
        counts[result.judgement.verdict] += 1
    return counts
