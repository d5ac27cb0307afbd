"""What running a model costs: rented, owned and by the token; every result a `Quantity` computed from its own formula.

Small pure functions, units in the names. A month has 730 hours (8,760 a year / 12).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from wayra.base.errors import InvalidParameter
from wayra.plan.bounds import between, check
from wayra.plan.prices.table import HOURS_PER_MONTH
from wayra.plan.quantity import Quantity, computed, derived, given

MOST_CARDS = 1e15
"""Beyond what the largest workload takes: a plan says what that costs, not that it cannot be computed."""
ASSUMED = "assumption; state your own"
STATED = "stated with the workload"


@dataclass(frozen=True, slots=True)
class Traffic:
    """Tokens of an average request and requests a month. cached_share: of the input, found in a prompt cache (0 to 1).

    origin: what the requests a month were computed from; None where they were stated. assumed: fields nobody stated.
    Raises: InvalidParameter outside the bounds.
    """

    input_tokens: float
    output_tokens: float
    requests_per_month: float
    cached_share: float = 0.0
    origin: Quantity | None = None
    assumed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check("traffic.input_tokens", "input tokens a request", self.input_tokens)
        check("traffic.output_tokens", "output tokens a request", self.output_tokens)
        if self.input_tokens + self.output_tokens == 0:
            raise InvalidParameter("a request has no tokens at all; give input or output tokens")
        check("traffic.requests_per_month", "requests a month", self.requests_per_month)
        check("traffic.cached_share", "share of cached input", self.cached_share)

    def quantities(self) -> tuple[Quantity, Quantity, Quantity, Quantity]:
        """input_tok, output_tok, requests_per_month, cached_share."""
        return (
            given("input_tok", self.input_tokens, "tok", STATED),
            given("output_tok", self.output_tokens, "tok", STATED),
            self.origin or given("requests_per_month", self.requests_per_month, "1/month", STATED),
            given("cached_share", self.cached_share, "", ASSUMED if "cached_share" in self.assumed else STATED),
        )

    def volume(self) -> Quantity:
        """Million tokens a month, in and out."""
        return _volume(self)

    def share_of(self, share: float) -> "Traffic":
        """The traffic of a route: a share of the requests."""
        requests = self.quantities()[2].named("all_requests_per_month")
        part = derived(
            "requests_per_month",
            "1/month",
            "all_requests_per_month * share_of_requests",
            requests,
            given("share_of_requests", share, "", "the route, stated with the workload"),
        )
        return replace(self, requests_per_month=part.value, origin=part)

    @property
    def mtok_per_month(self) -> float:
        return (self.input_tokens + self.output_tokens) * self.requests_per_month / 1e6


@lru_cache(maxsize=64)
def _volume(traffic: Traffic) -> Quantity:
    """Hundreds of options ask for the same."""
    formula = "(input_tok + output_tok) * requests_per_month / 1e6"
    return derived("mtok_per_month", "Mtok/month", formula, *traffic.quantities()[:3])


@dataclass(frozen=True, slots=True)
class Ownership:
    """What owning hardware takes besides its price.

    server_factor: chassis, board and network by price of the GPUs. host_usd: processor, memory, disks of one.
    pue: power of the room by power of the machine.
    busy_power_share: average power by rated power. resale_share: of the price, got back at the end.
    stated: names of the numbers that the user gave, be they those assumed otherwise.
    """

    years: float = 3.0
    power_w: float = 0.0
    usd_per_kwh: float = 0.12
    pue: float = 1.4
    server_factor: float = 1.25
    host_usd: float = 3000.0
    busy_power_share: float = 0.7
    resale_share: float = 0.0
    staff_usd_per_year: float = 0.0
    stated: tuple[str, ...] = ()

    def source_of(self, name: str) -> str:
        """Whether a number is ours or the user's."""
        is_ours = name not in self.stated and getattr(self, name) == getattr(Ownership(), name)
        return ASSUMED if is_ours else STATED

    def __post_init__(self) -> None:
        check("owning.years", "years of use", self.years)
        between("power", self.power_w, 0, 1e8)
        check("owning.usd_per_kwh", "price of power", self.usd_per_kwh)
        check("owning.pue", "power usage effectiveness", self.pue)
        check("owning.server_factor", "price of the machine by its GPUs", self.server_factor)
        check("owning.host_usd", "price of a host", self.host_usd)
        check("owning.busy_power_share", "average power by rated power", self.busy_power_share)
        check("owning.resale_share", "resale share", self.resale_share)
        check("owning.staff_usd_per_year", "staff", self.staff_usd_per_year)


