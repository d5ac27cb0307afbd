"""What a derived value says about a claimed one: a verdict in the same few words everywhere."""

import math
from dataclasses import dataclass
from enum import StrEnum

from wayra.plan.claims.claim import Claim, Stated
from wayra.plan.claims.language import Derived
from wayra.plan.quantity import Quantity, number

SAME = 0.03
ROUGHLY = 0.10
ROUGHLY_POINTS = 1.0
CEILING_SLACK = 0.005
NO_FIGURE = "n/a"
POINT_UNITS = frozenset({"%", "points", "percentile"})


class Verdict(StrEnum):
    """How a claim came out."""

    HOLDS = "holds"
    ROUGHLY = "holds roughly"
    OFF = "off"
    IMPOSSIBLE = "impossible"
    POSSIBLE = "possible"
    UNKNOWABLE = "cannot be known"
    UNMEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and its reason in words."""

    verdict: Verdict
    reason: str


def judge(claim: Claim, derived: Derived) -> Judgement:
    """Compare a claim with what was derived for it, as its relation says."""
    if claim.relation == "cannot exist":
        return Judgement(Verdict.IMPOSSIBLE, "")
    if claim.relation == "indication":
        return Judgement(_undecided(claim), f"a hint only: {_found(derived)}")
    if claim.stated.text == NO_FIGURE:
        return Judgement(Verdict.HOLDS, f"no figure is claimed; it comes to {_found(derived)} {claim.unit}")
    if derived.low is None or derived.high is None or claim.stated.low is None:
        return _judge_words(claim, derived)
    return _judge_numbers(claim, derived.low, derived.high)


def _judge_numbers(claim: Claim, low: Quantity, high: Quantity) -> Judgement:
    match claim.relation:
        case "within" if _lies_within(claim, low, high):
            return Judgement(Verdict.POSSIBLE, f"what is not stated leaves {_span_of(low, high)} {claim.unit} open")
        case "at most":
            return _judge_ceiling(claim, low, high)
        case "at least":
            return _judge_need(claim, low, high)
        case "significant":
            return _judge_significance(low, high)
        case "one of":
            return _judge_quotation(claim, low, high)
        case "unlike":
            return _judge_unlike(claim, low, high)
        case _:
            return _judge_equal(claim, low, high)


def judge_measured(claim: Claim, derived: Derived) -> Judgement:
    """Compare a claim with a measured value, or with the interval the true one lies in with 95 %.

    An interval that only touches what is claimed settles nothing, nor does one that holds a claimed number and is wider
    than what "roughly" means.
    """
    low, high, said = derived.low, derived.high, claim.stated
    if low is None or high is None or said.low is None or said.high is None or low.value == high.value:
        return judge(claim, derived)
    if said.bound or said.low != said.high:
        return _judge_region(claim, low, high)
    found = judge(claim, derived)
    width = high.value - low.value
    roughly = 2 * ROUGHLY_POINTS if claim.unit in POINT_UNITS else ROUGHLY * (low.value + high.value)
    if found.verdict is not Verdict.HOLDS or width <= roughly:
        return found
    reason = f"the run's 95 % interval, {_span_of(low, high)}, holds the claim and too much else: measure longer"
    return Judgement(Verdict.UNMEASURED, reason)


def _judge_region(claim: Claim, low: Quantity, high: Quantity) -> Judgement:
    """A bound or a range that is claimed, and an interval that lies within, outside or across its edge."""
    least, most = _interval(claim.stated)
    if claim.stated.bound:
        least, most = (-math.inf, most) if claim.stated.bound in ("<", "<=") else (least, math.inf)
    if least <= low.value and high.value <= most:
        return Judgement(Verdict.HOLDS, f"{_span_of(low, high)} {claim.unit} lies within it".replace("  ", " "))
    if high.value < least:
        return Judgement(Verdict.OFF, _distance(claim, ((least, high.value),)))
    if low.value > most:
        return Judgement(Verdict.OFF, _distance(claim, ((most, low.value),)))
    return Judgement(
        Verdict.UNMEASURED, f"the run's 95 % interval, {_span_of(low, high)}, lies across it: measure longer"
    )


def judge_without_derivation(claim: Claim) -> Judgement:
    """A claim that nothing can be computed for."""
    if claim.relation == "cannot exist":
        return Judgement(Verdict.IMPOSSIBLE, "")
    bare = not claim.derivation and not claim.because and claim.check != "measurement"
    return Judgement(_undecided(claim), "the file gives no derivation" if bare else "")


def _undecided(claim: Claim) -> Verdict:
    return Verdict.UNMEASURED if claim.check == "measurement" else Verdict.UNKNOWABLE


def _judge_words(claim: Claim, derived: Derived) -> Judgement:
    found = _found(derived)
    if found.lower() == claim.stated.text.lower():
        return Judgement(Verdict.HOLDS, "the same")
    return Judgement(Verdict.OFF, f"{found}, not {claim.stated.text}")


def _judge_significance(low: Quantity, high: Quantity) -> Judgement:
    if low.value <= 0 <= high.value:
        reason = f"the 95 % interval, {number(low.value)} to {number(high.value)}, includes zero"
        return Judgement(Verdict.UNMEASURED, reason + ": too few items to tell")
    return Judgement(Verdict.HOLDS, f"the 95 % interval, {number(low.value)} to {number(high.value)}, excludes zero")


def _judge_quotation(claim: Claim, low: Quantity, high: Quantity) -> Judgement:
    """A quoted figure is right or it is not: only rounding to the digits quoted is forgiven."""
    said, _ = _interval(claim.stated)
    nearest = min((low.value, high.value), key=lambda value: abs(value - said))
    if abs(said - nearest) <= _half_digit(claim) * (1 + 1e-9):
        return Judgement(Verdict.HOLDS, "as published" if said == nearest else "rounded")
    published = low.note or f"published: {_span_of(low, high)}"
    return Judgement(Verdict.OFF, f"{published}; {_distance(claim, ((said, nearest),))}")


def _judge_unlike(claim: Claim, low: Quantity, high: Quantity) -> Judgement:
    least, most = _interval(claim.stated)
    if _same(claim, least, low.value) and _same(claim, most, high.value):
        return Judgement(Verdict.OFF, f"the same as {_span_of(low, high)}, from which it must differ")
    return Judgement(Verdict.POSSIBLE, f"differs from {_span_of(low, high)}, as it must")


def _judge_ceiling(claim: Claim, low: Quantity, high: Quantity) -> Judgement:
    least, most = _interval(claim.stated)
    unit = claim.unit
    if least > high.value * (1 + CEILING_SLACK):
        factor = f", {number(least / high.value)} times less" if high.value > 0 else ""
        return Judgement(Verdict.IMPOSSIBLE, f"at most {number(high.value)} {unit} are possible{factor}")
    if most <= low.value:
        return Judgement(Verdict.POSSIBLE, f"below the ceiling of {number(low.value)} {unit}")
    if low.value == high.value:
        return Judgement(Verdict.POSSIBLE, f"at the ceiling of {number(high.value)} {unit}")
    return Judgement(Verdict.POSSIBLE, f"the ceiling lies between {number(low.value)} and {number(high.value)} {unit}")


def _lies_within(claim: Claim, low: Quantity, high: Quantity) -> bool:
    least, most = _interval(claim.stated)
    return low.value <= least and most <= high.value


def _judge_need(claim: Claim, low: Quantity, high: Quantity) -> Judgement:
    least, most = _interval(claim.stated)
    unit = claim.unit
    if most < low.value:
        return Judgement(Verdict.IMPOSSIBLE, f"it takes at least {number(low.value)} {unit}, not {number(most)}")
    if least >= high.value:
        return Judgement(Verdict.HOLDS, f"it takes at least {number(high.value)} {unit}")
    return Judgement(Verdict.POSSIBLE, f"it takes {number(low.value)} to {number(high.value)} {unit}")


def _judge_equal(claim: Claim, low: Quantity, high: Quantity) -> Judgement:
    stated = claim.stated
    assert stated.low is not None
    assert stated.high is not None
    if stated.bound:
        return _judge_bound(claim, stated.low, low.value, high.value)
    if stated.low == stated.high and low.value <= stated.low <= high.value:
        return Judgement(Verdict.HOLDS, "the same" if low.value == high.value else f"within {_span_of(low, high)}")
    if low.value == high.value and stated.low <= low.value <= stated.high:
        return Judgement(Verdict.HOLDS, f"{number(low.value)} lies within it")
    pairs = ((stated.low, low.value), (stated.high, high.value))
    if stated.low == stated.high:
        pairs = (min(((stated.low, end) for end in (low.value, high.value)), key=lambda pair: abs(pair[0] - pair[1])),)
    if all(_same(claim, said, true) for said, true in pairs):
        return Judgement(Verdict.HOLDS, "the same" if all(said == true for said, true in pairs) else "rounded")
    if claim.unit in POINT_UNITS:
        roughly = max(abs(said - true) for said, true in pairs) <= ROUGHLY_POINTS
    else:
        roughly = max(_apart(said, true) for said, true in pairs) <= ROUGHLY
    verdict = Verdict.ROUGHLY if roughly else Verdict.OFF
    return Judgement(verdict, _distance(claim, pairs))


def _judge_bound(claim: Claim, bound: float, low: float, high: float) -> Judgement:
    below = claim.stated.bound in ("<", "<=")
    if (below and high <= bound) or (not below and low >= bound):
        return Judgement(Verdict.HOLDS, f"{number(high if below else low)} {claim.unit}".strip())
    return Judgement(Verdict.OFF, _distance(claim, ((bound, high if below else low),)))


def _same(claim: Claim, said: float, true: float) -> bool:
    """Equal within half a unit of the last digit the claim prints or, for what is no score, within 3 %."""
    relative = 0.0 if claim.unit in POINT_UNITS else SAME * abs(true)
    return abs(said - true) <= max(relative, _half_digit(claim) * (1 + 1e-9))


def _half_digit(claim: Claim) -> float:
    """Half a unit of the last digit printed; nothing for whole tens, whose last digit may be no zero at all."""
    printed = claim.stated.text.partition("..")[0]
    decimals = len(printed.partition(".")[2])
    whole_tens = decimals == 0 and claim.stated.low is not None and claim.stated.low % 10 == 0
    return 0.0 if whole_tens else 0.5 * 10.0**-decimals


def _apart(said: float, true: float) -> float:
    return abs(said - true) / abs(true) if true else float("inf")


def _distance(claim: Claim, pairs: tuple[tuple[float, float], ...]) -> str:
    if claim.unit in POINT_UNITS or any(said <= 0 or true <= 0 for said, true in pairs):
        gaps = sorted({number(abs(said - true)) for said, true in pairs}, key=lambda text: float(text.replace(",", "")))
        unit = "points" if claim.unit in POINT_UNITS else claim.unit
        return f"{' to '.join(gaps)} {unit} apart".replace("  ", " ")
    factors = sorted(max(said, true) / min(said, true) for said, true in pairs)
    shown = sorted({number(round(factor, 2)) for factor in factors}, key=lambda text: float(text.replace(",", "")))
    side = "high" if pairs[0][0] > pairs[0][1] else "low"
    return f"too {side} by a factor of {' to '.join(shown)}"


def _interval(stated: Stated) -> tuple[float, float]:
    assert stated.low is not None
    assert stated.high is not None
    return stated.low, stated.high


def _found(derived: Derived) -> str:
    if derived.words is not None:
        return derived.words.text
    return _span_of(derived.low, derived.high) if derived.low is not None and derived.high is not None else "nothing"


def _span_of(low: Quantity, high: Quantity) -> str:
    return number(low.value) if low.value == high.value else f"{number(low.value)} to {number(high.value)}"
