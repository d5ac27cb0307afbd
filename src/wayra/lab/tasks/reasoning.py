"""Puzzles that take many small steps, each with one answer that a program has proved to be the only one."""

import itertools
import random
from collections.abc import Callable, Sequence

from wayra.lab.tasks.answers import ASK_FOR_LINE, mark_exact
from wayra.lab.tasks.api import Draft, Task

PEOPLE: tuple[str, ...] = ("Aron", "Bela", "Cora", "Dina", "Egon", "Fritz", "Gina", "Hedi", "Ivan", "Jule")
THINGS = ("red ball", "blue cup", "green hat", "old coin", "silver key", "paper boat", "glass bead")
PLACES: tuple[str, ...] = ("Arles", "Brno", "Cadiz", "Dakar", "Essen", "Faro", "Gent")


def _draft(story: str, question: str, answer: int | str, near: Sequence[int | str], what: str) -> Draft:
    wrong = tuple(f"Answer: {value}" for value in near if str(value).casefold() != str(answer).casefold())
    ask = f"{story}\n\n{question}\n\n{ASK_FOR_LINE.format(what=what)}"
    return Draft(ask, f"Step by step one gets there.\nAnswer: {answer}", (*wrong, "I do not know."), answer)


def queue_order(rng: random.Random) -> Draft | None:
    """Clues are taken away as long as one order is left."""
    people = rng.sample(PEOPLE, 5)
    order = {name: place for place, name in enumerate(people)}
    clues: list[tuple[str, Callable[[dict[str, int]], bool]]] = []
    for first, second in itertools.combinations(people, 2):
        gap = order[second] - order[first]
        clues.append((f"{first} stands somewhere before {second}.", lambda o, a=first, b=second: o[a] < o[b]))
        if gap > 1:
            count = "stands one person" if gap == 2 else f"stand {gap - 1} people"
            text = f"Between {first} and {second}, in whichever order, {count}."
            clues.append((text, lambda o, a=first, b=second, g=gap: abs(o[a] - o[b]) == g))
        else:
            clues.append((f"{first} and {second} are neighbours.", lambda o, a=first, b=second: abs(o[a] - o[b]) == 1))
    rng.shuffle(clues)
    every = [dict(zip(found, range(5), strict=True)) for found in itertools.permutations(people)]
    kept = list(clues)
    for clue in clues:
        rest = [one for one in kept if one is not clue]
        if sum(all(holds(one) for _, holds in rest) for one in every) == 1:
            kept = rest
    place = rng.randrange(5)
    told = "Five people stand in a queue: " + ", ".join(sorted(people)) + ".\n" + "\n".join(text for text, _ in kept)
    question = f"Who stands at place {place + 1}, counted from the front?"
    return _draft(told, question, people[place], [name for name in people if name != people[place]][:2], "<name>")


def swaps(rng: random.Random) -> Draft | None:
    people, things = rng.sample(PEOPLE, 5), rng.sample(THINGS, 5)
    held = dict(zip(people, things, strict=True))
    story = ["At first " + ", ".join(f"{name} has the {thing}" for name, thing in held.items()) + "."]
    for _ in range(rng.randint(5, 8)):
        first, second = rng.sample(people, 2)
        held[first], held[second] = held[second], held[first]
        story.append(
            rng.choice(
                (f"Then {first} and {second} swap what they have.", f"{second} and {first} exchange their things.")
            )
        )
    name = rng.choice(people)
    others = [thing for thing in things if thing != held[name]]
    return _draft(" ".join(story), f"What does {name} have at the end?", held[name], others[:2], "<thing>")


