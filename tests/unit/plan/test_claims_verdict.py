"""Reading claims and judging them: every relation, every shape of a claimed value, every bad file."""

import json
import sys
from datetime import date
from pathlib import Path

import pytest

from wayra.base.errors import FileFormatError
from wayra.plan.claims.check import Checked, check_claims, read_measurements, with_shipped_derivations
from wayra.plan.claims.claim import Claim, parse_claims, read_claims, shipped_claims, stated
from wayra.plan.claims.language import Derived
from wayra.plan.claims.verdict import Verdict, judge_measured
from wayra.plan.quantity import given

HEAD = "id,subject,metric,claimed,unit,check,relation,derivation,because,derived_value\n"
TODAY = date(2026, 11, 21)


def judged(
    claimed: str, derivation: str, relation: str = "", unit: str = "x", check: str = "arithmetic"
) -> tuple[Verdict, str]:
    row = f'A,s,m,"{claimed}",{unit},{check},{relation},"{derivation}",,\n'
    (result,) = check_claims(parse_claims(HEAD + row, "test"), prices_of=TODAY)
    assert result.problem == ""
    return result.judgement.verdict, result.judgement.reason


@pytest.mark.parametrize(
    ("text", "low", "high", "bound"),
    [
        ("68", 68, 68, ""),
        ("5..10", 5, 10, ""),
        ("10 .. 5", 5, 10, ""),
        (">=5000", 5000, 5000, ">="),
        ("<0.1", 0.1, 0.1, "<"),
        ("-5", -5, -5, ""),
        ("yes", None, None, ""),
        ("1,3,11", None, None, ""),
    ],
)
def test_claimed_values_are_numbers_ranges_bounds_or_words(text, low, high, bound):
    found = stated(text)
    assert (found.low, found.high, found.bound) == (low, high, bound)


