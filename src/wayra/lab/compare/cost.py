"""What a million tokens cost: at a provider's price, or on a machine paid by the hour at the speed measured here.

The arithmetic is the planner's; nothing here knows a formula or an assumption of its own.
"""

from collections.abc import Sequence

from wayra.lab.compare.speed import Speeds, best_output_rate, best_prefill_rate
from wayra.lab.compare.tables import Cell, Machine, Row, Side
from wayra.plan.cost import (
    Ownership,
    blended_usd_per_mtok,
    hours_per_month,
    owned_usd_per_month,
    usd_per_mtok,
    utilisation,
)
from wayra.plan.quantity import derived, given

DEFAULT_YEARS = Ownership().years
MIX = (3, 1)
"""Prompt tokens to output tokens in the blended price."""


def rented(usd_per_h: float) -> Machine:
    return Machine(usd_per_h, f"{usd_per_h:g} USD an hour, as stated")


def owned(price_usd: float, power_w: float, years: float = DEFAULT_YEARS) -> Machine:
    """A machine bought: its price in a straight line over the years, and its power; a month has 730 hours.

    Raises InvalidParameter outside the planner's bounds.
    """
    owning = Ownership(years=years, power_w=power_w)
    paid = given("hardware_usd", price_usd, "USD", "stated")
    hour = derived(
        "owned_usd_per_h",
        "USD/h",
        "owned_usd_per_month / hours_per_month",
        owned_usd_per_month(paid, 1, owning),
        hours_per_month(),
    )
    how = (
        f"{hour.value:.3g} USD an hour: {price_usd:,.0f} USD over {years:g} years of 8,760 hours, and {power_w:g} W at "
        f"{owning.busy_power_share:.0%} of it, {owning.usd_per_kwh:g} USD/kWh and a PUE of {owning.pue:g} (the "
        "planner's assumptions)"
    )
    return Machine(hour.value, how)


def cost_rows(sides: Sequence[Side], speeds: Sequence[Speeds]) -> tuple[Row, ...]:
    """One line for each price, whichever way each model is paid for, so that they stand side by side."""
    prices = [_prices(side, one) for side, one in zip(sides, speeds, strict=True)]
    hours = tuple(Cell() if side.machine is None else Cell(side.machine.usd_per_h) for side in sides)
    named = (
        ("prompt tokens", "input_usd_per_mtok"),
        ("output tokens", "output_usd_per_mtok"),
        ("3 prompt tokens to 1 of output", "blended_usd_per_mtok"),
    )
    return (
        Row("an hour of the machine", "USD/h", hours, False, metric="machine_usd_per_h"),
        *(
            Row(name, "USD/Mtok", tuple(Cell(found[place]) for found in prices), False, metric=metric)
            for place, (name, metric) in enumerate(named)
        ),
    )


def cost_notes(sides: Sequence[Side]) -> list[str]:
    notes = [f"{side.label}: the machine costs {side.machine.how}." for side in sides if side.machine is not None]
    listed = [side for side in sides if side.price is not None and side.price.source != "stated"]
    return notes + [
        f"{one.label}: prices of {one.price.source}; --price says otherwise." for one in listed if one.price
    ]


def _prices(side: Side, speeds: Speeds) -> tuple[float | None, float | None, float | None]:
    """Of prompts, of outputs, of three to one, in USD a million tokens."""
    if side.price is not None:
        prompt, output = side.price.input_usd, side.price.output_usd
    elif side.machine is not None:
        prompt, output = (
            _at_rate(side.machine, rate) for rate in (best_prefill_rate(speeds), best_output_rate(speeds))
        )
    else:
        return None, None, None
    if prompt is None or output is None:
        return prompt, output, None
    one, other = (given(name, usd, "USD/Mtok", "above") for name, usd in (("input", prompt), ("output", output)))
    return prompt, output, blended_usd_per_mtok(one, other, *MIX).value


def _at_rate(machine: Machine, tokens_per_s: float) -> float | None:
    if tokens_per_s <= 0:
        return None
    hour = given("rent", machine.usd_per_h, "USD/h", machine.how)
    return usd_per_mtok(hour, given("rate", tokens_per_s, "tok/s", "measured"), utilisation(1.0)).value
