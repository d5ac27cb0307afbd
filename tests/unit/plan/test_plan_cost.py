"""Costs by hand: each expected number stands with its working."""

import pytest

from wayra.base.errors import InvalidParameter
from wayra.plan import cost
from wayra.plan.quantity import Quantity, explain, given


def usd_per_h(value: float) -> Quantity:
    return given("rent_usd_per_h", value, "USD/h", "test")


def tok_per_s(value: float) -> Quantity:
    return given("speed_tok_per_s", value, "tok/s", "test")


def usd(value: float) -> Quantity:
    return given("usd_per_mtok", value, "USD/Mtok", "test")


FULL = cost.utilisation(1.0)


def test_199_dollars_an_hour_at_1000_tokens_a_second_is_55_cents_a_million():
    # 1,000 tok/s * 3,600 s = 3.6 Mtok an hour; 1.99 / 3.6 = 0.5528 (and not 2.00).
    assert cost.usd_per_mtok(usd_per_h(1.99), tok_per_s(1000), FULL).value == pytest.approx(0.5528, abs=5e-5)


def test_half_the_utilisation_doubles_the_cost_of_a_token():
    # 1.99 / (3.6 * 0.5) = 1.1056
    half = cost.usd_per_mtok(usd_per_h(1.99), tok_per_s(1000), cost.utilisation(0.5))
    assert half.value == pytest.approx(1.1056, abs=5e-5)


def test_a_4090_at_68_tokens_a_second_costs_139_cents_a_million():
    # 0.34 / (68 * 3600) * 1e6 = 1.3889 USD, 1,389 times a tenth of a cent.
    assert cost.usd_per_mtok(usd_per_h(0.34), tok_per_s(68), FULL).value == pytest.approx(1.3889, abs=5e-5)


def test_speed_needed_is_the_inverse_of_the_cost():
    # 1.99 / 3600 / 0.27 * 1e6 = 2,047.3 tok/s
    assert cost.speed_needed_tok_per_s(usd_per_h(1.99), usd(0.27)).value == pytest.approx(2047.3, abs=0.05)


def test_an_hour_at_199_is_1453_dollars_a_month():
    # 1.99 * 730 = 1,452.70
    assert cost.rent_usd_per_month(usd_per_h(1.99), 1).value == pytest.approx(1452.70)


def test_a_thousand_tokens_a_second_are_2628_million_a_month():
    # 1,000 * 3,600 * 730 / 1e6
    assert cost.capacity_mtok_per_month(tok_per_s(1000), FULL).value == pytest.approx(2628.0)


def test_a_million_prompts_of_1000_tokens_with_300_out_cost_5500_on_gpt_4o():
    # 1e6 * (1,000 * 2.50 + 300 * 10.00) / 1e6 = 2,500 + 3,000
    traffic = cost.Traffic(1000, 300, 1e6)
    assert cost.api_usd_per_month(traffic, usd(2.50), usd(10.00), usd(1.25)).value == pytest.approx(5500)


def test_cached_input_is_charged_at_its_own_price():
    # half of 1,000 tokens at 1.25: 500 * 2.50 + 500 * 1.25 + 300 * 10 = 1,250 + 625 + 3,000
    traffic = cost.Traffic(1000, 300, 1e6, cached_share=0.5)
    assert cost.api_usd_per_month(traffic, usd(2.50), usd(10.00), usd(1.25)).value == pytest.approx(4875)


def test_three_to_one_of_gpt_4o_is_4375():
    # (3 * 2.50 + 10.00) / 4
    assert cost.blended_usd_per_mtok(usd(2.50), usd(10.00), 3, 1).value == pytest.approx(4.375)


def test_break_even_against_gpt_4o_is_hundreds_of_millions_of_tokens_a_month():
    # 1,452.70 / 4.375 = 332.05 Mtok a month, and not 5 to 10.
    machine = cost.rent_usd_per_month(usd_per_h(1.99), 1)
    found = cost.break_even(machine, cost.capacity_mtok_per_month(tok_per_s(1000), FULL), usd(4.375))
    assert found.volume is not None
    assert found.volume.value == pytest.approx(332.05, abs=0.005)


def test_break_even_against_27_cents_is_never_and_says_why():
    # 1,452.70 / 0.27 = 5,380 Mtok, but 1,000 tok/s make 2,628; full load costs 1,452.70 / 2,628 = 0.5528 a million.
    machine = cost.rent_usd_per_month(usd_per_h(1.99), 1)
    found = cost.break_even(machine, cost.capacity_mtok_per_month(tok_per_s(1000), FULL), usd(0.27))
    assert found.volume is None
    assert found.for_good_mtok is None
    assert found.reason == (
        "never: 5,380 Mtok a month would be needed of a machine that makes at most 2,628; "
        "even fully loaded it costs 0.5528 USD/Mtok against 0.27"
    )


