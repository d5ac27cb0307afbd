"""Which tokens perplexity scores, and what their log-probabilities add up to."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wayra.base.errors import InvalidParameter
from wayra.llm.scoring import Score, Window, half_windows, sliding_windows


def test_half_windows_score_the_second_half_less_the_token_that_begins_it() -> None:
    # llama.cpp with 8 tokens of context: logits of tokens 4, 5 and 6 predict tokens 5, 6 and 7.
    assert half_windows(20, 8) == [Window(0, 8, 5), Window(8, 16, 5)]


def test_half_windows_leave_out_the_rest_of_the_text() -> None:
    assert [w.stop for w in half_windows(15, 8)] == [8]


def test_a_text_shorter_than_a_window_is_refused_with_both_numbers() -> None:
    with pytest.raises(InvalidParameter, match="the text has 1,023 tokens, one window needs 1,024"):
        half_windows(1023, 1024)


@given(num_tokens=st.integers(2, 300), context_len=st.integers(4, 64), data=st.data())
def test_sliding_windows_score_every_token_but_the_first_exactly_once(
    num_tokens: int, context_len: int, data: st.DataObject
) -> None:
    stride = data.draw(st.integers(1, context_len - 1))
    windows = sliding_windows(num_tokens, context_len, stride)
    scored = [w.start + i for w in windows for i in range(w.first_scored, w.stop - w.start)]
    assert scored == list(range(1, num_tokens))
    assert all(w.first_scored >= 1 and w.stop - w.start <= context_len for w in windows)


@pytest.mark.parametrize("stride", [0, 8, 9])
def test_a_stride_that_would_leave_tokens_out_is_refused(stride: int) -> None:
    with pytest.raises(InvalidParameter, match="expected 1 to 7"):
        sliding_windows(100, 8, stride)


def test_a_context_too_short_to_score_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="at least 4"):
        half_windows(100, 3)


def test_perplexity_and_its_error_are_those_computed_by_hand() -> None:
    score = Score(num_windows=2)
    score.add(Window(0, 6, 4), [-9.0, -9.0, -9.0, -1.0, -2.0])
    score.add(Window(6, 12, 4), [-9.0, -9.0, -9.0, -3.0, -2.0])
    result = score.result(total_s=2.0)
    # Scored: 1, 2, 3, 2. Mean 2; mean square 18 / 4 = 4.5; variance 0.5; error sqrt(0.5 / 3).
    assert result.mean_nll == pytest.approx(2.0)
    assert result.perplexity == pytest.approx(math.exp(2.0))
    assert result.standard_error == pytest.approx(math.exp(2.0) * math.sqrt(0.5 / 3))
    assert (result.tokens, result.windows, result.num_windows, result.tokens_per_s) == (4, 2, 2, 6.0)


def test_one_scored_token_has_no_error_and_an_impossible_one_no_finite_perplexity() -> None:
    score = Score(num_windows=1)
    score.add(Window(0, 4, 3), [0.0, 0.0, -1e4])
    result = score.result(total_s=1.0)
    assert result.perplexity == math.inf
    one = Score(num_windows=1)
    one.add(Window(0, 4, 3), [0.0, 0.0, -1.0])
    assert one.result(total_s=1.0).standard_error == 0.0
