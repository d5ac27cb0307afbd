"""The shipped claims against values derived independently, by hand and by other tools (expected/derived_values.csv)."""

import csv
from datetime import date
from pathlib import Path

import pytest

from wayra.plan.claims.check import Checked, check_claims, count, printed_differs
from wayra.plan.claims.claim import shipped_claims
from wayra.plan.claims.verdict import Verdict

pytest.importorskip("genai_prices")

EXPECTED = {
    row["id"]: row
    for row in csv.DictReader(
        (Path(__file__).parent / "expected" / "derived_values.csv").read_text("utf-8").splitlines()
    )
}
COMPUTED = {"arithmetic", "memory", "roofline", "consistency"}

# What a reader who knows the subject called the claim, and the verdicts of ours that say the same.
SAME_MEANING = {
    "ok": {Verdict.HOLDS, Verdict.ROUGHLY, Verdict.POSSIBLE},
    "approx": {Verdict.HOLDS, Verdict.ROUGHLY, Verdict.POSSIBLE},
    "plausible": {Verdict.HOLDS, Verdict.POSSIBLE},
    "wrong": {Verdict.OFF},
    "outdated": {Verdict.OFF},
    "inconsistent": {Verdict.OFF, Verdict.IMPOSSIBLE},
    "impossible": {Verdict.IMPOSSIBLE},
    "fictional": {Verdict.IMPOSSIBLE},
    "unverifiable": {Verdict.UNKNOWABLE},
    "measure": {Verdict.UNMEASURED},
    "ambiguous": {Verdict.POSSIBLE, Verdict.UNKNOWABLE},
}
DIFFERENT = {
    "A024": "quotes a score: 92 is no published one, the nearest is 91.0",
    "C018": "quotes a score: 51.4 is no published one, the nearest is 51.1",
    "C001": "no number of cards up to eight allows it, whichever is meant",
    "C002": "no number of cards up to eight allows it for one stream",
    "C004": "no number of cards up to eight allows it for one stream",
    "C031": "the figure is right, but of another model: its subject does not exist",
    "C032": "a ratio of two programs is a matter of measurement, and no measurement is at hand",
    "C037": "the command cannot run as printed",
}


@pytest.fixture(scope="module")
def results() -> dict[str, Checked]:
    return {result.claim.id: result for result in check_claims(shipped_claims(), prices_of=date(2026, 11, 21))}


def test_all_245_claims_are_there_once(results: dict[str, Checked]):
    assert set(results) == set(EXPECTED)
    assert len(results) == 245


def test_no_derivation_fails(results: dict[str, Checked]):
    assert [result.claim.id for result in results.values() if result.problem] == []


def test_every_computed_value_is_reproduced_to_its_last_digit(results: dict[str, Checked]):
    differing = {}
    for name, row in EXPECTED.items():
        if row["check"] not in COMPUTED or not row["derived_value"]:
            continue
        derived = results[name].derived
        assert derived is not None, name
        if text := printed_differs(row["derived_value"], derived):
            differing[name] = text
    assert differing == {}


def test_claims_to_compute_are_computed_and_not_looked_up(results: dict[str, Checked]):
    # B052's subject cannot exist, so nothing is derived for it. Real sizes of Q4_K_M files are looked up.
    plain = [
        name
        for name, row in EXPECTED.items()
        if row["check"] in {"arithmetic", "memory", "roofline"} and not results[name].claim.derivation
    ]
    assert plain == ["B052"]


def test_no_derivation_is_the_expected_number_itself(results: dict[str, Checked]):
    copied = [
        name
        for name, row in EXPECTED.items()
        if row["derived_value"] and results[name].claim.derivation.replace(" ", "") == row["derived_value"]
    ]
    # What a rental costs upfront, and the turns the same document gives for the same window elsewhere.
    assert copied == ["A087", "A100"]


def test_verdicts_mean_what_an_expert_said_but_for_the_explained(results: dict[str, Checked]):
    other = {
        name: (row["verdict"], results[name].judgement.verdict.value)
        for name, row in EXPECTED.items()
        if results[name].judgement.verdict not in SAME_MEANING[row["verdict"]]
    }
    assert set(other) == set(DIFFERENT)


def test_every_verdict_that_is_no_plain_agreement_has_a_reason(results: dict[str, Checked]):
    bare = [
        name
        for name, result in results.items()
        if result.judgement.verdict not in {Verdict.UNMEASURED}
        and not result.judgement.reason
        and not result.claim.because
    ]
    assert bare == []


def test_every_claim_to_be_measured_names_a_command(results: dict[str, Checked]):
    measured = [result for result in results.values() if result.claim.check == "measurement"]
    assert len(measured) > 30
    assert all(result.lab.startswith("wayra ") for result in measured)


def test_the_counts_add_up(results: dict[str, Checked]):
    counts = count(results.values())
    assert sum(counts.values()) == 245
    assert counts[Verdict.OFF] > 60
    assert counts[Verdict.IMPOSSIBLE] > 20