@pytest.mark.parametrize(
    ("claimed", "derivation", "relation", "unit", "verdict", "reason"),
    [
        ("2", "2", "", "x", Verdict.HOLDS, "the same"),
        ("67", "66.7", "", "x", Verdict.HOLDS, "rounded"),
        ("5.2", "5.25", "", "x", Verdict.HOLDS, "rounded"),
        ("140", "141.1", "", "GB", Verdict.HOLDS, "rounded"),
        ("10", "9.26", "", "x", Verdict.ROUGHLY, "too high by a factor of 1.08"),
        ("16", "8.03", "", "GB", Verdict.OFF, "too high by a factor of 1.99"),
        ("2.00..2.44", "0.5025 .. 0.6142", "", "USD", Verdict.OFF, "too high by a factor of 3.97 to 3.98"),
        ("7", "2.7", "", "points", Verdict.OFF, "4.3 points apart"),
        ("0", "100", "", "%", Verdict.OFF, "100 points apart"),
        ("-5", "74.6", "", "%", Verdict.OFF, "79.6 points apart"),
        ("200000", "0", "", "USD", Verdict.OFF, "200,000 USD apart"),
        ("4", "3.3 .. 4.5", "", "x", Verdict.HOLDS, "within 3.3 to 4.5"),
        ("2..3", "2.67", "", "x", Verdict.HOLDS, "2.67 lies within it"),
        ("<300", "250", "", "ms", Verdict.HOLDS, "250 ms"),
        ("<300", "280 .. 420", "", "ms", Verdict.OFF, "too low by a factor of 1.4"),
        (">=1000", "1000 .. 2000", "", "Ktok", Verdict.HOLDS, "1,000 Ktok"),
        ("87.3", "87.3 .. 88.6", "one of", "%", Verdict.HOLDS, "as published"),
        ("88", "88.0 .. 90.0", "one of", "%", Verdict.HOLDS, "as published"),
        ("85.2", "83.6 .. 86.0", "one of", "%", Verdict.OFF, "published: 83.6 to 86; 0.8 points apart"),
        ("68", "67.2", "at most", "tok/s", Verdict.IMPOSSIBLE, "at most 67.2 tok/s are possible, 1.012 times less"),
        ("42", "163.1", "at most", "tok/s", Verdict.POSSIBLE, "below the ceiling of 163.1 tok/s"),
        (">=1000", "136 .. 1087", "at most", "tok/s", Verdict.POSSIBLE, "the ceiling lies between 136 and 1,087 tok/s"),
        (">=200", "2.5 .. 20", "at most", "tok/s", Verdict.IMPOSSIBLE, "at most 20 tok/s are possible, 10 times less"),
        ("80", "141.1", "at least", "GB", Verdict.IMPOSSIBLE, "it takes at least 141.1 GB, not 80"),
        ("24", "16.06", "at least", "GB", Verdict.HOLDS, "it takes at least 16.06 GB"),
        ("220", "202 .. 249", "at least", "GB", Verdict.POSSIBLE, "it takes 202 to 249 GB"),
        ("6..12", "2 .. 20", "within", "h", Verdict.POSSIBLE, "what is not stated leaves 2 to 20 h open"),
        ("60", "2 .. 20", "within", "h", Verdict.OFF, "too high by a factor of 3"),
        ("0.5..0.6", "0.5 .. 0.6", "unlike", "USD", Verdict.OFF, "the same as 0.5 to 0.6, from which it must differ"),
        ("0.1..0.2", "0.5 .. 0.6", "unlike", "USD", Verdict.POSSIBLE, "differs from 0.5 to 0.6, as it must"),
        (
            "10", "delta_low(88, 78, 50) .. delta_high(88, 78, 50)", "significant", "points", Verdict.UNMEASURED,
            "the 95 % interval, -4.594 to 24.59, includes zero: too few items to tell",
        ),
        (
            "10", "delta_low(88, 78, 500) .. delta_high(88, 78, 500)", "significant", "points", Verdict.HOLDS,
            "the 95 % interval, 5.385 to 14.61, excludes zero",
        ),
        ("1", "2", "indication", "x", Verdict.UNKNOWABLE, "a hint only: 2"),
        ("1", "2", "cannot exist", "x", Verdict.IMPOSSIBLE, ""),
        ("n/a", "16", "", "x", Verdict.HOLDS, "no figure is claimed; it comes to 16 x"),
        ("yes", "yes_if_at_most(1, 2)", "", "", Verdict.HOLDS, "the same"),
        ("yes", "yes_if_at_most(2, 1)", "", "", Verdict.OFF, "no, not yes"),
    ],
)  # fmt: skip
def test_a_claim_is_judged_by_its_relation_to_what_was_derived(claimed, derivation, relation, unit, verdict, reason):
    assert judged(claimed, derivation, relation, unit) == (verdict, reason)


def test_the_interval_of_88_against_78_of_fifty_items_is_the_textbook_one():
    # sqrt(0.88 * 0.12 / 50 + 0.78 * 0.22 / 50) = 0.07446; 10 +- 1.96 * 7.446 = -4.6 to 24.6
    (result,) = check_claims(
        parse_claims(HEAD + 'A,s,m,10,points,arithmetic,,"delta_low(88,78,50) .. delta_high(88,78,50)",,\n', "test"),
        prices_of=TODAY,
    )
    assert result.derived is not None
    assert result.derived.low is not None
    assert result.derived.low.value == pytest.approx(10 - 1.959964 * 7.4458, abs=1e-3)


def test_without_a_derivation_measurements_are_unmeasured_and_the_rest_is_unknowable():
    assert judged("5", "", check="measurement")[0] is Verdict.UNMEASURED
    assert judged("5", "", check="external")[0] is Verdict.UNKNOWABLE


def test_a_derivation_that_fails_leaves_the_claim_undecided_and_says_why():
    text = HEAD + 'A,s,m,1,x,arithmetic,,"weights_gb(""llama-9"", 8)",,\n'
    (result,) = check_claims(parse_claims(text, "test"), prices_of=TODAY)
    assert result.judgement.verdict is Verdict.UNKNOWABLE
    assert result.problem.startswith("the planner knows no model 'llama-9'; nearest: ")