def test_a_second_machine_can_make_the_api_cheaper_again():
    # Fixed 100, capacity 100, price 1.2: even at 83.3. At 101 Mtok two machines cost 200, the API 121. n full machines
    # carry the next when n >= 100 / (120 - 100) = 5, so for good from 5 * 100 / 1.2 = 416.7.
    fixed, ceiling = given("m", 100, "USD/month", ""), given("c", 100, "Mtok/month", "")
    found = cost.break_even(fixed, ceiling, usd(1.2))
    assert found.volume is not None
    assert found.volume.value == pytest.approx(83.333, abs=1e-3)
    assert found.for_good_mtok == pytest.approx(416.667, abs=1e-3)
    at = {round(point.mtok_per_month): point for point in found.curve}
    assert (at[150].machines, at[150].own_usd_per_month, at[150].api_usd_per_month) == (2, 200, pytest.approx(180))


def test_break_even_holds_for_every_volume_after_the_one_called_for_good():
    fixed, ceiling, price = 100.0, 100.0, 1.2
    found = cost.break_even(given("m", fixed, "", ""), given("c", ceiling, "", ""), usd(price))
    assert found.for_good_mtok is not None

    def own(volume: float) -> float:
        return -(-volume // ceiling) * fixed

    later = [found.for_good_mtok + 0.01 + step * 3.7 for step in range(500)]
    assert all(own(volume) <= volume * price for volume in later)
    assert own(found.for_good_mtok - 1) > (found.for_good_mtok - 1) * price


def test_owned_hardware_is_depreciation_power_and_staff():
    # 32,500 * 8 * 1.25 + 3,000 = 328,000; / 36 months = 9,111.11
    # 8 * 0.7 kW * 0.7 * 1.4 * 730 h * 0.12 USD = 480.75; staff 60,000 / 12 = 5,000
    owning = cost.Ownership(years=3, power_w=700, staff_usd_per_year=60_000)
    paid = cost.hardware_usd(given("gpu_price_usd", 32_500, "USD", "list"), 8, 1, owning)
    assert paid.value == 328_000
    found = cost.owned_usd_per_month(paid, 8, owning)
    assert found.value == pytest.approx(9111.11 + 480.75 + 5000, abs=0.01)
    assert [part.name for part in found.inputs] == [
        "depreciation_usd_per_month",
        "power_usd_per_month",
        "staff_usd_per_month",
    ]


def test_what_a_user_states_about_owning_is_told_apart_from_what_is_assumed():
    owning = cost.Ownership(years=5, staff_usd_per_year=120_000)
    assert [owning.source_of(name) for name in ("years", "staff_usd_per_year")] == [cost.STATED, cost.STATED]
    assert [owning.source_of(name) for name in ("pue", "usd_per_kwh")] == [cost.ASSUMED, cost.ASSUMED]


def test_200_thousand_dollars_against_22_a_month_take_762_years():
    # 5 Mtok at 4.375 are 21.875 USD a month: 200,000 / 21.875 = 9,142.9 months = 761.9 years
    months = cost.payback_months(given("price", 200_000, "USD", ""), given("saved", 21.875, "USD/month", ""))
    assert months.value / 12 == pytest.approx(761.9, abs=0.05)


def test_machines_are_whole_and_count_utilisation():
    # 2,500 tok/s wanted of machines of 1,000 at 60 %: 2,500 / 600 = 4.17
    assert cost.machines_needed(tok_per_s(1000), given("w", 2500, "tok/s", ""), cost.utilisation(0.6)).value == 5


def test_the_explanation_of_a_cost_reaches_its_sources():
    lines = explain(cost.usd_per_mtok(usd_per_h(1.99), tok_per_s(1000), FULL))
    assert any("[test]" in line for line in lines)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cost.utilisation(0), "utilisation: 0"),
        (lambda: cost.utilisation(1.5), "utilisation: 1.5"),
        (lambda: cost.Traffic(0, 0, 1), "no tokens at all"),
        (lambda: cost.Traffic(-1, 0, 1), "input tokens a request: -1"),
        (lambda: cost.Traffic(1, 1, float("nan")), "requests a month"),
        (lambda: cost.Ownership(years=0), "years of use: 0"),
        (lambda: cost.Ownership(pue=0.5), "power usage effectiveness: 0.5"),
        (lambda: cost.usd_per_mtok(usd_per_h(1.99), tok_per_s(0), FULL), "divides by zero"),
        (lambda: cost.break_even(usd(1), usd(1), usd(0)), "above zero"),
        (lambda: cost.payback_months(usd(1), usd(-3)), "never repaid"),
    ],
)
def test_absurd_numbers_are_refused_in_one_sentence(call, message: str):
    with pytest.raises(InvalidParameter, match=message):
        call()


def test_a_multiple_of_the_capacity_takes_no_machine_more():
    # 3 * 216.07 / 216.07 must be three machines, whatever the rounding.
    for ceiling in (216.07, 0.1, 1e6 / 3):
        found = cost.break_even(given("m", 100, "", ""), given("c", ceiling, "", ""), usd(0.01))
        at = {round(point.mtok_per_month / ceiling, 6): point.machines for point in found.curve}
        assert (at[1], at[1.5], at[2], at[3]) == (1, 2, 2, 3)
