"""What a plan says against its own numbers: old prices, limits within an interval, times nothing measured backs."""

from dataclasses import replace
from datetime import date

import pytest

from wayra.plan import serving
from wayra.plan.cost import Traffic
from wayra.plan.hardware import hardware
from wayra.plan.market import Market
from wayra.plan.models import architecture
from wayra.plan.planner import Plan, make_plan
from wayra.plan.prices.table import ApiPrice, PriceTable, shipped_prices
from wayra.plan.stored import stored_as
from wayra.plan.workload import Workload

pytest.importorskip("genai_prices")

MARKET = Market(shipped_prices(), date(2026, 11, 21))
WORK = Workload("test", Traffic(800, 200, 100_000))


def plan(**changes: object) -> Plan:
    return make_plan(replace(WORK, **changes), MARKET)  # pyright: ignore[reportArgumentType]


def test_an_old_price_of_an_api_is_warned_of():
    row = ApiPrice("me", "gpt-4o", 1.0, 2.0, "2024-01-01", "the contract")
    table = shipped_prices().overridden_by(PriceTable(apis=(row,)))
    made = make_plan(replace(WORK, models=("gpt-4o",)), Market(table, date(2026, 11, 21)))
    assert made.options[0].label == "GPT-4o, API of me"
    assert made.options[0].stale == (
        "the price of gpt-4o at me is of 2024-01-01, 1055 days ago; check it and pass a newer one with --prices FILE",
    )


def test_an_old_price_list_is_warned_of_once():
    made = make_plan(
        replace(WORK, models=("gpt-4o", "gpt-4.1"), gpus=("l4",)), Market(shipped_prices(), date(2031, 1, 1))
    )
    (told,) = {text for option in made.options for text in option.stale}
    assert told.startswith("the price list of genai-prices ")


def test_a_limit_within_the_interval_of_a_prediction_is_a_risk():
    def risks(limit_s: float) -> list[str]:
        made = plan(models=("llama-3.1-8b",), gpus=("l4",), privacy="no-third-party", latency_p95_s=limit_s)
        return [risk for risk in made.options[0].risks if "the limit on whole answers" in risk]

    assert risks(3600) == []
    made = plan(models=("llama-3.1-8b",), gpus=("l4",), privacy="no-third-party", latency_p95_s=3600)
    latency = made.options[0].latency_s
    assert latency is not None
    assert latency.high is not None
    (told,) = risks((latency.value + latency.high) / 2)
    assert "lies within the interval of the prediction" in told


def test_a_budget_below_every_option_names_the_cheapest():
    made = plan(budget_usd_per_month=0.5, quality={"mmlu": 80.0}, models=("llama-3.3-70b", "gpt-4o"))
    assert made.conflict is not None
    assert made.conflict.constraints == ("monthly budget",)
    cheapest = min(made.rejected, key=lambda option: option.usd_per_month.value)
    assert f"nearest is {cheapest.label}: " in made.conflict.explanation


def test_times_on_hardware_that_nobody_measured_have_no_interval() -> None:
    machine = serving.Machine(architecture("llama-3.1-8b"), hardware("m4-max"), 1, stored_as("bf16"))
    load = serving.load_at(machine, Traffic(1000, 100, 1), 2)
    for made in (load.latency_s, load.ttft_s, load.tok_per_s, serving.step_s(machine, 2, 1000)):
        assert (made.low, made.high) == (None, None)
        assert "not validated: no measured times to compare with" in made.note
    assert "computed, not measured here, and not validated" in serving.speed_risk(machine)


def test_a_workload_for_millions_of_cards_is_planned_and_not_refused() -> None:
    busy = replace(WORK, traffic=Traffic(800, 250, 1e13), models=("llama-3.1-8b",), gpus=("rtx4090",))
    made = make_plan(busy, MARKET)
    owned = [option for option in (*made.options, *made.rejected) if option.kind == "owned"]
    assert owned
    assert max(option.machines.value for option in owned if option.machines is not None) > 1e6
