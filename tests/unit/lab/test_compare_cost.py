"""What a million tokens cost in a comparison: sold by the token, rented or bought, on one line, by the planner."""

import pytest

from wayra.base.errors import InvalidParameter
from wayra.lab.compare.cost import cost_notes, cost_rows, owned, rented
from wayra.lab.compare.settings import CompareSettings
from wayra.lab.compare.speed import Speeds
from wayra.lab.compare.tables import Price, Side

RATES = {
    ("pp128", "rate"): (900.0, 1000.0, 1100.0), ("pp512", "rate"): (500.0,), ("tg64", "rate"): (9000.0,),
    ("concurrency 8", "output_rate"): (90.0, 100.0, 110.0), ("concurrency 1", "output_rate"): (50.0,),
}  # fmt: skip
FAST = Speeds(RATES, {})
UNKNOWN = Speeds({}, {})


def test_a_machine_bought_costs_its_price_and_its_power_by_the_hour() -> None:
    # 1,200 USD / 36 months, and 65 W * 0.7 * 1.4 * 730 h * 0.12 USD/kWh, over 730 hours.
    by_hand = (1200 / 36 + 0.065 * 0.7 * 1.4 * 730 * 0.12) / 730
    assert owned(1200, 65).usd_per_h == pytest.approx(by_hand)
    assert by_hand == pytest.approx(0.0533, abs=1e-4)
    assert owned(1200, 0, 6).usd_per_h == pytest.approx(1200 / 72 / 730)
    assert "the planner's assumptions" in owned(1200, 65).how


def test_prices_and_machines_stand_on_one_line() -> None:
    sides = [
        Side("A", "here", (), machine=rented(3.6)),
        Side("B", "https://somewhere", (), price=Price(2.5, 10.0)),
        Side("C", "http://server", (), machine=rented(3.6)),
        Side("D", "nobody", ()),
    ]
    loops = Speeds({("concurrency 4", "output_rate"): (200.0,)}, {})
    rows = {row.metric: [cell.value for cell in row.cells] for row in cost_rows(sides, [FAST, FAST, loops, FAST])}
    # A millidollar a second: at 1,000 tokens a second a dollar a million.
    assert rows["machine_usd_per_h"] == [3.6, None, 3.6, None]
    assert rows["input_usd_per_mtok"] == [pytest.approx(1.0), 2.5, None, None]
    assert rows["output_usd_per_mtok"] == [pytest.approx(10.0), 10.0, pytest.approx(5.0), None]
    assert rows["blended_usd_per_mtok"] == [pytest.approx(3.25), 4.375, None, None]
    assert [note[:2] for note in cost_notes(sides)] == ["A:", "C:"]


def test_a_machine_whose_speed_was_not_measured_has_no_price_a_token() -> None:
    rows = cost_rows([Side("A", "here", (), machine=rented(1.0))], [UNKNOWN])
    assert [row.cells[0].value for row in rows] == [1.0, None, None, None]


def test_nobody_pays_twice() -> None:
    with pytest.raises(InvalidParameter, match="B is paid for in two ways"):
        CompareSettings(("a", "b"), (), prices={"B": (1.0, 2.0)}, owned={"B": (1000.0, 65.0, 3.0)})
    with pytest.raises(InvalidParameter, match="years of use"):
        CompareSettings(("a", "b"), (), owned={"B": (1000.0, 65.0, 0.0)})
