"""What a comparison claims: nothing of a model against itself, and a real difference."""

import numpy as np
import pytest

from wayra.lab.compare.quality import Asked, judged, primary, sign_flip_p_value
from wayra.lab.scoring.paired import PairedScores

SUITES, ITEMS = 8, 60


def asked(suite: str, first: list[float], second: list[float], metric: str = "acc") -> Asked:
    items = tuple(str(i) for i in range(len(first)))
    return Asked("A", "B", PairedScores(suite, metric, items, tuple(first), tuple(second), 0, 0))


def resampled(generator: np.random.Generator, gain: float = 0.0) -> list[Asked]:
    """Two runs of models that get each item right with a chance of its own; graded suites besides right and wrong."""
    found: list[Asked] = []
    for number in range(SUITES):
        chance = generator.random(ITEMS) * (1 - gain)
        if number % 2:
            one, two = (generator.random(ITEMS) < chance, generator.random(ITEMS) < chance + gain)
            found.append(asked(f"s{number}", [float(x) for x in one], [float(x) for x in two]))
        else:
            one = generator.binomial(4, chance) / 4
            two = generator.binomial(4, chance + gain) / 4
            found.append(asked(f"s{number}", list(map(float, one)), list(map(float, two)), "score"))
    return found


def test_a_model_against_itself_shows_nothing_in_95_of_100_runs() -> None:
    generator = np.random.default_rng(5)
    claims = sum(any(one.is_significant for one in judged(resampled(generator))[0]) for _ in range(200))
    assert claims <= 10


def test_a_really_better_model_is_found() -> None:
    generator = np.random.default_rng(6)
    found, _ = judged(resampled(generator, gain=0.4))
    assert all(one.is_significant and one.difference > 0.2 for one in found)
    assert all(one.low <= one.difference <= one.high and one.settling_items is None for one in found)


def test_correction_takes_back_what_one_test_alone_would_claim() -> None:
    lone = asked("x", [0.0] * 6, [1.0] * 6)
    nothing = [asked(f"n{i}", [1.0, 0.0], [1.0, 0.0]) for i in range(9)]
    ((alone,), _) = judged([lone])
    assert alone.p_value == pytest.approx(2 / 64)
    assert alone.is_significant
    among = judged([lone, *nothing])[0][0]
    assert among.adjusted_p == pytest.approx(20 / 64)
    assert not among.is_significant


def test_sign_flips_of_three_items_cannot_claim_what_three_coins_could_do() -> None:
    assert sign_flip_p_value([0.0] * 3, [0.5, 0.6, 0.7]) == pytest.approx(0.25, abs=0.02)
    assert sign_flip_p_value([0.3, 0.4], [0.3, 0.4]) == 1.0


def test_an_open_question_says_how_many_items_would_settle_it() -> None:
    first = [1.0] * 55 + [0.0] * 45
    second = [1.0] * 50 + [0.0] * 5 + [1.0] * 10 + [0.0] * 35
    ((found,), _) = judged([asked("x", first, second)])
    assert not found.is_significant
    # Miettinen: d = 0.05, discordant 0.15, level 0.05, power 0.8.
    assert found.settling_delta == pytest.approx(0.05)
    assert found.settling_items == pytest.approx(469, abs=2)
    ((same,), _) = judged([asked("x", first, first)])
    assert same.settling_delta == 0.05
    assert same.settling_items is not None
    ((graded,), _) = judged([asked("y", [0.5, 0.5], [0.5, 0.5])])
    assert graded.settling_items is None


def test_one_metric_of_each_suite_is_tested() -> None:
    found = primary(
        [asked("s", [1.0], [0.0], name).scores for name in ("acc_norm", "acc")] + [asked("t", [1.0], [1.0]).scores]
    )
    assert [(one.suite, one.metric) for one in found] == [("s", "acc"), ("t", "acc")]
