"""A table drawn from a seed and a question about it with one exact answer."""

import itertools
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

from wayra.lab.tasks.answers import ASK_FOR_LINE, mark_exact
from wayra.lab.tasks.api import Draft, Generator, Task

SHOPS = ("North", "South", "Harbour", "Station")
ITEMS = ("tea", "bread", "soap", "paper")
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, slots=True)
class Sale:
    """One row of the table; units None: missing."""

    day: int
    shop: str
    item: str
    units: int | None
    cents: int

    @property
    def sold(self) -> int:
        return self.units or 0


Answer = int | str | Fraction
Question = Callable[[random.Random, list[Sale]], tuple[str, Answer, tuple[Answer, ...], int] | None]
"""Draws what is asked of a table: the words, the answer, likely mistakes, decimal places."""


def _table(rng: random.Random) -> list[Sale]:
    days = sorted(rng.choices(range(1, 15), k=rng.randint(14, 20)))
    rows = [
        Sale(day, rng.choice(SHOPS), rng.choice(ITEMS), rng.randint(1, 40), rng.randint(4, 60) * 25) for day in days
    ]
    missing = rng.randrange(len(rows))
    gap = rows[missing]
    rows[missing] = Sale(gap.day, gap.shop, gap.item, None, gap.cents)
    return rows


def _date(day: int) -> str:
    return f"2025-06-{day + 1:02d}"


def _as_csv(rows: list[Sale]) -> str:
    lines = [
        ",".join(
            (_date(row.day), row.shop, row.item, "" if row.units is None else str(row.units), f"{row.cents / 100:.2f}")
        )
        for row in rows
    ]
    return "\n".join(["date,shop,item,units,unit_price", *lines])


def _best(totals: dict[str, int]) -> list[str]:
    return sorted(totals, key=lambda name: (-totals[name], name))


def _sums(rows: list[Sale], key: Callable[[Sale], str], value: Callable[[Sale], int]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for row in rows:
        totals[key(row)] = totals.get(key(row), 0) + value(row)
    return totals


def revenue_of_shop(rng: random.Random, rows: list[Sale]) -> tuple[str, Answer, tuple[Answer, ...], int]:
    shop = rng.choice(rows).shop
    cents = sum(row.sold * row.cents for row in rows if row.shop == shop)
    units = sum(row.sold for row in rows if row.shop == shop)
    words = f"What is the revenue of the shop {shop} in dollars (units times unit_price over its rows)?"
    return words, Fraction(cents, 100), (units, Fraction(sum(row.sold * row.cents for row in rows), 100)), 2


def best_item_by_revenue(rng: random.Random, rows: list[Sale]) -> tuple[str, Answer, tuple[Answer, ...], int] | None:
    by_revenue, by_units = (
        _sums(rows, lambda row: row.item, value) for value in (lambda row: row.sold * row.cents, lambda row: row.sold)
    )
    order, units = _best(by_revenue), _best(by_units)
    if len(order) < 3 or by_revenue[order[0]] == by_revenue[order[1]] or order[0] == units[0]:
        return None
    return "Which item brings the most revenue (units times unit_price)?", order[0], (units[0], order[1]), 0


def mean_units(rng: random.Random, rows: list[Sale]) -> tuple[str, Answer, tuple[Answer, ...], int] | None:
    item = next(row for row in rows if row.units is None).item
    known = [row.sold for row in rows if row.item == item and row.units is not None]
    if len(known) < 2:
        return None
    words = f"What is the mean number of units per row of the item {item}, over the rows where it is known?"
    return words, Fraction(sum(known), len(known)), (Fraction(sum(known), len(known) + 1), sum(known)), 2


def median_units(rng: random.Random, rows: list[Sale]) -> tuple[str, Answer, tuple[Answer, ...], int]:
    known = [row.sold for row in rows if row.units is not None]
    words = "What is the median of units over the rows where it is known?"
    return words, Fraction(statistics.median(known)), (Fraction(sum(known), len(known)),), 1


def share_of_item(rng: random.Random, rows: list[Sale]) -> tuple[str, Answer, tuple[Answer, ...], int]:
    item = rng.choice(rows).item
    part, whole = sum(row.sold for row in rows if row.item == item), sum(row.sold for row in rows)
    rows_share = Fraction(100 * sum(row.item == item for row in rows), len(rows))
    return f"What percentage of all units sold is the item {item}?", Fraction(100 * part, whole), (rows_share, part), 1


def change_between_weeks(rng: random.Random, rows: list[Sale]) -> tuple[str, Answer, tuple[Answer, ...], int] | None:
    first, second = (sum(row.sold for row in rows if (row.day > 7) is late) for late in (False, True))
    if not first or first == second:
        return None
    words = (
        "By what percentage did the units sold change from the week of 2 to 8 June to the week of 9 to 15 June? "
        "A fall is negative."
    )
    return (
        words,
        Fraction(100 * (second - first), first),
        (second - first, Fraction(100 * (second - first), second or 1)),
        1,
    )


def weekday_with_most_rows(rng: random.Random, rows: list[Sale]) -> tuple[str, Answer, tuple[Answer, ...], int] | None:
    counts = _sums(rows, lambda row: WEEKDAYS[(row.day - 1) % 7], lambda _: 1)
    order = _best(counts)
    if counts[order[0]] == counts[order[1]]:
        return None
    words = f"2 June 2025 is a Monday. Which day of the week ({', '.join(WEEKDAYS)}) has the most rows?"
    return words, order[0], (order[1],), 0


def rows_above(rng: random.Random, rows: list[Sale]) -> tuple[str, Answer, tuple[Answer, ...], int]:
    limit, shop = rng.randint(8, 28), rng.choice(rows).shop
    found = sum(row.sold > limit and row.shop != shop for row in rows)
    words = f"How many rows of shops other than {shop} have more than {limit} units?"
    return words, found, (sum(row.sold > limit for row in rows), found + 2), 0


def longest_gap(rng: random.Random, rows: list[Sale]) -> tuple[str, Answer, tuple[Answer, ...], int]:
    days = sorted({row.day for row in rows})
    gap = max(second - first for first, second in itertools.pairwise(days))
    words = "What is the largest number of days between one date with rows and the next date with rows (neighbours: 1)?"
    return words, gap, (gap - 1, gap + 1), 0


def shops_by_units(rng: random.Random, rows: list[Sale]) -> tuple[str, Answer, tuple[Answer, ...], int] | None:
    totals = _sums(rows, lambda row: row.shop, lambda row: row.sold)
    if len(set(totals.values())) < 3 or len(set(totals.values())) < len(totals):
        return None
    order = _best(totals)
    words = "List the shops by units sold, the most first, separated by commas."
    return words, ", ".join(order), (", ".join(reversed(order)), order[0]), 0


def running_total(rng: random.Random, rows: list[Sale]) -> tuple[str, Answer, tuple[Answer, ...], int] | None:
    target = rng.randint(60, 160)
    total = 0
    for number, row in enumerate(rows, start=1):
        total += row.sold
        if total >= target:
            words = f"After how many rows of the table, from the top, have at least {target} units been sold together?"
            return words, number, (number - 1, number + 1), 0
    return None


def _shown(answer: Answer, places: int) -> str:
    if not isinstance(answer, Fraction):
        return str(answer)
    exact = Decimal(answer.numerator) / Decimal(answer.denominator)
    return str(exact.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP))