def test_a_value_the_file_prints_is_compared_with_the_derived_one_to_its_last_digit():
    text = HEAD + "A,s,m,1,x,arithmetic,,2 / 3,,0.67\nB,s,m,1,x,arithmetic,,2 / 3,,0.66\n"
    first, second = check_claims(parse_claims(text, "test"), prices_of=TODAY)
    assert first.disagrees == ""
    assert second.disagrees == "0.66 printed, 0.6667 derived"


def test_a_file_with_the_shipped_claims_and_no_derivations_gets_ours():
    ours = {claim.id: claim for claim in shipped_claims()}["A050"]
    text = f"id,subject,metric,claimed_value,unit,check\nA050,{ours.subject},cost,2.00..2.44,USD/Mtok,arithmetic\n"
    assert with_shipped_derivations(parse_claims(text, "test"))[0].derivation == ours.derivation
    other = text.replace("2.00..2.44", "3")
    assert with_shipped_derivations(parse_claims(other, "test"))[0].derivation == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lacks the columns id, subject, metric, unit, check, claimed; it has none"),
        ("id,subject\n", "lacks the columns metric, unit, check, claimed"),
        (HEAD + "A,s,m,1,x,magic,,,,\n", "line 2 has the check 'magic'"),
        (HEAD + "A,s,m,1,x,arithmetic,roughly,,,\n", "line 2 has the relation 'roughly'"),
        (HEAD + ",s,m,1,x,arithmetic,,,,\n", "line 2 has an empty 'id'"),
        (HEAD + "A,s,m,,x,arithmetic,,,,\n", "line 2 has an empty 'claimed'"),
        (HEAD + "A,s,m,1,x,arithmetic,,,,,,\n", "line 2 has more cells than there are columns"),
        (HEAD + "A,s,m,1,x,arithmetic,,,,\nA,s,m,1,x,arithmetic,,,,\n", "two claims with the id 'A'"),
        (HEAD + 'A,s,"m,1,x\n', "is no CSV"),
        (HEAD + f"A,{'s' * 3000},m,1,x,arithmetic,,,,\n", "'subject' has more than 2,000 characters"),
    ],
)
def test_a_wrong_file_is_refused_naming_the_line(text: str, message: str):
    with pytest.raises(FileFormatError, match=message):
        parse_claims(text, "claims.csv")


def test_a_file_that_is_no_text_or_not_there_is_refused(tmp_path: Path):
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileFormatError, match="not UTF-8"):
        read_claims(tmp_path / "binary.csv")
    with pytest.raises(FileFormatError, match="cannot be read"):
        read_claims(tmp_path / "absent.csv")


def measured(tmp_path: Path, *rows: object) -> Checked:
    (tmp_path / "run.json").write_text(json.dumps(list(rows)), "utf-8")
    claims = parse_claims(HEAD + "A,s,throughput,100,tok/s,measurement,,,,\n", "test")
    (result,) = check_claims(claims, prices_of=TODAY, measured=read_measurements(tmp_path / "run.json"))
    return result


def test_a_measured_claim_is_judged_by_the_run(tmp_path: Path):
    result = measured(tmp_path, {"claim": "A", "value": 40, "unit": "tok/s", "run": "r1"})
    assert (result.judgement.verdict, result.judgement.reason) == (Verdict.OFF, "too high by a factor of 2.5")
    assert result.derived is not None
    assert result.derived.expression == "run r1, as run.json, result 1 states it"


