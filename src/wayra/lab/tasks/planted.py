"""Sound functions and the bugs that can be planted in them: what repairing and reviewing code are asked about.

The functions are read as text as well as called, so they are plain Python without types of this project.
"""

import inspect
import random
from collections.abc import Callable
from dataclasses import dataclass


def moving_average(values, width):
    if width < 1 or width > len(values):
        return []
    total = sum(values[:width])
    averages = [total / width]
    for place in range(width, len(values)):
        total += values[place] - values[place - width]
        averages.append(total / width)
    return averages


def parse_settings(text):
    settings = {}
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, _, value = line.partition("=")
        settings[name.strip()] = value.strip()
    return settings


def find_first(values, wanted):
    low, high = 0, len(values)
    while low < high:
        middle = (low + high) // 2
        if values[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low if low < len(values) and values[low] == wanted else -1


def invoice_total(lines, discount_percent):
    total = 0
    for price, quantity, is_taxed in lines:
        amount = price * quantity
        if is_taxed:
            amount = amount * 120 // 100
        total += amount
    total -= total * discount_percent // 100
    return max(total, 0)


def overlapping(bookings):
    found = []
    for first in range(len(bookings)):
        for second in range(first + 1, len(bookings)):
            start = max(bookings[first][0], bookings[second][0])
            end = min(bookings[first][1], bookings[second][1])
            if start < end:
                found.append([first, second])
    return found


def transpose(grid):
    if not grid:
        return []
    width = max(len(row) for row in grid)
    turned = []
    for column in range(width):
        turned.append([row[column] if column < len(row) else None for row in grid])
    return turned


def is_leap_year(year):
    if year % 400 == 0:
        return True
    if year % 100 == 0:
        return False
    return year % 4 == 0


def merge_sorted(first, second):
    merged, left, right = [], 0, 0
    while left < len(first) and right < len(second):
        if first[left] <= second[right]:
            merged.append(first[left])
            left += 1
        else:
            merged.append(second[right])
            right += 1
    return merged + first[left:] + second[right:]


def count_words(text):
    counts = {}
    for word in text.lower().split():
        word = word.strip(".,;:!?")
        if word:
            counts[word] = counts.get(word, 0) + 1
    return counts


def paginate(items, page, size):
    if page < 1 or size < 1:
        return []
    start = (page - 1) * size
    return items[start : start + size]


def median(values):
    if not values:
        return None
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2 == 1:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def remove_duplicates(values):
    seen = set()
    kept = []
    for value in values:
        if value not in seen:
            seen.add(value)
            kept.append(value)
    return kept


@dataclass(frozen=True, slots=True)
class Bug:
    """old: a part of one line of the sound function; new: what stands there instead. kind: one of KINDS.

    symptom: what a user would report.
    """

    old: str
    new: str
    kind: str
    symptom: str


KINDS = {
    "off-by-one": "an index, bound or count is one too large or too small",
    "wrong-operator": "a comparison, arithmetic or logical operator is the wrong one",
    "wrong-variable": "the wrong variable, index or key is used",
    "missing-case": "an input that must be handled (empty, equal, negative, upper case ...) is not",
    "wrong-constant": "a number or text that stands in the code is wrong",
    "wrong-order": "the right steps in the wrong order or nested wrongly",
}


@dataclass(frozen=True, slots=True)
class Program:
    """What the function does, in words, with the bugs that can be planted in it, and how to draw its arguments."""

    function: Callable[..., object]
    purpose: str
    bugs: tuple[Bug, ...]
    arguments: Callable[[random.Random], tuple[object, ...]]
    special: tuple[tuple[object, ...], ...] = ()

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def source(self) -> str:
        return inspect.getsource(self.function)

    def with_bug(self, bug: Bug) -> str:
        return self.source.replace(bug.old, bug.new)

    def line_of(self, bug: Bug) -> int:
        """Counted from 1 within the function."""
        return self.source[: self.source.index(bug.old)].count("\n") + 1


def _list(rng: random.Random, least: int = 0, most: int = 8, high: int = 12) -> list[int]:
    return [rng.randint(-4, high) for _ in range(rng.randint(least, most))]


PROGRAMS = (
    Program(moving_average, "returns the averages of each `width` neighbouring values; nothing if width does not fit", (
        Bug("range(width, len(values))", "range(width, len(values) - 1)", "off-by-one", "the last average is missing"),
        Bug("values[place - width]", "values[place - 1]", "wrong-variable", "from the second average on they are "
            "wrong"),
        Bug("width > len(values)", "width >= len(values)", "wrong-operator",
            "nothing comes back when the width is the number of values"),
    ), lambda rng: (_list(rng, 2), rng.randint(1, 4)), (([1, 2, 3], 3), ([1], 2), ([5, 1], 0))),
    Program(parse_settings, "reads lines NAME = VALUE into a dictionary; empty lines and lines that begin with # "
        "are left out;"
            " only the first = of a line separates", (
        Bug('line.startswith("#")', 'line.endswith("#")', "wrong-variable", "comments turn up among the settings"),
        Bug('line.partition("=")', 'line.rpartition("=")', "wrong-order", "values with an equals sign in them are "
            "cut wrongly"),
        Bug("value.strip()", "value", "missing-case", "values begin with a space"),
    ), lambda rng: ("\n".join(rng.choice(("a = 1", "url = x=y", "# note", "", " deep=2 ", "b=3")) for _ in range(6)),),
        (("# only\nk = v=w\n\n a=b",),)),
    Program(find_first, "finds by bisection the index of the first occurrence of `wanted` in ascending values, or -1", (
        Bug("values[middle] < wanted", "values[middle] <= wanted", "wrong-operator", "values that are there are not "
            "found"),
        Bug("return low if", "return low + 1 if", "off-by-one", "the index is that of the next value"),
        Bug("values[low] == wanted else -1", "values[low] == wanted else 0", "wrong-constant",
            "index 0 comes back for values that are not there"),
    ), lambda rng: (sorted(_list(rng, 1)), rng.randint(-2, 8)), (([1, 3], 3), ([2, 2, 2], 2), ([], 1), ([4], 9))),
    Program(invoice_total, "adds price * quantity in cents over all lines, with 20% tax (rounded down per line) on "
        "the taxed "
            "ones, then takes the discount in percent (rounded down) off the sum", (
        Bug("120 // 100", "112 // 100", "wrong-constant", "totals with taxed lines are too low"),
        Bug("price * quantity", "price + quantity", "wrong-operator", "the amounts of lines are wrong"),
        Bug("total -= total * discount_percent", "total -= amount * discount_percent", "wrong-variable",
            "the discount is too small when there are several lines"),
    ), lambda rng: ([[rng.randint(100, 999), rng.randint(1, 5), rng.random() < 0.6] for _ in range(3)],
                    rng.choice((0, 5, 10, 25))), (([[100, 2, True], [300, 3, False]], 10),)),
    Program(overlapping, "returns the index pairs of bookings [start, end] that overlap; touching ends do not", (
        Bug("start < end", "start <= end", "wrong-operator", "bookings that only touch are reported"),
        Bug("range(first + 1, len(bookings))", "range(first, len(bookings))", "off-by-one",
            "every booking is said to overlap with itself"),
        Bug("min(bookings[first][1], bookings[second][1])", "min(bookings[first][1], bookings[second][0])",
            "wrong-variable", "overlaps are missed"),
    ), lambda rng: ([[s, s + rng.randint(1, 5)] for s in (rng.randint(0, 12) for _ in range(rng.randint(2, 5)))],),
        (([[1, 3], [3, 5], [2, 4]],),)),
    Program(transpose, "turns rows into columns; rows that are too short are filled with None", (
        Bug("if column < len(row)", "if column <= len(row)", "off-by-one", "rows of different lengths raise "
            "IndexError"),
        Bug("max(len(row) for row in grid)", "min(len(row) for row in grid)", "wrong-operator", "columns are missing"),
        Bug("if not grid:", "if grid is None:", "missing-case", "an empty grid raises ValueError"),
    ), lambda rng: ([_list(rng, 1, 4) for _ in range(rng.randint(1, 4))],), (([],), ([[1, 2], [3]],))),
    Program(is_leap_year, "tells whether a year of the Gregorian calendar is a leap year", (
        Bug("year % 400", "year % 500", "wrong-constant", "2000 is not recognised"),
        Bug("year % 100 == 0", "year % 100 != 0", "wrong-operator", "most leap years are not recognised"),
        Bug("return year % 4 == 0", "return year % 4 == 1", "wrong-constant", "the years after the leap years are "
            "reported"),
    ), lambda rng: (rng.randint(1600, 2400),), ((2000,), (1900,), (2024,), (2023,), (2500,))),
    Program(merge_sorted, "merges two ascending lists into one", (
        Bug("second[right:]", "second[right + 1 :]", "off-by-one", "a value is lost when the second list has the "
            "largest ones"),
        Bug("first[left] <= second[right]", "first[left] >= second[right]", "wrong-operator", "the result is not "
            "sorted"),
        Bug("merged + first[left:]", "merged + first[right:]", "wrong-variable", "values are lost or doubled at the "
            "end"),
    ), lambda rng: (sorted(_list(rng)), sorted(_list(rng))), (([1, 5], [2, 9, 9]), ([2, 7, 8], [1]), ([], [1]))),
    Program(count_words, "counts the words of a text; case and marks .,;:!? around a word do not matter", (
        Bug("text.lower().split()", "text.split()", "missing-case", "the same word is counted twice, upper case apart"),
        Bug("counts.get(word, 0) + 1", "counts.get(word, 1) + 1", "wrong-constant", "all counts are one too high"),
        Bug('word.strip(".,;:!?")', 'word.rstrip(".,;:!?")', "missing-case", "marks stay at the beginning of words"),
    ), lambda rng: (" ".join(rng.choice(("Fog", "fog", "sea,", "sea", ":end", "!")) for _ in range(7)),),
        (("A a. b ,c",), ("",))),
    Program(paginate, "returns the items of a page; pages are numbered from 1", (
        Bug("(page - 1) * size", "page * size", "off-by-one", "the first page shows what belongs on the second"),
        Bug("start : start + size", "start : start + page", "wrong-variable", "pages have different lengths"),
        Bug("if page < 1 or size < 1", "if page < 1 and size < 1", "wrong-operator",
            "page 0 shows items when it should show none"),
    ), lambda rng: (_list(rng, 3, 9), rng.randint(1, 3), rng.randint(1, 4)),
        (([1, 2, 3], 0, -2), ([1, 2, 3, 4, 5, 6], 1, 2), ([1, 2, 3, 4], 0, 4), ([1, 2, 3, 4, 5], -1, 2))),
    Program(median, "returns the median, the mean of the two middle values of an even number, or None without values", (
        Bug("ordered = sorted(values)", "ordered = list(values)", "wrong-order", "unsorted input gives wrong medians"),
        Bug("ordered[middle - 1] + ordered[middle]", "ordered[middle] + ordered[middle + 1]", "off-by-one",
            "two values raise IndexError"),
        Bug("% 2 == 1", "% 2 == 0", "wrong-operator", "odd numbers of values give the mean of two"),
    ), lambda rng: (_list(rng, 1),), (([],), ([3, 1],), ([9, 1, 5],), ([4, 1, 3, 2],))),
    Program(remove_duplicates, "returns the values without repetitions, in the order of their first occurrence", (
        Bug("if value not in seen", "if value in seen", "wrong-operator", "nothing comes back at all"),
        Bug("kept = []", "kept = [0]", "wrong-constant", "the result begins with a zero that is not in the input"),
        Bug("kept.append(value)", "kept.append(values[0])", "wrong-variable", "the first value is repeated"),
    ), lambda rng: (_list(rng, 0, 8, 4),), (([3, 1, 3, 2, 1],), ([0, 0],))),
)  # fmt: skip
