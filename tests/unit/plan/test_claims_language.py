"""The language of derivations: what it computes, and that nothing else of Python is reachable through it."""

from datetime import date

import pytest

from wayra.base.errors import InvalidParameter, UnsupportedModel
from wayra.plan.claims.claim import Claim, parse_claims
from wayra.plan.claims.functions import functions
from wayra.plan.claims.language import derive

HEAD = "id,subject,metric,claimed,unit,check\n"
CLAIMS = {
    claim.id: claim
    for claim in parse_claims(
        HEAD
        + "X1,rent,price,1.99,USD/h,external\nX2,speed,range,900..1100,tok/s,external\nX3,licence,free,yes,,external\n",
        "test",
    )
}
TABLE = functions(date(2026, 11, 21))


def value(expression: str, claims: dict[str, Claim] | None = None) -> tuple[float, float]:
    found = derive(expression, "x", claims or CLAIMS, TABLE)
    assert found.low is not None
    assert found.high is not None
    return found.low.value, found.high.value


def test_names_are_the_values_that_claims_state():
    assert value("X1 * 2") == (3.98, 3.98)


def test_a_range_is_sorted_whatever_the_order_of_its_ends():
    # 1.99 / (1,100 * 3,600) * 1e6 = 0.5025 and 1.99 / (900 * 3,600) * 1e6 = 0.6142
    low, high = value("usd_per_mtok(X1, low(X2)) .. usd_per_mtok(X1, high(X2))")
    assert (low, high) == (pytest.approx(0.5025, abs=5e-5), pytest.approx(0.6142, abs=5e-5))


def test_calls_nest_and_take_keywords():
    # 70,553,706,496 weights of 8 bits
    assert value('2 * weights_gb("llama-3.1-70b", bits=min(8, 16))')[0] == pytest.approx(141.107, abs=1e-3)


def test_what_was_computed_on_the_way_is_kept_for_the_explanation():
    found = derive("X1 * mtok_a_month(1000)", "USD", CLAIMS, TABLE)
    assert found.low is not None
    assert [item.name for item in found.low.inputs] == ["X1", "capacity_mtok_per_month"]


def test_words_come_from_facts_and_comparisons():
    found = derive("yes_if_at_most(3, 2)", "", CLAIMS, TABLE)
    assert found.words is not None
    assert found.words.text == "no"


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("__import__('os').system('x')", "calls ''"),
        ("open('x')", "calls 'open'"),
        ("X1.stated", "contains"),
        ("[X1][0]", "contains"),
        ("X9 + 1", "'X9', which is no claim's id"),
        ("X2 + 1", "no single number; use low"),
        ("X3 + 1", "no single number"),
        ("low(X3)", "no number"),
        ("low(3)", "needs the id of one claim"),
        ('weights_gb("llama-9", 8)', "nearest"),
        ('weights_gb("gpt-5", 8)', "has not published its weights"),
        ('weights_gb("llama-3.1-8b")', "cannot be computed"),
        ('weights_gb(3, "x")', "the planner knows no model"),
        ('weights_gb("llama-3.1-8b", "x")', "cannot be computed"),
        ('weights_gb(*["llama-3.1-8b", 8])', "is no arithmetic"),
        ('weights_gb(**{"model": 1})', "unpacks arguments"),
        ('fact("nothing of the kind")', "no fact is called"),
        ('fact("llama-3.1 restrictions") + 1', "which is no number"),
        ('fact("llama-3.1 restrictions") .. 3', "no range of two numbers"),
        ("1 .. 2 .. 3", "no range of two numbers"),
        ("1 / 0", "divides by zero"),
        ("lambda: 1", "contains"),
        ("(", "no derivation"),
        ("1+" * 400 + "1", "expected at most 600"),
        ('fact("' + "x" * 200 + '")', "expected at most 120"),
    ],
)
def test_anything_else_is_refused_in_one_sentence(expression: str, message: str):
    with pytest.raises((InvalidParameter, UnsupportedModel), match=message) as caught:
        derive(expression, "", CLAIMS, TABLE)
    assert "\n" not in str(caught.value)
