"""The lab's statistics beside SciPy and statsmodels, over many cases; needs wayra[oracle], runs with -m oracle."""

import numpy as np
import pytest

from wayra.lab.statistics import clopper_pearson, holm, items_for_two_proportions, wilson
from wayra.lab.statistics.paired import discordant_p_value

pytestmark = pytest.mark.oracle


def test_discordant_p_values_equal_the_binomial_test() -> None:
    stats = pytest.importorskip("scipy.stats")
    for first in range(0, 60, 3):
        for second in range(0, 60, 4):
            expected = stats.binomtest(first, first + second, 0.5).pvalue if first + second else 1.0
            assert discordant_p_value(first, second) == pytest.approx(expected, rel=1e-9)


def test_intervals_of_shares_equal_statsmodels() -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    for count in (1, 7, 30, 263, 2000):
        for successes in {0, 1, count // 3, count // 2, count}:
            for name, ours in (("wilson", wilson), ("beta", clopper_pearson)):
                found = ours(successes, count)
                expected = proportion.proportion_confint(successes, count, method=name)
                assert (found.low, found.high) == pytest.approx(expected, abs=1e-9)


def test_holm_equals_statsmodels() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    generator = np.random.default_rng(0)
    for size in (1, 2, 5, 40):
        p_values = generator.random(size) ** 3
        assert holm(list(p_values)) == pytest.approx(list(multitest.multipletests(p_values, method="holm")[1]))


def test_sample_sizes_equal_statsmodels_up_to_rounding() -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    for first, second in ((0.6, 0.7), (0.1, 0.15), (0.5, 0.52)):
        size = items_for_two_proportions(first, second)
        power = proportion.power_proportions_2indep(second - first, first, size, return_results=False)
        assert power == pytest.approx(0.8, abs=0.01)