def _generator(question: Question) -> Generator:
    def generate(rng: random.Random) -> Draft | None:
        rows = _table(rng)
        drawn = question(rng, rows)
        if drawn is None:
            return None
        words, answer, near, places = drawn
        right = _shown(answer, places)
        what = "<number>" if not isinstance(answer, str) else "<name>" if "," not in answer else "<name>, <name>, ..."
        rounded = f" Round to {places} decimal places, half away from zero." if places else ""
        ask = (
            f"Sales of four shops; an empty number of units is unknown and counts as no "
            f"sale:\n\n```csv\n{_as_csv(rows)}\n"
            f"```\n\n{words}{rounded}\n\n{ASK_FOR_LINE.format(what=what)}"
        )
        wrong = tuple(f"Answer: {_shown(one, places)}" for one in near if _shown(one, places) != right)
        target = right if isinstance(answer, str) else float(right) if places else int(right)
        # A mistake may give the same number by chance of rounding.
        wrong = tuple(one for one in wrong if _differs(one, right, places))
        return Draft(ask, f"Adding up gives it.\nAnswer: {right}", (*wrong, "Answer: none"), target, {"places": places})

    generate.__name__ = question.__name__
    return generate


def _differs(line: str, right: str, places: int) -> bool:
    try:
        unit = Decimal(1).scaleb(-places)
        return Decimal(line.removeprefix("Answer: ")).quantize(unit) != Decimal(right).quantize(unit)
    except ArithmeticError:
        return True


QUESTIONS: tuple[Question, ...] = (
    revenue_of_shop, best_item_by_revenue, mean_units, median_units, share_of_item, change_between_weeks,
    weekday_with_most_rows, rows_above, longest_gap, shops_by_units, running_total,
)  # fmt: skip
TASK = Task("analysis", "Data analysis", tuple(map(_generator, QUESTIONS)), mark=mark_exact, items_per_generator=3)
