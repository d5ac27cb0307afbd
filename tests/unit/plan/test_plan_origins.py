"""Where a plan's numbers come from: what the user stated reads as the user's, what nobody stated as an assumption."""

from collections.abc import Iterator
from datetime import date

import pytest

from wayra.plan.market import Market
from wayra.plan.planner import make_plan
from wayra.plan.prices.table import shipped_prices
from wayra.plan.quantity import Quantity
from wayra.plan.view import numbers_of
from wayra.plan.workload import Workload, parse_document, workload_of

pytest.importorskip("genai_prices")

MARKET = Market(shipped_prices(), date(2026, 11, 21))
STATED, ASSUMED = "stated with the workload", "assumption; state your own"
TOKENS = "[traffic]\ninput_tokens = 800\noutput_tokens = 200\n"
OWNED = '[rules]\nprivacy = "on-premises"\n[choice]\nmodels = ["llama-3.1-8b"]\ngpus = ["rtx4090"]\n'


def workload(text: str) -> Workload:
    return workload_of(parse_document(text, "work.toml"), "work.toml")


def every(quantity: Quantity) -> Iterator[Quantity]:
    yield quantity
    for item in quantity.inputs:
        yield from every(item)


def sources(text: str) -> dict[str, str]:
    """The source of each given of the best option, by name."""
    best = make_plan(workload(text), MARKET).options[0]
    found = (item for quantity in numbers_of(best).values() for item in every(quantity))
    return {item.name: item.source for item in found if not item.inputs}


def test_a_number_stated_as_it_is_assumed_otherwise_is_the_users():
    rate = "requests_per_month = 1000\n"
    assumed = sources(TOKENS + rate + OWNED)
    stated = sources(TOKENS + rate + "peak_factor = 4\n" + OWNED + "[owning]\nyears = 3\nusd_per_kwh = 0.12\n")
    for name in ("years", "usd_per_kwh", "peak_factor"):
        assert (assumed[name], stated[name]) == (ASSUMED, STATED)
    assert stated["pue"] == ASSUMED


def test_a_prompt_cache_that_nobody_stated_is_an_assumption():
    api = '[choice]\nmodels = ["gpt-4o"]\n'
    assert sources(TOKENS + "requests_per_month = 1000\n" + api)["cached_share"] == ASSUMED
    assert sources(TOKENS + "requests_per_month = 1000\ncached_share = 0\n" + api)["cached_share"] == STATED


def test_requests_a_month_say_from_which_rate_they_come():
    for rate, value, made in (
        ("requests_per_month = 1000", 1000, {}),
        # 2 * 730 * 3,600
        ("requests_per_s = 2", 5_256_000, {"mean_requests_per_s": 2, "seconds_per_month": 2_628_000}),
        # 10e6 / 1,000
        ("mtok_per_month = 10", 10_000, {"mtok_per_month": 10, "input_tok": 800, "output_tok": 200}),
    ):
        requests = workload(f"{TOKENS}{rate}\n").traffic.quantities()[2]
        assert requests.value == value
        assert {item.name: item.value for item in requests.inputs} == made


def test_the_requests_of_a_route_are_a_share_of_all():
    part = workload(f"{TOKENS}requests_per_month = 1000\n").traffic.share_of(0.25)
    requests = part.quantities()[2]
    assert (part.requests_per_month, requests.value) == (250, 250)
    assert [(item.name, item.value) for item in requests.inputs] == [
        ("all_requests_per_month", 1000),
        ("share_of_requests", 0.25),
    ]


def test_every_number_of_a_plan_ends_in_a_source():
    made = make_plan(workload(f"{TOKENS}requests_per_s = 1\n{OWNED}"), MARKET)
    leaves = [
        item
        for option in (*made.options, *made.rejected)
        for quantity in numbers_of(option).values()
        for item in every(quantity)
        if not item.inputs
    ]
    assert leaves
    assert [item.name for item in leaves if not item.source] == []
