"""Quantities are computed from the text of their formula, and the formula language reaches nothing else."""

import pytest

from wayra.base.errors import InvalidParameter
from wayra.plan.expression import evaluate, names_in
from wayra.plan.quantity import derived, explain, given, number, shown, with_interval


def test_a_derived_quantity_is_what_its_formula_says():
    rent = given("rent_usd_per_h", 1.99, "USD/h", "list of 2026-03")
    speed = given("speed_tok_per_s", 1000, "tok/s", "claim")
    cost = derived("cost", "USD/Mtok", "rent_usd_per_h / 3600 / speed_tok_per_s * 1e6", rent, speed)
    assert cost.value == pytest.approx(0.552777, abs=1e-6)
    assert explain(cost) == [
        "cost = 0.5528 USD/Mtok = rent_usd_per_h / 3600 / speed_tok_per_s * 1e6",
        "  rent_usd_per_h = 1.99 USD/h  [list of 2026-03]",
        "  speed_tok_per_s = 1,000 tok/s  [claim]",
    ]


def test_arithmetic_follows_the_usual_order_and_its_functions():
    assert evaluate("2 + 3 * 4 ** 2 / (1 - -1)", {}) == 26.0
    assert evaluate("max(a, b) - min(a, b) + ceil(0.2) + floor(1.8) + sqrt(9)", {"a": 2, "b": 5}) == 8.0


def test_names_are_listed_in_order_of_appearance_without_functions():
    assert names_in("min(a, b) * c + a") == ("a", "b", "c")


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "a.b",
        "[1, 2]",
        "(lambda: 1)()",
        "1 if 2 else 3",
        "'text'",
        "True",
        "a[0]",
        "max()",
        "1 +",
        "x" * 2000,
        "2 ** 1000",
        "1e308 * 10",
        "1 / 0",
        "log(0)",
        "sqrt(1, 2)",
        "(-1) ** 0.5",
        "unknown + 1",
        "",
    ],
)
def test_whatever_is_no_arithmetic_is_refused_in_one_sentence(text: str):
    with pytest.raises(InvalidParameter) as caught:
        evaluate(text, {"a": 1.0})
    assert "\n" not in str(caught.value)


def test_two_inputs_of_one_name_and_different_values_are_refused():
    with pytest.raises(InvalidParameter, match="two inputs are called x"):
        derived("y", "", "x + x", given("x", 1, "", ""), given("x", 2, "", ""))


def test_a_given_that_is_not_finite_is_refused():
    with pytest.raises(InvalidParameter, match="finite"):
        given("speed_tok_per_s", float("nan"), "tok/s", "")


def test_an_interval_must_hold_the_value():
    assert shown(with_interval(given("x", 2, "s", ""), 1, 3)) == "2 s (1 to 3)"
    with pytest.raises(InvalidParameter, match="outside"):
        with_interval(given("x", 4, "s", ""), 1, 3)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.55277, "0.5528"), (1452.7, "1,453"), (70553706496, "70,553,706,496"), (2.5e-5, "2.500e-05")],
)
def test_numbers_are_shown_with_four_digits_or_all_of_a_large_one(value: float, text: str):
    assert number(value) == text
