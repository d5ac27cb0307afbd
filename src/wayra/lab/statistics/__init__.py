"""Intervals and tests that decide what a measurement may claim. NumPy only; checked against SciPy and statsmodels."""

from wayra.lab.statistics.alike import are_alike, interval_of_alike, mean_of_scores
from wayra.lab.statistics.bootstrap import Interval, bootstrap_mean, bootstrap_quantile, paired_bootstrap
from wayra.lab.statistics.multiple import holm
from wayra.lab.statistics.paired import McNemar, mcnemar
from wayra.lab.statistics.proportions import clopper_pearson, wilson
from wayra.lab.statistics.sample_size import items_for_paired_delta, items_for_two_proportions

__all__ = [
    "Interval",
    "McNemar",
    "are_alike",
    "bootstrap_mean",
    "bootstrap_quantile",
    "clopper_pearson",
    "holm",
    "interval_of_alike",
    "items_for_paired_delta",
    "items_for_two_proportions",
    "mcnemar",
    "mean_of_scores",
    "paired_bootstrap",
    "wilson",
]
