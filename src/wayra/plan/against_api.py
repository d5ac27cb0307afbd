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
    """machines, api: the two options compared. found: where they meet, as volume, curve and sentence."""

    machines: Option
    api: Option
    found: BreakEven


def against_api(options: Sequence[Option]) -> Comparison | None:
    """Compare the cheapest of each side; an API of the same model goes before another. None when one side is empty."""
    able = [option for option in options if all(failure.constraint in MONEY for failure in option.failures)]
    own = [option for option in able if option.kind in ("rented", "owned") and option.capacity_mtok is not None]
    machines = min(own, key=lambda option: option.usd_per_month.value, default=None)
    if machines is None or machines.capacity_mtok is None or machines.machines is None:
        return None
    sold = [option for option in able if option.kind == "api" and option.usd_per_mtok.value > 0]
    same = [option for option in sold if option.model == machines.model]
    api = min(same or sold, key=lambda option: option.usd_per_mtok.value, default=None)
    if api is None:
        return None
    one = _one_machine(machines.usd_per_month, machines.machines)
    return Comparison(machines, api, break_even(one, machines.capacity_mtok, api.usd_per_mtok))


def _one_machine(usd_per_month: Quantity, machines: Quantity) -> Quantity:
    return derived(
        "machine_usd_per_month",
        "USD/month",
        "usd_per_month / machines",
        usd_per_month.named("usd_per_month"),
        machines.named("machines"),
    )
