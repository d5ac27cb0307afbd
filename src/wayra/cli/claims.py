"""`wayra claims`: claims about models, hardware and money, each derived again and judged."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click

from wayra.base.errors import InvalidParameter
from wayra.base.settings import Settings
from wayra.cli.output import emit, json_option, print_line, printable
from wayra.plan.claims.check import (
    Checked,
    Measurement,
    check_claims,
    count,
    read_measurements,
    with_shipped_derivations,
)
from wayra.plan.claims.claim import Claim, read_claims, shipped_claims
from wayra.plan.claims.verdict import Verdict
from wayra.plan.quantity import explain, number

EPILOG = """\b
Examples:
  wayra claims                              the 245 claims of three articles, shipped with wayra
  wayra claims --verdict off --explain      those that are off, with every number on the way
  wayra claims mine.csv                     your own (columns: id, subject, metric, claimed, unit, check, derivation)
  wayra bench smollm2 && wayra claims mine.csv --measure latest     judge by what a run of the lab measured
\b
Columns of a CSV: id, subject, metric, claimed, unit, check; and, if wanted, derivation, relation, because, and
measure: the run that settles it, as KIND MODEL[@HOST] FIGURE [GROUP], e.g. "bench smollm2 rate tg128".
"""

VERDICTS = click.Choice([verdict.value for verdict in Verdict])


@click.command(epilog=EPILOG)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--id", "ids", multiple=True, metavar="ID", help="Only this claim; may be given several times.")
@click.option("--verdict", "verdicts", multiple=True, type=VERDICTS, help="Only claims that came out so.")
@click.option("--explain", "with_steps", is_flag=True, help="Show each number on the way with its source.")
@click.option(
    "--measure",
    "runs",
    multiple=True,
    metavar="RUN",
    help="A run of the lab (its id, or latest), or a JSON list of results: claim, value, unit, run.",
)
@json_option
@click.pass_obj
def claims(settings: Settings, file: Path | None, as_json: bool, **flags: Any) -> None:
    """Derive claims again and say which hold: arithmetic, memory, rooflines, price lists, published figures.

    FILE is a CSV of claims; without it, those shipped with wayra. What only a measurement can settle is "not measured"
    until a run is given, with the command that would measure it. A claim that could not be derived, or measured by the
    runs given, is told, and the command fails.
    """
    ids, verdicts = flags["ids"], flags["verdicts"]
    read = shipped_claims() if file is None else with_shipped_derivations(read_claims(file))
    known = {claim.id for claim in read}
    for name in ids:
        if name not in known:
            raise click.UsageError(f"there is no claim {name!r}; ids run from {min(known)} to {max(known)}")
    measured: dict[str, Measurement] = {}
    for run in flags["runs"]:
        found = _measured(settings, run, read)
        # Another run may have what this one lacks.
        measured |= {name: one for name, one in found.items() if name not in measured or not one.problem}
    results = check_claims(read, prices_of=_today(), measured=measured)
    chosen = [
        result
        for result in results
        if (not ids or result.claim.id in ids) and (not verdicts or result.judgement.verdict in verdicts)
    ]
    emit([_as_row(result) for result in chosen], as_json, lambda: _print(chosen, flags["with_steps"]))
    _tell_problems(chosen)


def _measured(settings: Settings, name: str, read: Sequence[Claim]) -> dict[str, Measurement]:
    """What a run, or a list of results, says to claims. Raises UsageError for results of claims that are none."""
    if not (name.endswith(".json") or "/" in name or Path(name).exists()):
        from wayra.cli.claims_runs import measured_in
        from wayra.lab.runs import RunStore

        return measured_in(RunStore(settings).open(name), read)
    found = read_measurements(Path(name))
    known = {claim.id for claim in read}
    for claim in found:
        if claim not in known:
            raise click.UsageError(f"{Path(name).name} measures {claim!r}, which is no claim of the file")
    return found


def _tell_problems(results: Sequence[Checked]) -> None:
    """Raises InvalidParameter when claims could not be derived or measured, so that nobody takes them for judged."""
    failed = [result for result in results if result.problem]
    if not failed:
        return
    first = failed[0]
    more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
    raise InvalidParameter(
        f"{len(failed)} of {len(results)} claims could not be judged: {first.claim.id} ({first.problem}){more}"
    )


def _today() -> date:
    return datetime.now(tz=UTC).date()


def _as_row(result: Checked) -> dict[str, object]:
    claim, derived = result.claim, result.derived
    return {
        "id": claim.id,
        "subject": claim.subject,
        "metric": claim.metric,
        "claimed": claim.stated.text,
        "unit": claim.unit,
        "check": claim.check,
        "relation": claim.relation,
        "derivation": claim.derivation,
        "derived_low": derived.low.value if derived is not None and derived.low is not None else None,
        "derived_high": derived.high.value if derived is not None and derived.high is not None else None,
        "derived_words": derived.words.text if derived is not None and derived.words is not None else None,
        "verdict": result.judgement.verdict.value,
        "reason": result.judgement.reason,
        "because": claim.because,
        "problem": result.problem,
        "lab": result.lab,
        "measure": str(claim.measure) if claim.measure is not None else "",
        "disagrees": result.disagrees,
    }


def _print(results: list[Checked], with_steps: bool) -> None:
    for result in results:
        _print_claim(result)
        if with_steps:
            _print_steps(result)
        print_line()
    counts = ", ".join(f"{found} {verdict}" for verdict, found in count(results).items() if found)
    print_line(f"{len(results)} claims: {counts or 'none'}")


def _print_claim(result: Checked) -> None:
    claim = result.claim
    print_line(printable(f"{claim.id}  {claim.subject}: {claim.metric}"))
    print_line(printable(f"      claimed  {claim.stated.text} {claim.unit}"))
    if result.derived is not None:
        print_line(printable(f"      derived  {derived_text(result)} = {result.derived.expression}"))
    if result.problem:
        print_line(printable(f"      problem  {result.problem}"))
    print_line(printable(f"      verdict  {verdict_text(result)}"))
    if result.lab and result.judgement.verdict is Verdict.UNMEASURED:
        print_line(f"      measure  {result.lab}")
    if result.disagrees:
        print_line(printable(f"      file     {result.disagrees}"))


def derived_text(result: Checked) -> str:
    """What was derived, with its unit; "" when nothing was."""
    derived, unit = result.derived, result.claim.unit
    if derived is None:
        return ""
    if derived.words is not None:
        return derived.words.text
    assert derived.low is not None
    assert derived.high is not None
    low, high = number(derived.low.value), number(derived.high.value)
    return f"{low if low == high else f'{low} to {high}'} {unit}".rstrip()


def verdict_text(result: Checked) -> str:
    """The verdict in a sentence: word, measure, reason."""
    parts = [result.judgement.verdict.value]
    parts += [part for part in (result.judgement.reason, result.claim.because) if part]
    return ": ".join(parts[:2]) + "".join(f"; {part}" for part in parts[2:])


def _print_steps(result: Checked) -> None:
    if result.derived is None or result.derived.low is None or result.derived.high is None:
        return
    ends = (
        [result.derived.low] if result.derived.low == result.derived.high else [result.derived.low, result.derived.high]
    )
    for end in ends:
        for line in explain(end):
            print_line(printable(f"        {line}"))
