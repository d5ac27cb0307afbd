"""The lab's statistics beside SciPy and statsmodels, textbook cases and others; needs wayra[oracle] (-m oracle)."""

import math
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
import pytest

from wayra.lab.compare.quality import Asked, judged, sign_flip_p_value
from wayra.lab.scoring.paired import PairedScores
from wayra.lab.statistics import (
    bootstrap_mean,
    bootstrap_quantile,
    clopper_pearson,
    holm,
    items_for_paired_delta,
    items_for_two_proportions,
    mcnemar,
    paired_bootstrap,
    wilson,
)
from wayra.lab.statistics.bootstrap import bootstrap_clustered_quantile
from wayra.lab.statistics.paired import discordant_p_value
from wayra.lab.statistics.student import critical_t, paired_ratio, two_sided_p

pytestmark = pytest.mark.oracle

SLEEP = ((0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0), (1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4))
"""Student 1908: hours of sleep that ten patients gained by two drugs; t = 4.0621, p = 0.002833."""
MAIZE = (49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48)
"""Fisher 1935: Darwin's maize, crossed less self-fertilised, eighths of an inch; 1,726 of 32,768 changes of sign give
a sum as far from zero."""
APPROVAL = (794, 150, 86, 570)
"""Agresti 1990: a prime minister approved in both surveys, in the first only, in the second only, in neither."""


def test_students_t_equals_scipy() -> None:
    from scipy import stats

    for freedom in (1, 2, 3, 4, 5, 9, 10, 29, 120, 1001):
        for t in (0.0, 1e-6, 0.5, 1.0, 1.96, 4.0621, 12.7, 60.0):
            assert two_sided_p(t, freedom) == pytest.approx(2 * stats.t.sf(t, freedom), rel=1e-9, abs=1e-14)
        for level in (0.5, 0.1, 0.05, 0.01, 0.001):
            assert critical_t(level, freedom) == pytest.approx(stats.t.ppf(1 - level / 2, freedom), rel=1e-7)


def test_a_ratio_in_turns_is_the_paired_t_test_of_logarithms() -> None:
    from scipy import stats

    first, second = ([math.exp(hours) for hours in drug] for drug in SLEEP)
    found = paired_ratio(first, second)
    assert found is not None
    assert found.p_value == pytest.approx(0.002833, abs=5e-7)
    generator = np.random.default_rng(3)
    cases = [(first, second)]
    cases += [(list(generator.lognormal(3, 0.2, n)), list(generator.lognormal(3.1, 0.2, n))) for n in (2, 3, 5, 8, 20)]
    for one, two in cases:
        ours = paired_ratio(one, two)
        theirs = stats.ttest_rel(np.log(two), np.log(one))
        bounds = theirs.confidence_interval(0.95)
        assert ours is not None
        assert ours.p_value == pytest.approx(theirs.pvalue, rel=1e-8)
        assert (ours.low, ours.high) == pytest.approx((math.exp(bounds.low), math.exp(bounds.high)), rel=1e-6)
        assert ours.value == pytest.approx(stats.gmean(np.asarray(two) / np.asarray(one)))


def test_sign_flips_equal_the_exact_permutation_test() -> None:
    from scipy import stats

    generator = np.random.default_rng(4)
    cases: list[Sequence[float]] = [MAIZE]
    cases += [tuple(generator.normal(0.3, 1, n)) for n in (3, 6, 10, 13)]
    cases += [tuple(generator.integers(-2, 4, 12) / 4)]
    for differences in cases:
        exact = stats.permutation_test(
            (differences, np.zeros(len(differences))),
            lambda one, two: float(np.sum(one) - np.sum(two)),
            permutation_type="samples",
            n_resamples=np.inf,
            alternative="two-sided",
        ).pvalue
        found = sign_flip_p_value([0.0] * len(differences), differences)
        # Four deviations of a share of 10,000.
        assert found == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 10_000) + 2e-4)
    assert sign_flip_p_value([0.0] * 15, MAIZE) == pytest.approx(1726 / 32768, abs=0.009)


def test_discordant_p_values_equal_the_binomial_test() -> None:
    from scipy import stats

    for first in range(0, 60, 3):
        for second in range(0, 60, 4):
            expected = stats.binomtest(first, first + second, 0.5).pvalue if first + second else 1.0
            assert discordant_p_value(first, second) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_equals_statsmodels() -> None:
    from statsmodels.stats.contingency_tables import mcnemar as theirs

    generator = np.random.default_rng(5)
    tables = [APPROVAL, (10, 0, 0, 10), (5, 1, 6, 3), *map(tuple, generator.integers(0, 40, (30, 4)).tolist())]
    for both, only_first, only_second, neither in tables:
        first = [True] * (both + only_first) + [False] * (only_second + neither)
        second = [True] * both + [False] * only_first + [True] * only_second + [False] * neither
        found = mcnemar(first, second)
        expected = theirs([[both, only_first], [only_second, neither]], exact=True)
        assert (found.only_first, found.only_second) == (only_first, only_second)
        assert found.p_value == pytest.approx(min(1.0, expected.pvalue), rel=1e-9)