def truth_tellers(rng: random.Random) -> Draft | None:
    people = rng.sample(PEOPLE, 4)
    truth = {name: rng.random() < 0.5 for name in people}
    claims: list[tuple[str, str, Callable[[dict[str, bool]], bool]]] = []
    for name in people:
        a, b = rng.sample([other for other in people if other != name], 2)
        options: list[tuple[str, Callable[[dict[str, bool]], bool]]] = [
            (f"{a} is a liar", lambda t, a=a: not t[a]),
            (f"{a} and {b} are of the same kind", lambda t, a=a, b=b: t[a] == t[b]),
            (f"at least one of {a} and {b} tells the truth", lambda t, a=a, b=b: t[a] or t[b]),
            ("exactly two of us four are liars", lambda t: sum(t.values()) == 2),
            (f"{a} tells the truth, but {b} does not", lambda t, a=a, b=b: t[a] and not t[b]),
        ]
        fitting = [one for one in options if one[1](truth) is truth[name]]
        if not fitting:
            return None
        claims.append((name, *rng.choice(fitting)))
    worlds = [dict(zip(people, values, strict=True)) for values in itertools.product((True, False), repeat=4)]
    possible = sum(all(holds(world) is world[name] for name, _, holds in claims) for world in worlds)
    if possible != 1 or not any(truth.values()):
        return None
    said = "\n".join(f'{name}: "{text}."' for name, text, _ in claims)
    story = f"On an island everybody either always tells the truth or always lies.\n{said}"
    honest = sorted(name for name in people if truth[name])
    question = "Who tells the truth? Give all names in alphabetical order, separated by commas."
    near = (", ".join(sorted(people)), ", ".join(honest[:-1]) or "nobody")
    return _draft(story, question, ", ".join(honest), near, "<names>")


def cheapest_route(rng: random.Random) -> Draft | None:
    towns = rng.sample(PLACES, 6)
    roads: dict[tuple[str, str], int] = {
        pair: rng.randint(2, 20) for pair in itertools.combinations(towns, 2) if rng.random() < 0.6
    }
    start, end = towns[0], towns[-1]

    def cost(path: Sequence[str]) -> int | None:
        legs = [roads.get((a, b), roads.get((b, a))) for a, b in itertools.pairwise(path)]
        return None if None in legs else sum(leg for leg in legs if leg is not None)

    costs = [
        found
        for count in range(5)
        for middle in itertools.permutations(towns[1:-1], count)
        if (found := cost((start, *middle, end))) is not None
    ]
    best = min(costs, default=0)
    if len(costs) < 4 or cost((start, end)) == best or costs[0] == best:
        return None
    prices = "\n".join(f"{a} - {b}: {price}" for (a, b), price in roads.items())
    story = f"Tickets between towns cost, in both directions:\n{prices}"
    question = f"What is the least that a journey from {start} to {end} costs?"
    return _draft(story, question, best, (best + 1, max(costs)), "<number>")


def calendar(rng: random.Random) -> Draft | None:
    days = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    today = place = rng.randrange(7)
    steps: list[str] = []
    for _ in range(rng.randint(3, 5)):
        count, back = rng.randint(2, 40), rng.random() < 0.5
        place += -count if back else count
        steps.append(f"{count} days {'before' if back else 'after'}")
    moved = ", then to the day that is ".join(f"{step} it" for step in steps)
    story = f"Today is {days[today]}. Call it the current day. Step by step, move this to the day that is {moved}."
    near = (days[(place + 1) % 7], days[(place - 1) % 7])
    return _draft(story, "Which day of the week is the current day at the end?", days[place % 7], near, "<day>")


def robot(rng: random.Random) -> Draft | None:
    x = y = 0
    facing = 0
    moves: list[str] = []
    for _ in range(rng.randint(6, 9)):
        if rng.random() < 0.5:
            turn = rng.choice((1, 2, 3))
            facing = (facing + turn) % 4
            moves.append(("turns right", "turns around", "turns left")[turn - 1])
        else:
            steps = rng.randint(1, 9)
            x += (0, 1, 0, -1)[facing] * steps
            y += (1, 0, -1, 0)[facing] * steps
            moves.append(f"walks {steps} steps forward")
    distance = abs(x) + abs(y)
    if distance < 3:
        return None
    story = f"A robot faces north. It {', '.join(moves)}."
    question = "How many steps is its way back at least, walking only north, east, south and west?"
    return _draft(story, question, distance, (distance + 1, distance - 1), "<number>")