def hours_per_month() -> Quantity:
    return given("hours_per_month", HOURS_PER_MONTH, "h", "8,760 hours a year / 12")


def utilisation(share: float) -> Quantity:
    """Tokens made by tokens the hardware could make. Raises InvalidParameter outside 0 to 1."""
    between("utilisation", share, 1e-6, 1)
    return given("utilisation", share, "", STATED if share < 1 else "full load, the best case")


def usd_per_mtok(rent_usd_per_h: Quantity, speed_tok_per_s: Quantity, used: Quantity) -> Quantity:
    """An hour's price over the tokens made in it: 1.99 USD/h at 1,000 tok/s is 0.55 USD a million tokens."""
    return derived(
        "cost_usd_per_mtok",
        "USD/Mtok",
        "rent_usd_per_h / (3600 * speed_tok_per_s * utilisation) * 1e6",
        rent_usd_per_h.named("rent_usd_per_h"),
        speed_tok_per_s.named("speed_tok_per_s"),
        used,
    )


def speed_needed_tok_per_s(rent_usd_per_h: Quantity, target_usd_per_mtok: Quantity) -> Quantity:
    """The sustained speed at which an hour's rent comes to a price a million tokens."""
    return derived(
        "speed_tok_per_s",
        "tok/s",
        "rent_usd_per_h / 3600 / usd_per_mtok * 1e6",
        rent_usd_per_h.named("rent_usd_per_h"),
        target_usd_per_mtok.named("usd_per_mtok"),
    )


def rent_usd_per_month(rent_usd_per_h: Quantity, gpus: int) -> Quantity:
    """GPUs rented around the clock."""
    return derived(
        "rent_usd_per_month",
        "USD/month",
        "rent_usd_per_h * gpus * hours_per_month",
        rent_usd_per_h.named("rent_usd_per_h"),
        given("gpus", gpus, "", "the plan"),
        hours_per_month(),
    )


def hardware_usd(gpu_price_usd: Quantity, gpus: int, hosts: int, owning: Ownership) -> Quantity:
    """What is paid at once: GPUs, what surrounds them, and hosts."""
    between("GPUs", gpus, 1, MOST_CARDS)
    between("hosts", hosts, 0, MOST_CARDS)
    return derived(
        "hardware_usd",
        "USD",
        "gpu_price_usd * gpus * server_factor + hosts * host_usd",
        gpu_price_usd.named("gpu_price_usd"),
        given("gpus", gpus, "", "the plan"),
        given("server_factor", owning.server_factor, "", owning.source_of("server_factor")),
        given("hosts", hosts, "", "the plan"),
        given("host_usd", owning.host_usd, "USD", owning.source_of("host_usd")),
    )


def owned_usd_per_month(hardware: Quantity, gpus: int, owning: Ownership) -> Quantity:
    """Depreciation in a straight line, power and, where given, staff. hardware: of `hardware_usd`, or nothing paid."""
    depreciation = derived(
        "depreciation_usd_per_month",
        "USD/month",
        "hardware_usd * (1 - resale_share) / (years * 12)",
        hardware.named("hardware_usd"),
        given("resale_share", owning.resale_share, "", owning.source_of("resale_share")),
        given("years", owning.years, "years", owning.source_of("years")),
    )
    power = derived(
        "power_usd_per_month",
        "USD/month",
        "gpus * power_w / 1000 * busy_power_share * pue * hours_per_month * usd_per_kwh",
        given("gpus", gpus, "", "the plan"),
        given("power_w", owning.power_w, "W", "rated power of one GPU"),
        given("busy_power_share", owning.busy_power_share, "", owning.source_of("busy_power_share")),
        given("pue", owning.pue, "", owning.source_of("pue")),
        hours_per_month(),
        given("usd_per_kwh", owning.usd_per_kwh, "USD/kWh", owning.source_of("usd_per_kwh")),
    )
    staff = derived(
        "staff_usd_per_month",
        "USD/month",
        "staff_usd_per_year / 12",
        given("staff_usd_per_year", owning.staff_usd_per_year, "USD/year", owning.source_of("staff_usd_per_year")),
    )
    return derived(
        "owned_usd_per_month",
        "USD/month",
        "depreciation_usd_per_month + power_usd_per_month + staff_usd_per_month",
        depreciation,
        power,
        staff,
    )


