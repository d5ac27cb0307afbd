"""Break-even of a plan: the cheapest machines that would do against the cheapest API that would do, over the volume."""

from collections.abc import Sequence
from dataclasses import dataclass

from wayra.plan.cost import BreakEven, break_even
from wayra.plan.options import Constraint, Option
from wayra.plan.quantity import Quantity, derived

# What a change of volume or purse would mend; whatever else an option fails makes it no alternative.
MONEY: frozenset[Constraint] = frozenset({"monthly budget", "budget for hardware", "hardware"})


@dataclass(frozen=True, slots=True)
class Comparison:
    """machines, api: the two options compared. one_machine: USD a month. found: where they meet, as volume, curve and
    sentence."""

    machines: Option
    api: Option
    one_machine: Quantity
    found: BreakEven


def against_api(options: Sequence[Option]) -> Comparison | None:
    """Compare the cheapest of each side; an API of the same model goes before another. None when one side is empty."""
    own = [option for option in _able(options) if option.kind in ("rented", "owned") and _can_be_compared(option)]
    machines = min(own, key=Option.rank, default=None)
    return None if machines is None else compared_with(machines, options)


def compared_with(option: Option, options: Sequence[Option]) -> Comparison | None:
    """The same for one of the options: machines against the cheapest API, an API against the cheapest machines."""
    if option.kind == "api":
        own = [other for other in _able(options) if other.kind in ("rented", "owned") and _can_be_compared(other)]
        same = [other for other in own if other.model == option.model]
        machines = min(same or own, key=Option.rank, default=None)
        return None if machines is None or option.usd_per_mtok.value <= 0 else _comparison(machines, option)
    if not _can_be_compared(option):
        return None
    sold = [other for other in _able(options) if other.kind == "api" and other.usd_per_mtok.value > 0]
    same = [other for other in sold if other.model == option.model]
    api = min(same or sold, key=lambda other: other.usd_per_mtok.value, default=None)
    return None if api is None else _comparison(option, api)


def _able(options: Sequence[Option]) -> list[Option]:
    return [option for option in options if all(failure.constraint in MONEY for failure in option.failures)]


def _can_be_compared(option: Option) -> bool:
    """Machines that cost something and make something; those at hand whose power is not known cost nothing."""
    known = option.capacity_mtok is not None and option.machines is not None
    return known and option.usd_per_month.value > 0


def _comparison(machines: Option, api: Option) -> Comparison:
    assert machines.capacity_mtok is not None
    assert machines.machines is not None
    one = one_machine(machines.usd_per_month, machines.machines)
    return Comparison(machines, api, one, break_even(one, machines.capacity_mtok, api.usd_per_mtok))


def one_machine(usd_per_month: Quantity, machines: Quantity) -> Quantity:
    return derived(
        "machine_usd_per_month",
        "USD/month",
        "usd_per_month / machines",
        usd_per_month.named("usd_per_month"),
        machines.named("machines"),
    )