def machine(rng: random.Random) -> Draft | None:
    a, b = start = (rng.randint(1, 9), rng.randint(1, 9))
    steps: list[tuple[str, Callable[[int, int], tuple[int, int]]]] = [
        ("add B to A", lambda a, b: (a + b, b)),
        ("subtract A from B", lambda a, b: (a, b - a)),
        ("double B", lambda a, b: (a, 2 * b)),
        ("swap A and B", lambda a, b: (b, a)),
        (
            "if A is greater than B, subtract 3 from A, otherwise add 4 to B",
            lambda a, b: (a - 3, b) if a > b else (a, b + 4),
        ),
        ("if B is even, halve B, otherwise add 1 to B", lambda a, b: (a, b // 2) if b % 2 == 0 else (a, b + 1)),
    ]
    told: list[str] = []
    for text, do in rng.choices(steps, k=rng.randint(5, 8)):
        a, b = do(a, b)
        told.append(text)
    numbered = "\n".join(f"{number}. {text}" for number, text in enumerate(told, start=1))
    story = f"A is {start[0]} and B is {start[1]}. Carry out in this order:\n{numbered}"
    near = (10 * a + b + 1, a + b + 1000)
    return _draft(story, "What is A times 10 plus B at the end?", 10 * a + b, near, "<number>")


def family(rng: random.Random) -> Draft | None:
    names = rng.sample(PEOPLE, 7)
    parent = {names[child]: names[one] for child, one in ((1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (6, 3))}
    facts = [f"{child} is a child of {one}." for child, one in parent.items()]
    rng.shuffle(facts)

    def grandparent(name: str) -> str | None:
        return parent.get(parent.get(name, ""))

    grandchildren = sorted(name for name in names if grandparent(name) == names[0])
    question, answer = rng.choice(
        (
            (f"Who are the cousins of {names[5]}", ", ".join(sorted((names[3], names[4])))),
            (f"Who are the grandchildren of {names[0]}", ", ".join(grandchildren)),
            (f"Which sibling of a parent does {names[5]} have", names[1]),
            (f"Which of {names[6]}'s ancestors is a sibling of {names[2]}", names[1]),
        )
    )
    story = " ".join(facts) + " Only this is known of anybody's parents."
    asked = f"{question}? Give several names in alphabetical order, separated by commas."
    return _draft(story, asked, answer, (names[6], names[0]), "<names>")


def sieve(rng: random.Random) -> Draft | None:
    rules: list[tuple[str, Callable[[int], bool]]] = [
        ("is divisible by 3", lambda n: n % 3 == 0),
        ("is odd", lambda n: n % 2 == 1),
        ("has two different digits", lambda n: n // 10 != n % 10),
        ("has a sum of digits above 8", lambda n: n // 10 + n % 10 > 8),
        ("is not a multiple of 5", lambda n: n % 5 != 0),
        ("has a first digit smaller than its last", lambda n: n // 10 < n % 10),
        ("is one more than a multiple of 4", lambda n: n % 4 == 1),
        ("is no square", lambda n: round(n**0.5) ** 2 != n),
    ]
    chosen = rng.sample(rules, 4)
    low = rng.randint(10, 50)
    high = low + rng.randint(20, 45)
    found = [n for n in range(low, high + 1) if all(holds(n) for _, holds in chosen)]
    if not 2 <= len(found) <= 6:
        return None
    told = [text for text, _ in chosen]
    story = (
        f"Consider the whole numbers from {low} to {high} (both included) each of which {', '.join(told[:-1])} and "
        f"{told[-1]}."
    )
    near = (sum(found) + found[0], len(found))
    return _draft(story, "What is the sum of these numbers?", sum(found), near, "<number>")


def seating(rng: random.Random) -> Draft | None:
    people = rng.sample(PEOPLE, 6)
    clues = [f"{people[1]} sits directly to the left of {people[0]}.", f"{people[3]} sits opposite {people[0]}."]
    clues += rng.choice(
        (
            [f"{people[2]} sits two seats to the left of {people[0]}."],
            [f"{people[2]} sits between {people[1]} and {people[3]}."],
        )
    )
    clues += [f"{people[4]} sits directly to the left of {people[3]}."]
    rng.shuffle(clues)
    story = f"Six people sit evenly around a round table, facing its middle: {', '.join(sorted(people))}. " + " ".join(
        clues
    )
    asked = rng.choice(("right", "opposite"))
    question, answer = (
        (f"Who sits directly to the right of {people[0]}?", people[5])
        if asked == "right"
        else (f"Who sits opposite {people[1]}?", people[4])
    )
    return _draft(story, question, answer, (people[2], people[3]), "<name>")


TASK = Task(
    "reasoning",
    "Multi-step reasoning",
    (queue_order, swaps, truth_tellers, cheapest_route, calendar, robot, machine, family, sieve, seating),
    mark=mark_exact,
)
