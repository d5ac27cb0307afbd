"""A model compared with itself, 200 times: what a comparison says of answers and of speeds it must not make up."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from wayra.lab.compare.measure import in_turn
from wayra.lab.compare.quality import LEVEL, Asked, judged
from wayra.lab.compare.speed import Key, Speeds, races
from wayra.lab.compare.tables import Race, Raced, Side
from wayra.lab.compare.verdict import verdict
from wayra.lab.scoring.paired import PairedScores

RUNS = 200
ROUNDS = 5
SIDES = (Side("A", "a", ()), Side("B", "b", ()))
SPEEDS: dict[Key, float] = {
    ("pp128", "rate"): 3000.0, ("pp512", "rate"): 2800.0, ("tg64", "rate"): 240.0,
    ("concurrency 1", "output_rate"): 200.0, ("concurrency 4", "output_rate"): 500.0,
    ("concurrency 8", "output_rate"): 700.0, ("concurrency 1", "ttft_p50"): 40.0,
    ("concurrency 4", "ttft_p50"): 90.0, ("concurrency 8", "ttft_p50"): 160.0,
}  # fmt: skip
QUIET = "No benchmark shows a significant difference. That is not proof that there is none."
ALIKE = f"No speed of A and B differs significantly in {ROUNDS} rounds."


def turns(generator: np.random.Generator, drift: float) -> list[float]:
    """How fast the machine is in each turn of a comparison: steadily slower, wandering, stalled now and then."""
    count = ROUNDS * len(SIDES)
    level = -drift * np.arange(count) + np.cumsum(generator.normal(0, 0.01, count))
    stalled = generator.random(count) < 0.1
    return list(np.exp(level) * np.where(stalled, generator.uniform(0.6, 0.95, count), 1.0))


def measured(generator: np.random.Generator, *, drift: float = 0.0, gain: float = 1.0) -> list[Speeds]:
    """Both models' speeds in every round, in the order that a comparison measures them; gain: of B over A."""
    machine = iter(turns(generator, drift))
    rounds: dict[str, dict[Key, list[float]]] = {side.label: {key: [] for key in SPEEDS} for side in SIDES}
    for number in range(1, ROUNDS + 1):
        for side in in_turn(SIDES, number):
            level = next(machine) * (gain if side.label == "B" else 1.0)
            for key, usual in SPEEDS.items():
                noise = generator.lognormal(0, 0.02)
                rounds[side.label][key].append(usual / level * noise if key[1] == "ttft_p50" else usual * level * noise)
    return [Speeds({key: tuple(values) for key, values in rounds[side.label].items()}, {}) for side in SIDES]


def answered(generator: np.random.Generator) -> list[Asked]:
    """Eight suites, graded or right and wrong, each item resampled with the chances of one model."""
    found: list[Asked] = []
    for number in range(8):
        chance = generator.random(60)
        draws = [generator.binomial(1 if number % 2 else 4, chance) / (1 if number % 2 else 4) for _ in SIDES]
        scores = PairedScores(
            f"s{number}", "score", tuple(map(str, range(60))), *(tuple(map(float, one)) for one in draws), 0, 0
        )
        found.append(Asked("A", "B", scores))
    return found


def said(asked: Sequence[Asked], raced: Sequence[Race]) -> list[str]:
    """The verdict, all tests corrected together."""
    tested, corrected = judged(asked, [race.p_value for race in raced])
    settled = [Raced(**asdict(race), adjusted_p=p, is_significant=p < LEVEL)
               for race, p in zip(raced, corrected, strict=True)]  # fmt: skip
    return verdict(tested, settled)


def test_a_model_against_itself_is_neither_better_nor_faster_in_95_of_100_comparisons() -> None:
    generator = np.random.default_rng(21)
    quiet = 0
    for _ in range(RUNS):
        found = said(answered(generator), races(SIDES, measured(generator)))
        quiet += QUIET in found and ALIKE in found
    assert quiet >= 0.95 * RUNS


def test_speeds_alone_of_a_model_against_itself_are_alike_in_95_of_100_comparisons() -> None:
    generator = np.random.default_rng(22)
    quiet = sum(ALIKE in said([], races(SIDES, measured(generator))) for _ in range(RUNS))
    assert quiet >= 0.95 * RUNS


def test_a_machine_that_slows_down_steadily_makes_nobody_faster() -> None:
    """Five per cent a turn: in an order that never changed, B would be slower in every round."""
    generator = np.random.default_rng(23)
    quiet = sum(ALIKE in said([], races(SIDES, measured(generator, drift=0.05))) for _ in range(RUNS))
    assert quiet >= 0.95 * RUNS


def test_a_model_that_is_a_quarter_faster_is_found() -> None:
    generator = np.random.default_rng(24)
    found = [said([], races(SIDES, measured(generator, gain=1.25))) for _ in range(RUNS)]
    assert sum(any("B is faster than A" in sentence for sentence in one) for one in found) >= 0.5 * RUNS
    assert not any("A is faster than B" in sentence for one in found for sentence in one)