def api_usd_per_month(
    traffic: Traffic, input_usd_per_mtok: Quantity, output_usd_per_mtok: Quantity, cached_usd_per_mtok: Quantity
) -> Quantity:
    """A month of requests at a price list."""
    return derived(
        "api_usd_per_month",
        "USD/month",
        "requests_per_month / 1e6 * (input_tok * ((1 - cached_share) * input_usd_per_mtok"
        " + cached_share * cached_usd_per_mtok) + output_tok * output_usd_per_mtok)",
        *traffic.quantities(),
        input_usd_per_mtok.named("input_usd_per_mtok"),
        output_usd_per_mtok.named("output_usd_per_mtok"),
        cached_usd_per_mtok.named("cached_usd_per_mtok"),
    )


def blended_usd_per_mtok(
    input_usd_per_mtok: Quantity, output_usd_per_mtok: Quantity, input_parts: float, output_parts: float
) -> Quantity:
    """One price for a mix of tokens: 3:1 of 2.50 and 10.00 is 4.375."""
    between("parts of input", input_parts, 0, 1e9)
    between("parts of output", output_parts, 0, 1e9)
    return derived(
        "blended_usd_per_mtok",
        "USD/Mtok",
        "(input_parts * input_usd_per_mtok + output_parts * output_usd_per_mtok) / (input_parts + output_parts)",
        given("input_parts", input_parts, "", STATED),
        given("output_parts", output_parts, "", STATED),
        input_usd_per_mtok.named("input_usd_per_mtok"),
        output_usd_per_mtok.named("output_usd_per_mtok"),
    )


def capacity_mtok_per_month(speed_tok_per_s: Quantity, used: Quantity) -> Quantity:
    """The most tokens a machine makes in a month: 1,000 tok/s around the clock are 2,628 million."""
    return derived(
        "capacity_mtok_per_month",
        "Mtok/month",
        "speed_tok_per_s * utilisation * 3600 * hours_per_month / 1e6",
        speed_tok_per_s.named("speed_tok_per_s"),
        used,
        hours_per_month(),
    )


@dataclass(frozen=True, slots=True)
class BreakEvenPoint:
    """A volume and what it costs both ways. machines: how many the volume needs."""

    mtok_per_month: float
    api_usd_per_month: float
    own_usd_per_month: float
    machines: int


@dataclass(frozen=True, slots=True)
class BreakEven:
    """Own machines against a price by the token.

    volume: the first volume at which machines are no dearer; None when that never happens, and `reason` says why.
    for_good_mtok: from here on no further machine makes them dearer again; None when there is no such volume.
    """

    volume: Quantity | None
    for_good_mtok: float | None
    capacity: Quantity
    full_load_usd_per_mtok: Quantity
    curve: tuple[BreakEvenPoint, ...]
    reason: str