def test_a_run_in_another_unit_settles_nothing(tmp_path: Path):
    result = measured(tmp_path, {"claim": "A", "value": 40, "unit": "ms", "run": "r1"})
    assert result.judgement.verdict is Verdict.UNMEASURED
    assert result.problem == "run r1, as run.json, result 1 states it: measured in 'ms', the claim is in 'tok/s'"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("{}", "is no list"),
        ("[3]", "result 1 needs exactly the keys"),
        ('[{"claim": "A", "value": "x", "unit": "", "run": ""}]', "has the value x; expected a number"),
        ('[{"claim": 1, "value": 1, "unit": "", "run": ""}]', "must be texts"),
    ],
)
def test_a_wrong_run_is_refused(tmp_path: Path, text: str, message: str):
    (tmp_path / "run.json").write_text(text, "utf-8")
    with pytest.raises(FileFormatError, match=message):
        read_measurements(tmp_path / "run.json")


def test_a_quoted_score_is_compared_with_the_nearest_of_all_published_ones():
    # 50.7 (model card), 51.1 (paper) and 49.0 (a later card) are all published for the 405B model.
    text = HEAD + 'A,s,m,50.7,%,external,one of,"nearest_score(""gpqa"", ""llama-3.1-405b"", A)",,49.0..51.1\n'
    (held,) = check_claims(parse_claims(text, "test"), prices_of=TODAY)
    assert (held.judgement.verdict, held.judgement.reason, held.disagrees) == (Verdict.HOLDS, "as published", "")
    (off,) = check_claims(parse_claims(text.replace("50.7", "51.4"), "test"), prices_of=TODAY)
    assert off.judgement.reason == "published: 49, 50.7, 51.1; 0.3 points apart"


def test_without_the_price_list_its_claims_stay_undecided_and_say_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "genai_prices.data_snapshot", None)
    text = HEAD + 'A,s,m,2.5,USD/Mtok,external,,"api_input(""openai"", ""gpt-4o"")",,\n'
    (result,) = check_claims(parse_claims(text, "test"), prices_of=TODAY)
    assert result.judgement.verdict is Verdict.UNKNOWABLE
    assert "pip install 'wayra[plan]'" in result.problem


@pytest.mark.parametrize(
    ("claimed", "low", "high", "unit", "verdict", "reason"),
    [
        ("100", 98, 102, "ms", Verdict.HOLDS, "within 98 to 102"),
        ("100", 50, 200, "ms", Verdict.UNMEASURED, "the run's 95 % interval, 50 to 200, holds the claim and too much"),
        ("100", 200, 210, "ms", Verdict.OFF, "too low by a factor of 2"),
        ("50", 49.5, 50.5, "%", Verdict.HOLDS, "within 49.5 to 50.5"),
        ("50", 40, 60, "%", Verdict.UNMEASURED, "the run's 95 % interval, 40 to 60, holds"),
        ("<300", 100, 250, "ms", Verdict.HOLDS, "100 to 250 ms lies within it"),
        ("<300", 250, 350, "ms", Verdict.UNMEASURED, "the run's 95 % interval, 250 to 350, lies across it"),
        ("<300", 600, 700, "ms", Verdict.OFF, "too low by a factor of 2"),
        (">=50", 60, 90, "tok/s", Verdict.HOLDS, "60 to 90 tok/s lies within it"),
        (">=50", 20, 25, "tok/s", Verdict.OFF, "too high by a factor of 2"),
        ("50..200", 80, 120, "ms", Verdict.HOLDS, "80 to 120 ms lies within it"),
        ("50..200", 150, 250, "ms", Verdict.UNMEASURED, "lies across it"),
        ("50..200", 20, 25, "ms", Verdict.OFF, "too high by a factor of 2"),
        ("100", 100, 100, "ms", Verdict.HOLDS, "the same"),
        ("<300", 400, 400, "ms", Verdict.OFF, "too low by a factor of 1.33"),
    ],
)
def test_a_measured_interval_holds_a_claim_refutes_it_or_is_too_wide_to_tell(
    claimed: str, low: float, high: float, unit: str, verdict: Verdict, reason: str
):
    claim = Claim("A", "", "s", "m", stated(claimed), unit, "measurement")
    ends = (given("measured", end, unit, "run r") for end in (low, high))
    found = judge_measured(claim, Derived("run r", *ends))
    assert found.verdict is verdict
    assert reason in found.reason
