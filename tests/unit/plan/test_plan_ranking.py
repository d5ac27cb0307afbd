"""The order of a plan's options: what is known to meet the limits, then cost, then quality; and ranks without gaps."""

from dataclasses import replace
from datetime import date

import pytest

from wayra.plan.cost import Traffic
from wayra.plan.market import Market
from wayra.plan.options import Option
from wayra.plan.planner import Plan, make_plan
from wayra.plan.prices.table import shipped_prices
from wayra.plan.view import as_document, as_table
from wayra.plan.workload import Workload, scenario

pytest.importorskip("genai_prices")

MARKET = Market(shipped_prices(), date(2026, 11, 21))
WORK = Workload("test", Traffic(800, 200, 100_000))


def plan(**changes: object) -> Plan:
    return make_plan(replace(WORK, **changes), MARKET)  # pyright: ignore[reportArgumentType]


def cents(option: Option) -> float:
    return round(option.usd_per_month.value, 2)


def scored(option: Option) -> float:
    return sum(score.value for score in option.evidence)


def test_what_is_known_to_meet_the_latency_goes_before_cheaper_apis_of_unknown_latency() -> None:
    made = plan(models=("llama-3.3-70b", "gpt-4o"), latency_p95_s=10.0)
    known = [option.known_to_meet for option in made.options]
    assert set(known) == {True, False}
    assert known == sorted(known, reverse=True)
    apis = [option for option in made.options if option.kind == "api"]
    assert apis
    assert not any(option.known_to_meet for option in apis)
    assert min(cents(option) for option in apis) < cents(made.options[0])
    assert any("not known to meet the limit on latency" in risk for risk in apis[0].risks)


def test_an_unknown_time_to_the_first_token_counts_alike() -> None:
    made = plan(models=("llama-3.3-70b",), ttft_p95_s=5.0)
    assert made.options[0].kind != "api"
    assert made.options[-1].unknowns == ("time to first token",)


def test_without_a_limit_on_time_an_api_is_ranked_by_its_cost_alone() -> None:
    made = plan(models=("llama-3.3-70b", "gpt-4o"))
    assert made.options[0].kind == "api"
    assert all(option.known_to_meet for option in made.options)


def test_equal_costs_are_ranked_by_quality() -> None:
    made = make_plan(scenario("hipaa-on-premises"), MARKET)
    pairs = [(a, b) for a, b in zip(made.options, made.options[1:], strict=False) if cents(a) == cents(b)]
    assert any(scored(a) > scored(b) for a, b in pairs)
    assert all(scored(a) >= scored(b) for a, b in pairs)
    # 86.0 against 83.6 of MMLU at the same price.
    assert [option.model for option in made.options[:1]] == ["llama-3.3-70b"]


def test_of_equal_cost_and_quality_the_finer_format_goes_first() -> None:
    made = plan(models=("llama-3.3-70b",), privacy="no-third-party")
    pairs = [(a, b) for a, b in zip(made.options, made.options[1:], strict=False) if cents(a) == cents(b)]
    assert any(a.weight_bits > b.weight_bits for a, b in pairs)
    assert all(a.weight_bits >= b.weight_bits for a, b in pairs)


def test_programs_and_the_page_are_told_rank_and_what_is_not_known() -> None:
    made = plan(models=("llama-3.3-70b", "gpt-4o"), latency_p95_s=10.0)
    rows = as_document(made)["options"]
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    for row, light, option in zip(rows, as_table(made)["options"], made.options, strict=True):
        assert row["known_to_meet"] == light["known_to_meet"] == (not option.unknowns)
        assert row["unknowns"] == light["unknowns"] == option.unknowns


def test_no_two_options_share_a_rank() -> None:
    made = plan(models=("llama-3.3-70b", "llama-3.1-70b"))
    keys = [option.rank() for option in made.options]
    assert len(set(keys)) == len(keys) > 10
    assert keys == sorted(keys)