def test_intervals_of_shares_equal_statsmodels() -> None:
    from statsmodels.stats import proportion

    for count in (1, 7, 30, 263, 2000):
        for successes in {0, 1, count // 3, count // 2, count}:
            for name, ours in (("wilson", wilson), ("beta", clopper_pearson)):
                found = ours(successes, count)
                expected = proportion.proportion_confint(successes, count, method=name)
                assert (found.low, found.high) == pytest.approx(expected, abs=1e-9)


def test_holm_equals_statsmodels() -> None:
    from statsmodels.stats import multitest

    generator = np.random.default_rng(0)
    for size in (1, 2, 5, 40):
        p_values = generator.random(size) ** 3
        assert holm(list(p_values)) == pytest.approx(list(multitest.multipletests(p_values, method="holm")[1]))


def test_the_interval_of_a_mean_is_scipys_percentile_bootstrap() -> None:
    from scipy import stats

    generator = np.random.default_rng(6)
    for values in (generator.normal(5, 2, 40), generator.exponential(3, 80), generator.lognormal(0, 1, 60)):
        theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", random_state=1)
        tolerance = 0.25 * theirs.standard_error
        found = bootstrap_mean(values)
        assert found.low == pytest.approx(theirs.confidence_interval.low, abs=tolerance)
        assert found.high == pytest.approx(theirs.confidence_interval.high, abs=tolerance)
        other = values + generator.normal(0.5, 1, len(values))
        theirs = stats.bootstrap(
            (values, other), lambda one, two, axis: np.mean(two - one, axis=axis), n_resamples=20_000, paired=True,
            vectorized=True, method="percentile", random_state=1,
        )  # fmt: skip
        tolerance = 0.25 * theirs.standard_error
        paired = paired_bootstrap(values, other)
        assert paired.low == pytest.approx(theirs.confidence_interval.low, abs=tolerance)
        assert paired.high == pytest.approx(theirs.confidence_interval.high, abs=tolerance)


@pytest.mark.parametrize(("count", "quantile"), [(101, 0.5), (201, 0.95), (1001, 0.99), (21, 0.25)])
def test_the_interval_of_a_quantile_has_the_ranks_that_the_binomial_distribution_gives(
    count: int, quantile: float
) -> None:
    """The k-th smallest of a resample is at most the j-th of the sample if at least k of n draws are: Bin(n, j / n)."""
    from scipy import stats

    k = round(quantile * (count - 1)) + 1
    reached = stats.binom.sf(k - 1, count, np.arange(1, count + 1) / count)
    ranks = np.arange(1.0, count + 1)
    found = bootstrap_quantile(ranks, quantile)
    # Two thousand resamples miss a tail of 2.5 % by up to 1.4 points in four deviations.
    for bound, tail in ((found.low, 0.025), (found.high, 0.975)):
        assert np.searchsorted(reached, tail - 0.014) <= bound <= np.searchsorted(reached, tail + 0.014) + 2
    assert found.value == k


@pytest.mark.parametrize("quantile", [0.5, 0.9])
def test_clusters_of_one_value_are_a_plain_bootstrap(quantile: float) -> None:
    from scipy import stats

    values = np.random.default_rng(7).exponential(1, 200)
    theirs = stats.bootstrap(
        (values,), lambda one, axis: np.quantile(one, quantile, axis=axis, method="inverted_cdf"),
        n_resamples=10_000, vectorized=True, method="percentile", random_state=1,
    )  # fmt: skip
    found = bootstrap_clustered_quantile([values[i : i + 1] for i in range(200)], quantile)
    bounds = theirs.confidence_interval
    assert (found.low, found.high) == pytest.approx((bounds.low, bounds.high), abs=0.35 * theirs.standard_error)


def test_sample_sizes_of_separate_items_equal_statsmodels_up_to_rounding() -> None:
    from statsmodels.stats import proportion

    for first, second in ((0.6, 0.7), (0.1, 0.15), (0.5, 0.52)):
        size = items_for_two_proportions(first, second)
        power = proportion.power_proportions_2indep(second - first, first, size, return_results=False)
        assert power == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("level", [0.05, 0.005])
@pytest.mark.parametrize(("delta", "discordant"), [(0.1, 0.3), (0.05, 0.15), (0.02, 0.1), (0.2, 0.25), (0.1, 0.1)])
def test_paired_sample_sizes_give_mcnemars_exact_test_its_power(delta: float, discordant: float, level: float) -> None:
    """Summed over all outcomes: how many items one model alone gets right, and which one, are binomial.

    The formula is of the normal approximation: the exact test loses up to 3 points by its steps, and where all items
    that differ differ in one direction the formula asks for more than are needed.
    """
    from scipy import stats

    size = items_for_paired_delta(delta, discordant, level=level)
    share = (discordant + delta) / (2 * discordant)
    power = 0.0
    for alone in range(1, size + 1):
        chance = stats.binom.pmf(alone, size, discordant)
        if chance > 1e-9:
            claimed = bisect_right(
                range(alone // 2 + 1), level, key=lambda fewer, alone=alone: discordant_p_value(fewer, alone - fewer)
            )
            either_way = stats.binom.cdf(claimed - 1, alone, share) + stats.binom.sf(alone - claimed, alone, share)
            power += chance * either_way
    assert 0.77 <= power <= (0.84 if delta < discordant else 0.92)


def test_the_items_that_would_settle_graded_scores_equal_statsmodels() -> None:
    from statsmodels.stats.power import NormalIndPower

    generator = np.random.default_rng(8)
    first = generator.integers(0, 5, 40) / 4
    second = np.clip(first + generator.normal(0.03, 0.25, 40), 0, 1)
    scores = PairedScores("s", "score", tuple(map(str, range(40))), tuple(first), tuple(second), 0, 0)
    ((tested,), _) = judged([Asked("A", "B", scores)])
    assert not tested.is_significant
    difference = second - first
    effect = abs(difference.mean()) / difference.std(ddof=1)
    expected = NormalIndPower().solve_power(effect, alpha=0.05, power=0.8, ratio=0)
    assert tested.settling_items == pytest.approx(expected, rel=1e-5)
