"""Statistics against textbook values; tests/oracle compares the same functions with SciPy and statsmodels."""

import numpy as np
import pytest

from wayra.base.errors import InvalidParameter
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


def test_mcnemar_counts_discordant_items_and_gives_the_binomial_tail() -> None:
    found = mcnemar([True] * 8 + [False] * 4, [False] * 1 + [True] * 7 + [True] * 3 + [False])
    assert (found.only_first, found.only_second, found.count) == (1, 3, 12)
    assert found.difference == pytest.approx(2 / 12)
    assert found.p_value == pytest.approx(2 * (1 + 4) / 16)
    assert discordant_p_value(5, 5) == 1.0
    assert discordant_p_value(0, 10) == pytest.approx(2 / 1024)


def test_holm_multiplies_by_the_tests_left_and_never_decreases() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    with pytest.raises(InvalidParameter):
        holm([1.5])


def test_intervals_of_a_share_match_published_values() -> None:
    # Newcombe 1998, table I: 81 of 263 and 0 of 20.
    assert (wilson(81, 263).low, wilson(81, 263).high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert (wilson(0, 20).low, wilson(0, 20).high) == pytest.approx((0.0, 0.1611), abs=5e-5)
    exact = clopper_pearson(81, 263)
    assert (exact.low, exact.high) == pytest.approx((0.2527, 0.3676), abs=5e-5)
    assert clopper_pearson(0, 20).high == pytest.approx(0.1684, abs=5e-5)
    assert clopper_pearson(20, 20).high == 1.0


def test_sample_sizes_match_their_formulas() -> None:
    # Fleiss: 0.6 against 0.7 with 80 % power needs 356 in each group, without continuity correction.
    assert items_for_two_proportions(0.6, 0.7) == 356
    assert items_for_paired_delta(0.1, 0.3) == 234
    with pytest.raises(InvalidParameter):
        items_for_paired_delta(0.3, 0.1)


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says() -> None:
    generator = np.random.default_rng(5)
    hits = 0
    for trial in range(200):
        found = bootstrap_mean(generator.normal(3.0, 1.0, 60), seed=trial)
        hits += found.low <= 3.0 <= found.high
    assert 180 <= hits <= 199


def test_the_direct_quantile_interval_is_that_of_plain_resampling() -> None:
    generator = np.random.default_rng(7)
    values = generator.exponential(1.0, 150)
    for quantile in (0.5, 0.95):
        plain = np.array([np.quantile(generator.choice(values, len(values)), quantile) for _ in range(4000)])
        found = bootstrap_quantile(values, quantile)
        assert found.value == pytest.approx(np.quantile(values, quantile))
        # Resampled quantiles sit on few values, so the bounds are compared by the share of resamples beyond them.
        assert (plain < found.low).mean() <= 0.035
        assert (plain <= found.low).mean() >= 0.015
        assert (plain > found.high).mean() <= 0.035
        assert (plain >= found.high).mean() >= 0.015


def test_clusters_widen_the_interval_when_their_values_depend_on_each_other() -> None:
    generator = np.random.default_rng(1)
    clusters = [np.full(50, level) for level in generator.normal(10, 1, 30)]
    clustered = bootstrap_clustered_quantile(clusters, 0.5)
    alone = bootstrap_quantile(np.concatenate(clusters), 0.5)
    assert clustered.high - clustered.low > 2 * (alone.high - alone.low)


def test_a_model_compared_with_itself_differs_significantly_in_at_most_one_of_twenty_resamplings() -> None:
    generator = np.random.default_rng(11)
    by_mcnemar = by_bootstrap = 0
    for trial in range(200):
        chance = generator.random(150)
        first, second = generator.random(150) < chance, generator.random(150) < chance
        by_mcnemar += mcnemar(list(first), list(second)).p_value < 0.05
        p_value = paired_bootstrap(first.astype(float), second.astype(float), seed=trial).p_value
        assert p_value is not None
        by_bootstrap += p_value < 0.05
    assert by_mcnemar <= 10
    assert by_bootstrap <= 18  # the percentile bootstrap is approximate: 5 % of 200 is 10, plus two deviations


def test_a_real_difference_is_found_and_unpaired_items_are_refused() -> None:
    first, second = [True] * 40 + [False] * 60, [True] * 40 + [True] * 20 + [False] * 40
    assert mcnemar(first, second).p_value < 1e-4
    found = paired_bootstrap([float(x) for x in first], [float(x) for x in second])
    assert found.low > 0.1
    assert found.high < 0.3
    with pytest.raises(InvalidParameter, match="cannot be paired"):
        mcnemar([True], [True, False])
    with pytest.raises(InvalidParameter, match="no values"):
        bootstrap_mean([])
    with pytest.raises(InvalidParameter, match="not finite"):
        bootstrap_quantile([1.0, float("nan")], 0.5)


@pytest.mark.parametrize(
    ("t", "freedom", "expected"),
    [
        (12.7062, 1, 0.05),
        (2.91999, 2, 0.10),
        (5.84091, 3, 0.01),
        (2.77645, 4, 0.05),
        (1.81246, 10, 0.10),
        (0.0, 5, 1.0),
    ],
)
def test_students_t_gives_the_p_values_of_the_printed_tables(t: float, freedom: int, expected: float) -> None:
    assert two_sided_p(t, freedom) == pytest.approx(expected, abs=2e-6)
    assert two_sided_p(-t, freedom) == two_sided_p(t, freedom)
    if t:
        assert critical_t(expected, freedom) == pytest.approx(t, rel=1e-4)


def test_a_ratio_measured_in_turns_is_not_fooled_by_a_machine_that_slows_down() -> None:
    machine = [1.0, 0.5, 0.8, 0.3, 0.9]
    found = paired_ratio(
        [100 * m for m in machine], [130 * m * w for m, w in zip(machine, [1, 1.01, 0.99, 1, 1], strict=True)]
    )
    assert found is not None
    assert found.value == pytest.approx(1.3, rel=0.01)
    assert 1.27 < found.low < 1.3 < found.high < 1.33
    assert found.p_value is not None
    assert found.p_value < 1e-5
    same = paired_ratio([3.0, 1.0, 2.0], [3.0, 1.0, 2.0])
    assert same is not None
    assert (same.value, same.p_value) == (1.0, 1.0)
    assert paired_ratio([1.0, 0.0], [1.0, 1.0]) is None
