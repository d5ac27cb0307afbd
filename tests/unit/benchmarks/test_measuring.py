"""The parts of the benchmarks that can be wrong without a machine noticing: sums, ratios, windows, the document."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

from measuring.figures import (
    Spread,
    markdown_table,
    paired_ratios,
    robust_slope,
    settled_from,
    spread,
    write_parts,
    write_section,
)
from measuring.loss import WINDOW_LEN, Score, english_text, windows_of
from measuring.pipe import Worker, WorkerError

from wayra.lab.divergence.predictor import log_softmax


def test_ratios_are_taken_pair_by_pair() -> None:
    assert paired_ratios([10.0, 100.0, 30.0], [5.0, 25.0, 10.0]) == Spread(3.0, 2.0, 4.0)
    assert spread([3.0, 1.0, 2.0, 8.0]).shown() == "2.5 (1.0–8.0)"


def test_an_outlier_does_not_move_a_slope_and_a_level_one_is_not_told_from_zero() -> None:
    line = [2.0 * hour for hour in range(12)]
    line[5] += 1000
    assert robust_slope(range(12), line).median == 2.0
    assert robust_slope(range(12), line).low > 0
    level = robust_slope(range(8), [5.0, 5.1, 5.0, 5.1, 5.0, 5.1, 5.0, 5.1])
    assert level.low <= 0 <= level.high
    with pytest.raises(ValueError, match="at least three"):
        robust_slope([1, 1, 2], [1, 2, 3])


def test_a_warm_up_ends_where_the_values_stay_level_and_at_the_latest_in_the_middle() -> None:
    assert settled_from([1, 5, 7, 7.1, 7.2, 7.1, 7.2, 7.2], least_rise=0.5, rests=3) == 2
    assert settled_from([float(i) for i in range(10)], least_rise=0.5, rests=3) == 5
    # One that is level in the beginning and grows later is fitted whole.
    assert settled_from([1, 1, 1, 1, 1, 3, 5, 7], least_rise=0.5, rests=3) == 0


def test_a_section_is_replaced_and_the_rest_of_the_document_stays(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("above\n<!-- a: begin -->\nold\n<!-- a: end -->\nbelow\n")
    write_section(document, "a", "new\nlines\n")
    write_section(document, "a", markdown_table(["x", "y"], [["1", "2"]]))
    expected = "above\n<!-- a: begin -->\n| x | y |\n|---|---|\n| 1 | 2 |\n<!-- a: end -->\nbelow\n"
    assert document.read_text() == expected
    with pytest.raises(ValueError, match="needs <!-- b: begin -->"):
        write_section(document, "b", "text")


def test_parts_of_a_section_are_replaced_one_by_one(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("### above\n<!-- a: begin -->\n<!-- a: end -->\n### below\n")
    write_parts(document, "a", {"one": "1", "two": "2\n\n| x |"})
    write_parts(document, "a", {"two": "3"})
    write_parts(document, "a", {"three": "4"})
    inside = "### one\n\n1\n\n### two\n\n3\n\n### three\n\n4\n"
    assert document.read_text() == f"### above\n<!-- a: begin -->\n{inside}<!-- a: end -->\n### below\n"
    with pytest.raises(ValueError, match="needs <!-- b: begin -->"):
        write_parts(document, "b", {"one": "1"})


def test_windows_are_whole_and_begin_with_bos_when_the_model_has_one() -> None:
    ids = list(range(2 * WINDOW_LEN + 7))
    assert [window[0] for window in windows_of(ids, None)] == [0, WINDOW_LEN]
    with_bos = windows_of(ids, 9)
    assert [window[:2] for window in with_bos] == [[9, 1], [9, WINDOW_LEN + 1]]
    assert {len(window) for window in with_bos} == {WINDOW_LEN}
    assert ids[0] == 0


def test_a_score_adds_up_perplexity_divergence_and_first_choices() -> None:
    logits = np.array([[0.0, math.log(3.0)], [5.0, 5.0]], np.float32)
    other = np.array([[math.log(3.0), 0.0], [0.0, 0.0]], np.float32)
    found = log_softmax(logits)
    assert np.exp(found) == pytest.approx(np.array([[0.25, 0.75], [0.5, 0.5]]), abs=1e-6)
    score = Score()
    score.add(found, [1, 0], reference=log_softmax(other))
    assert score.perplexity == pytest.approx(math.sqrt(1 / (0.75 * 0.5)))
    assert score.mean_divergence == pytest.approx((0.75 * math.log(3) - 0.25 * math.log(3)) / 2, abs=1e-6)
    assert score.same_top_share == 0.5


def test_the_text_is_as_long_as_asked_and_always_the_same() -> None:
    text = english_text(10_000)
    # A character cut in two at the end is left out.
    assert 9_996 < len(text.encode()) <= 10_000
    assert english_text(20_000).startswith(text)


def test_a_worker_that_cannot_load_its_model_says_why(tmp_path: Path) -> None:
    config = {"path": str(tmp_path / "none.gguf"), "threads": 1, "context_len": 64}
    with pytest.raises(WorkerError, match=r"the wayra worker ended: .*none\.gguf"):
        Worker(sys.executable, "wayra", config)
