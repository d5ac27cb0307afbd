"""Values that are all alike: no interval of no width anywhere, since it would claim what so few values cannot show."""

import numpy as np
import pytest

from wayra.base.errors import InvalidParameter
from wayra.lab.compare.quality import Asked, judged
from wayra.lab.compare.speed import Speeds, races
from wayra.lab.compare.tables import Side
from wayra.lab.latency.metrics import stage_figures
from wayra.lab.latency.record import RequestRecord
from wayra.lab.scoring.paired import PairedScores
from wayra.lab.scoring.record import EvalRecord, Execution
from wayra.lab.scoring.summary import suite_figures
from wayra.lab.statistics import interval_of_alike, mean_of_scores, wilson
from wayra.lab.statistics.bootstrap import bootstrap_clustered_quantile


def record(stage: str, index: int, ttft_s: float) -> RequestRecord:
    return RequestRecord(
        key=f"{stage}/{index:06d}", stage=stage, status="ok", sent_s=float(index), ended_s=index + ttft_s + 0.25,
        event_s=[index + ttft_s, index + ttft_s + 0.25], event_tokens=[1, 1], prompt_tokens=3, completion_tokens=2,
    )  # fmt: skip


@pytest.mark.parametrize("count", [1, 3, 12, 500])
def test_all_right_and_all_wrong_get_wilsons_interval(count: int) -> None:
    for value, successes in ((0.0, 0), (1.0, count)):
        expected = wilson(successes, count)
        found = interval_of_alike(value, count)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert interval_of_alike(0.0, count).high == pytest.approx(3.8415 / (count + 3.8415), rel=1e-4)


def test_between_the_bounds_it_reaches_out_to_both_sides_and_shrinks_with_the_count() -> None:
    few, many = interval_of_alike(0.5, 12), interval_of_alike(0.5, 1200)
    assert few.low < many.low < 0.5 < many.high < few.high
    assert (few.low + few.high) / 2 == pytest.approx(0.5)
    assert mean_of_scores([0.5] * 12) == few
    assert mean_of_scores([0.5] * 11 + [0.25]).high <= 0.5
    rounded = mean_of_scores([1 / 3, 1 - 2 / 3, 0.1 + 0.7 / 3])
    assert rounded.low < 0.2
    assert rounded.high > 0.5
    with pytest.raises(InvalidParameter, match="expected 0 to 1"):
        interval_of_alike(1.5, 3)


def test_the_interval_covers_a_mean_of_which_only_the_common_value_was_seen() -> None:
    """Of 20 values, one in twenty is 1 and the others 0.5: where all 20 drawn are alike, the mean is still inside."""
    generator = np.random.default_rng(3)
    alike = 0
    for _ in range(400):
        values = np.where(generator.random(20) < 0.05, 1.0, 0.5)
        if values.min() == values.max():
            alike += 1
            found = mean_of_scores(list(values))
            assert found.low <= 0.525 <= found.high
    assert alike > 50


def test_graded_answers_that_all_score_the_same_have_an_interval() -> None:
    records = [
        EvalRecord(key=f"s/{n}#{k}", suite="s", item=str(n), how="code", sample=k, text="x",
                   executions=[Execution(reading="strict", value=0.0), Execution(reading="flexible", value=0.0)])
        for n in range(6) for k in range(2)
    ]  # fmt: skip
    figures = {figure.name: figure for figure in suite_figures("s", records)}
    for name in ("pass@1", "pass@2"):
        assert (figures[name].value, figures[name].low) == (0.0, 0.0)
        assert figures[name].high == pytest.approx(wilson(0, 6).high)


def test_two_models_that_answer_alike_may_still_differ_by_what_so_few_items_cannot_show() -> None:
    items = tuple(str(n) for n in range(12))
    same = PairedScores("s", "score", items, (0.5,) * 12, (0.5,) * 12, 0, 0)
    found = same.difference()
    assert (found.value, found.high) == (0.0, pytest.approx(wilson(0, 12).high))
    assert found.low == -found.high
    ((tested,), _) = judged([Asked("A", "B", same)])
    assert (tested.differing, tested.difference, tested.is_significant) == (0, 0.0, False)
    all_better = PairedScores("s", "score", items, (0.25,) * 12, (0.75,) * 12, 0, 0).difference()
    assert all_better.low < 0.5 < all_better.high < 1.0


def test_latencies_that_are_one_or_all_alike_have_no_bounds_and_say_why() -> None:
    for count, why in ((1, "one value"), (5, "values too alike for an interval")):
        figures = {f.name: f for f in stage_figures([record("c", n, 0.5) for n in range(count)], "c")}
        for name in ("ttft_p50", "ttft_p99", "tpot_p50", "e2e_p95", "decode_rate"):
            found = figures[name]
            assert (found.low, found.high, found.why) == (None, None, why)
            assert found.value is not None
    spread = {f.name: f for f in stage_figures([record("c", n, 0.5 + n / 8) for n in range(5)], "c")}["ttft_p50"]
    assert spread.low is not None
    assert (spread.low < spread.high, spread.why) == (True, None)


def test_rounds_whose_ratios_are_all_alike_are_no_proof() -> None:
    sides = [Side("A", "a", ()), Side("B", "b", ())]
    key = ("pp128", "rate")
    one, double = Speeds({key: (1.0, 2.0, 4.0)}, {}), Speeds({key: (2.0, 4.0, 8.0)}, {})
    assert races(sides, [one, double]) == []
    (race,) = races(sides, [one, Speeds({key: (2.0, 4.1, 8.0)}, {})])
    assert race.low < 2.0 < race.high


def test_latency_between_tokens_is_of_all_requests_or_unknown() -> None:
    """A busy server bundles tokens: the requests whose chunks carry one each are the lucky ones."""
    plain = [record("c", n, 0.5 + n / 8) for n in range(4)]
    bundled = record("c", 4, 0.5)
    bundled.event_tokens, bundled.completion_tokens = [None, None], 9
    known = {f.name: f for f in stage_figures(plain, "c")}
    assert known["itl_p50"].value == pytest.approx(250)
    mixed = {f.name: f for f in stage_figures([*plain, bundled], "c")}
    assert mixed["itl_p50"].value is None
    assert mixed["itl_p50"].why is not None
    assert mixed["itl_p50"].why.startswith("of 1 of 5 requests: chunks carry several tokens")
    assert mixed["icl_p50"].value == pytest.approx(250)


def test_a_clustered_quantile_lies_within_its_interval_and_clusters_of_one_are_plain_values() -> None:
    generator = np.random.default_rng(4)
    for trial in range(6):
        clusters = [generator.exponential(1.0, generator.integers(1, 60)) for _ in range(6)]
        for quantile in (0.5, 0.95, 0.99):
            found = bootstrap_clustered_quantile(clusters, quantile, seed=trial)
            assert found.low <= found.value <= found.high
    values = np.random.default_rng(8).exponential(1.0, 80)
    plain = np.array([np.quantile(generator.choice(values, 80), 0.95) for _ in range(4000)])
    alone = bootstrap_clustered_quantile([values[i : i + 1] for i in range(80)], 0.95)
    assert alone.value == pytest.approx(np.quantile(values, 0.95))
    # Resampled quantiles sit on few values, so the bounds are compared by the share of resamples beyond them.
    assert (plain < alone.low).mean() <= 0.035
    assert (plain <= alone.low).mean() >= 0.015
    assert (plain > alone.high).mean() <= 0.035
    assert (plain >= alone.high).mean() >= 0.015
