"""What recorded runs of the lab say to claims: for each that asks for one, the figure with its interval and origin."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from wayra.base.errors import InvalidParameter
from wayra.lab.runs import Figure, Run, summarise
from wayra.plan.claims.check import Measurement
from wayra.plan.claims.claim import Claim, Measure

MOST_NAMED = 8


def measured_in(run: Run, claims: Sequence[Claim]) -> dict[str, Measurement]:
    """By id, what a run says to the claims that ask for a run of its kind and model.

    Raises: InvalidParameter when none does; RunError when its records are damaged.
    """
    asked = [(claim, claim.measure) for claim in claims if claim.measure is not None and _is_of(run, claim.measure)]
    if not asked:
        raise InvalidParameter(f"{_described(run)} settles none of these claims: {_wanted(claims)}")
    figures = summarise(run).figures
    return {claim.id: _measurement(run, claim, measure, figures) for claim, measure in asked}


def _is_of(run: Run, measure: Measure) -> bool:
    return run.kind == measure.kind and measure.model in _models(run) and measure.host in ("", _host(run))


def _models(run: Run) -> set[str]:
    """All names that what was measured goes by."""
    config, target = run.config, run.header.facts.get("target")
    found = [config.get(key) for key in ("target", "served_model", "model")]
    if isinstance(target, dict):
        found.append(target.get("model"))
    return {name for name in found if isinstance(name, str) and name}


def _host(run: Run) -> str:
    return urlsplit(str(run.config.get("target", ""))).hostname or ""


def _described(run: Run) -> str:
    models = ", ".join(sorted(_models(run))) or "a model it does not name"
    host, machine = _host(run), run.header.machine
    where = f"at {host}" if host else f"on {machine.get('processor')}, {machine.get('cores')} cores"
    return f"run {run.id} ({run.kind} of {models} {where}, {run.header.started_utc[:10]})"


def _wanted(claims: Sequence[Claim]) -> str:
    wanted = list(dict.fromkeys(str(claim.measure) for claim in claims if claim.measure is not None))
    if not wanted:
        return 'none says what measures it; a column measure does, like "bench smollm2 rate tg128"'
    more = f" and {len(wanted) - MOST_NAMED} more" if len(wanted) > MOST_NAMED else ""
    return f"they ask for {'; '.join(wanted[:MOST_NAMED])}{more}"


def _measurement(run: Run, claim: Claim, measure: Measure, figures: Sequence[Figure]) -> Measurement:
    found = [figure for figure in figures if figure.name == measure.figure and measure.group in ("", figure.group)]
    if len(found) != 1:
        return Measurement(claim.id, 0.0, "", run.id, problem=f"{_described(run)} {_not_one(measure, figures, found)}")
    (figure,) = found
    of = f" of {figure.group}" if figure.group else ""
    origin = f"{_described(run)}: {figure.name}{of}"
    if figure.value is None:
        return Measurement(claim.id, 0.0, "", run.id, problem=f"{origin} has no value: {figure.why}")
    seen = f", {figure.count} observations" if figure.count is not None else ""
    interval = ", 95 % interval" if figure.low is not None else f", no interval: {figure.why}" if figure.why else ""
    return Measurement(
        claim.id, figure.value, figure.unit, f"{origin}{interval}{seen}", low=figure.low, high=figure.high
    )


def _not_one(measure: Measure, figures: Sequence[Figure], found: Sequence[Figure]) -> str:
    if found:
        groups = ", ".join(figure.group for figure in found[:MOST_NAMED])
        return f"has {measure.figure} of several groups ({groups}); name one in the column measure"
    having = [figure for figure in figures if figure.group == measure.group] if measure.group else list(figures)
    if not having:
        groups = ", ".join(dict.fromkeys(figure.group for figure in figures if figure.group))
        return f"has no group {measure.group!r}; it has {groups}"
    return f"has no figure {measure.figure!r}; it has {', '.join(dict.fromkeys(figure.name for figure in having))}"
