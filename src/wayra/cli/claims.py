"""`wayra claims`: claims about models, hardware and money, each derived again and judged."""

from datetime import UTC, date, datetime
from pathlib import Path

import click

from wayra.cli.output import emit, json_option, print_line, printable
from wayra.plan.claims.check import Checked, check_claims, count, read_measurements, with_shipped_derivations
from wayra.plan.claims.claim import read_claims, shipped_claims
from wayra.plan.claims.verdict import Verdict
from wayra.plan.quantity import explain, number

EPILOG = """\b
Examples:
  wayra claims                              the 245 claims of three articles, shipped with wayra
  wayra claims --verdict off --explain      those that are off, with every number on the way
  wayra claims mine.csv                     your own (columns: id, subject, metric, claimed, unit, check, derivation)
  wayra claims --measure run.json           judge what was measured in a lab's run
"""

VERDICTS = click.Choice([verdict.value for verdict in Verdict])


@click.command(epilog=EPILOG)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--id", "ids", multiple=True, metavar="ID", help="Only this claim; may be given several times.")
@click.option("--verdict", "verdicts", multiple=True, type=VERDICTS, help="Only claims that came out so.")
@click.option("--explain", "with_steps", is_flag=True, help="Show each number on the way with its source.")
@click.option(
    "--measure",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="A JSON list of a lab run's results: claim, value, unit, run.",
)
@json_option
def claims(
    file: Path | None,
    ids: tuple[str, ...],
    verdicts: tuple[str, ...],
    with_steps: bool,
    measure: Path | None,
    as_json: bool,
) -> None:
    """Derive claims again and say which hold: arithmetic, memory, rooflines, price lists, published figures.

    FILE is a CSV of claims; without it, those shipped with wayra. What only a measurement can settle is "not measured"
    until a run is given, with the command that would measure it.
    """
    read = shipped_claims() if file is None else with_shipped_derivations(read_claims(file))
    known = {claim.id for claim in read}
    for name in ids:
        if name not in known:
            raise click.UsageError(f"there is no claim {name!r}; ids run from {min(known)} to {max(known)}")
    measured = read_measurements(measure) if measure is not None else {}
    for name in measured:
        if name not in known:
            raise click.UsageError(f"the run measures {name!r}, which is no claim of the file")
    results = check_claims(read, prices_of=_today(), measured=measured)
    chosen = [
        result
        for result in results
        if (not ids or result.claim.id in ids) and (not verdicts or result.judgement.verdict in verdicts)
    ]
    emit([_as_row(result) for result in chosen], as_json, lambda: _print(chosen, with_steps))


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
