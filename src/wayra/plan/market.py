"""What a plan takes from outside: prices, scores and speeds of one's own, the day, and the machine at hand."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from wayra.plan.evidence import Score
from wayra.plan.hardware import Hardware, all_hardware
from wayra.plan.prices.table import PriceTable
from wayra.plan.roofline import Constants


@dataclass(frozen=True, slots=True)
class Market:
    """What is known from outside: prices of hardware, the day on which price lists are read, scores of one's own.

    constants: speeds by kind of hardware ("gpu", "unified", "cpu") that replace the shipped ones.
    here: the machine at hand, when it is to be weighed too.
    """

    table: PriceTable
    today: date
    own_scores: tuple[Score, ...] = ()
    constants: Mapping[str, Constants] = field(default_factory=dict[str, Constants])
    here: Hardware | None = None

    def hardware(self) -> tuple[Hardware, ...]:
        """Everything a model may be put on."""
        return all_hardware() if self.here is None else (*all_hardware(), self.here)
