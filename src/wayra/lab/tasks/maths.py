"""Word problems of two to five steps with one whole or decimal number as the answer."""

import math
import random
from decimal import Decimal

from wayra.lab.tasks.answers import ASK_FOR_LINE, mark_number
from wayra.lab.tasks.api import Draft, Task

NAMES = (
    "Amaru",
    "Bea",
    "Chen",
    "Dalia",
    "Emre",
    "Femi",
    "Greta",
    "Hugo",
    "Inés",
    "Jonas",
    "Kaya",
    "Lena",
    "Mirek",
    "Noor",
)
WRITE_NUMBER = ASK_FOR_LINE.format(what="<number>")


def _draft(story: str, answer: int | Decimal, near: tuple[int | Decimal, ...], places: int = 0) -> Draft | None:
    """near: what comes of a likely mistake."""
    wrong = tuple(f"Answer: {value}" for value in (*near, answer + 1) if value != answer)
    how = f"{WRITE_NUMBER}\n(with {places} decimal places)" if places else WRITE_NUMBER
    target = float(answer) if places else int(answer)
    reference = f"So it comes to {answer}.\nAnswer: {answer:.{places}f}"
    return Draft(f"{story}\n\n{how}", reference, wrong, target, {"places": places})


def two_trains(rng: random.Random) -> Draft | None:
    slow, fast, hours, lead = rng.randint(40, 80), rng.randint(85, 130), rng.randint(2, 5), rng.randint(1, 3)
    distance = slow * (hours + lead) + fast * hours
    story = (
        f"A goods train leaves Tarma for Oruro at {slow} km/h. {lead} h later an express leaves Oruro for Tarma on "
        f"the same "
        f"line at {fast} km/h. The line is {distance} km long. How many hours after the express leaves do they meet?"
    )
    return _draft(story, hours, (hours + lead, round(distance / (slow + fast)) + 1))


def shopping_with_discount(rng: random.Random) -> Draft | None:
    name, price, count = rng.choice(NAMES), rng.randint(4, 18) * 5, rng.randint(3, 9)
    percent, coupon, free = rng.choice((10, 20, 30, 40)), rng.randint(2, 15), rng.randint(2, 3)
    paid = count - count // (free + 1)
    total = Decimal(price * paid * (100 - percent)) / 100 - coupon
    story = (
        f"{name} puts {count} lamps at ${price} each into the basket. Of every {free + 1} lamps one is free. On "
        f"what is left "
        f"there is {percent}% off, and then a voucher of ${coupon} is taken off. How many dollars does {name} pay?"
    )
    before = Decimal((price * paid - coupon) * (100 - percent)) / 100
    return _draft(story, total, (before, total + coupon), 2)