def break_even(machine_usd_per_month: Quantity, capacity: Quantity, api_usd_per_mtok: Quantity) -> BreakEven:
    """Where a machine paid by the month meets an API paid by the token, with machines added as the volume needs them.

    A machine breaks even at fixed cost / API price, provided that it can make as much in a month; otherwise never,
    since a second machine doubles both the cost and the capacity. Raises InvalidParameter on a free API or machine.
    """
    fixed, ceiling, price = machine_usd_per_month.value, capacity.value, api_usd_per_mtok.value
    if min(fixed, ceiling, price) <= 0:
        raise InvalidParameter("break-even needs a price of the machine, a capacity and an API price above zero")
    inputs = (
        machine_usd_per_month.named("machine_usd_per_month"),
        capacity.named("capacity_mtok_per_month"),
        api_usd_per_mtok.named("api_usd_per_mtok"),
    )
    full_load = derived(
        "full_load_usd_per_mtok", "USD/Mtok", "machine_usd_per_month / capacity_mtok_per_month", *inputs[:2]
    )
    volume = derived(
        "break_even_mtok_per_month", "Mtok/month", "machine_usd_per_month / api_usd_per_mtok", inputs[0], inputs[2]
    )
    curve = tuple(_curve(fixed, ceiling, price))
    if volume.value > ceiling:
        reason = (
            f"never: {volume.value:,.0f} Mtok a month would be needed of a machine that makes at most {ceiling:,.0f}; "
            f"even fully loaded it costs {full_load.value:.4g} USD/Mtok against {price:.4g}"
        )
        return BreakEven(None, None, capacity, full_load, curve, reason)
    for_good = _for_good(fixed, ceiling, price)
    if for_good is not None and for_good <= volume.value:
        reason = f"from {volume.value:,.0f} Mtok a month on, whatever the volume"
    else:
        reason = f"from {volume.value:,.0f} Mtok a month up to {ceiling:,.0f}, where the first machine is full"
        if for_good is not None:
            reason += f"; whatever the volume from {for_good:,.0f} Mtok on"
    return BreakEven(volume, for_good, capacity, full_load, curve, reason)


def payback_months(price_usd: Quantity, saved_usd_per_month: Quantity) -> Quantity:
    """Months until a purchase is repaid. Raises InvalidParameter when nothing is saved."""
    if saved_usd_per_month.value <= 0:
        raise InvalidParameter(
            f"nothing is saved ({saved_usd_per_month.value:,.2f} USD a month), so it is never repaid"
        )
    return derived(
        "payback_months",
        "months",
        "price_usd / saved_usd_per_month",
        price_usd.named("price_usd"),
        saved_usd_per_month.named("saved_usd_per_month"),
    )


def machines_needed(speed_tok_per_s: Quantity, wanted_tok_per_s: Quantity, used: Quantity) -> Quantity:
    """Whole machines for a rate of tokens."""
    return derived(
        "machines",
        "",
        "max(1, ceil(wanted_tok_per_s / (speed_tok_per_s * utilisation)))",
        wanted_tok_per_s.named("wanted_tok_per_s"),
        speed_tok_per_s.named("speed_tok_per_s"),
        used,
    )


def _for_good(fixed: float, ceiling: float, price: float) -> float | None:
    """The least volume after which a step of the stairs never rises above the API's line; None at equal cost."""
    gain = price * ceiling - fixed
    if gain <= 0:
        return None
    # Just past n full machines the n + 1 of them cost (n + 1) * fixed and the API n * ceiling * price.
    return -(-fixed // gain) * fixed / price


def _curve(fixed: float, ceiling: float, price: float) -> Iterator[BreakEvenPoint]:
    """Points around the break-even and the ceiling, both of these among them."""
    marks = {fixed / price, ceiling, 2 * ceiling}
    marks |= {ceiling * share for share in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.6, 1.5, 3.0)}
    for volume in sorted(marks):
        # A multiple of the ceiling may come out a hair above it.
        machines = max(1, math.ceil(volume / ceiling - 1e-9))
        yield BreakEvenPoint(volume, volume * price, machines * fixed, machines)


def weighted_usd_per_month(shares: tuple[tuple[float, Quantity], ...]) -> Quantity:
    """A hybrid: each part of the traffic at its own cost, already counted for that part alone."""
    total = sum(cost.value for _, cost in shares)
    parts = ", ".join(f"{share:.0%}" for share, _ in shares)
    return computed(
        "hybrid_usd_per_month",
        total,
        "USD/month",
        f"sum of the routes' monthly costs ({parts} of the requests)",
        *(cost for _, cost in shares),
    )
