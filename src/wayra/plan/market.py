"""What a plan takes from outside: prices, scores and speeds of one's own, the day, and the machine at hand."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date

from wayra.base.errors import FileFormatError, InvalidParameter
from wayra.plan.catalogue import candidates
from wayra.plan.evidence import Score
from wayra.plan.hardware import Hardware, all_hardware, hardware
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


def under_known_names(table: PriceTable, where: str) -> PriceTable:
    """A user's prices by the planner's own names of cards and models: what it does not know would change nothing.

    where: for messages. Raises FileFormatError with the nearest names.
    """
    try:
        return PriceTable(
            tuple(replace(row, gpu=hardware(row.gpu).name) for row in table.rents),
            tuple(replace(row, gpu=hardware(row.gpu).name) for row in table.purchases),
            tuple(replace(row, model=candidates((row.model,))[0].id) for row in table.apis),
        )
    except InvalidParameter as error:
        raise FileFormatError(f"{where}: {error}") from None