def filling_a_tank(rng: random.Random) -> Draft | None:
    first, second, leak, minutes = rng.randint(8, 20), rng.randint(5, 15), rng.randint(2, 4), rng.randint(6, 20)
    alone = rng.randint(3, 8)
    volume = first * alone + (first + second - leak) * minutes
    story = (
        f"A tank of {volume} litres is empty. One pipe brings {first} litres a minute. After {alone} minutes a "
        f"second pipe with "
        f"{second} litres a minute is opened too, and at that moment a hole begins to lose {leak} litres a minute. "
        "How many minutes after the first pipe was opened is the tank full?"
    )
    return _draft(story, alone + minutes, (minutes, volume // (first + second)))


def ages(rng: random.Random) -> Draft | None:
    young, old = rng.sample(NAMES, 2)
    age, factor, years = rng.randint(4, 14), rng.randint(3, 6), rng.randint(2, 9)
    other = age * factor
    story = (
        f"{old} is {factor} times as old as {young}. In {years} years the two will be {age + other + 2 * years} "
        f"years old "
        f"together. How old is {old} now?"
    )
    return _draft(story, other, (age, other + years))


def mixing(rng: random.Random) -> Draft | None:
    weak, strong, litres = rng.randint(1, 4) * 5, rng.randint(7, 12) * 5, rng.randint(2, 9)
    wanted = rng.randrange(weak + 5, strong, 5)
    other = Decimal(litres * (wanted - weak)) / (strong - wanted)
    if other != other.to_integral_value():
        return None
    story = (
        f"A gardener has {litres} litres of a solution with {weak}% fertiliser. How many litres of a solution with "
        f"{strong}% "
        f"fertiliser must be added to get one with {wanted}%?"
    )
    return _draft(story, int(other), (litres + int(other), litres))


def work_together(rng: random.Random) -> Draft | None:
    first, second = sorted(rng.sample((6, 8, 10, 12, 15, 18, 20, 24, 30), 2))
    left = rng.randint(1, 3)
    share = Decimal(first * second - left * second) / (first + second)
    if share != share.to_integral_value() or share <= 0:
        return None
    a, b = rng.sample(NAMES, 2)
    story = (
        f"{a} paints a fence alone in {first} hours, {b} in {second} hours. {a} paints alone for {left} "
        f"{'hour' if left == 1 else 'hours'}, then both go on together. For how many hours do they paint together?"
    )
    return _draft(story, int(share), (int(share) + left, (first + second) // 2))


def remainders(rng: random.Random) -> Draft | None:
    first, second, third = rng.sample((3, 4, 5, 7, 9, 11), 3)
    eggs = rng.randint(60, 250)
    period = math.lcm(first, second, third)
    low = eggs - rng.randrange(min(period, 50))
    # The period is the distance of numbers with equal remainders, so exactly one lies in the range.
    story = (
        f"A farmer has at least {low} but fewer than {low + period} eggs. In boxes of {first} there are "
        f"{eggs % first} left over, "
        f"in boxes of {second} there are {eggs % second}, and in boxes of {third} there are {eggs % third}. How "
        f"many eggs are there?"
    )
    return _draft(story, eggs, (eggs - first, eggs + second))


def fractions_of_money(rng: random.Random) -> Draft | None:
    name, half, third = rng.choice(NAMES), rng.randint(2, 5), rng.randint(3, 6)
    rest = rng.randint(3, 30) * 2
    left = Decimal(rest * third) / (third - 1)
    total = left * half / (half - 1)
    if total != total.to_integral_value() or left != left.to_integral_value():
        return None
    story = (
        f"{name} spends 1/{half} of the holiday money on the journey and 1/{third} of what is left on food. "
        f"${rest} remain. How many dollars was the holiday money?"
    )
    return _draft(story, int(total), (int(left), rest * half))


def handshakes(rng: random.Random) -> Draft | None:
    teams, size = rng.randint(3, 7), rng.randint(3, 8)
    people = teams * size
    total = math.comb(people, 2) - teams * math.comb(size, 2)
    story = (
        f"At a tournament there are {teams} teams of {size} players. Every player shakes hands once with every "
        f"player of the "
        "other teams, and with nobody of the own team. How many handshakes are there?"
    )
    return _draft(story, total, (math.comb(people, 2), people * (people - size)))


def compound_growth(rng: random.Random) -> Draft | None:
    start, percent, years, taken = (
        rng.randint(4, 20) * 500,
        rng.choice((2, 3, 4, 5, 8, 10)),
        rng.randint(2, 3),
        rng.randint(1, 8) * 25,
    )
    balance = Decimal(start)
    for _ in range(years):
        balance = balance * (100 + percent) / 100 - taken
    if balance != round(balance, 2):
        return None
    story = (
        f"An account holds ${start}. At the end of every year {percent}% interest is added to what is there, and "
        f"then ${taken} are "
        f"taken out. How many dollars are there after {years} years?"
    )
    simple = Decimal(start) * (100 + percent * years) / 100 - taken * years
    return _draft(story, balance, (simple,), 2)


TASK = Task(
    "maths",
    "Maths word problems",
    (
        two_trains, shopping_with_discount, filling_a_tank, ages, mixing, work_together, remainders, fractions_of_money,
        handshakes, compound_growth,
    ),
    mark=mark_number,
)  # fmt: skip
