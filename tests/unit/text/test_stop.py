"""Stop strings across pieces of a stream."""

import pytest

from wayra.base.errors import InvalidParameter
from wayra.text.stop import MAX_STOP_LEN, MAX_STOPS, StopMatcher


def test_stop_string_across_pieces_is_found_and_never_shown() -> None:
    matcher = StopMatcher(["END"])
    assert matcher.push("the E") == ("the ", False)
    assert matcher.push("N") == ("", False)
    assert matcher.push("D more") == ("", True)
    assert matcher.matched == "END"
    assert matcher.push("anything") == ("", True)
    assert matcher.flush() == ""


def test_text_that_turns_out_not_to_stop_is_released_at_once() -> None:
    matcher = StopMatcher(["END"])
    assert matcher.push("EN") == ("", False)
    assert matcher.push("E") == ("EN", False)
    assert matcher.push("x") == ("Ex", False)
    assert matcher.matched is None


def test_what_is_held_back_comes_out_at_the_end() -> None:
    matcher = StopMatcher(["\n\nUser:"])
    assert matcher.push("bye\n\n") == ("bye", False)
    assert matcher.flush() == "\n\n"
    assert matcher.flush() == ""


def test_stop_complete_first_wins_and_the_longest_of_those() -> None:
    matcher = StopMatcher(["cd", "bcd", "abcdef"])
    assert matcher.push("xabcdef") == ("xa", True)
    assert matcher.matched == "bcd"


def test_overlapping_beginnings_are_not_missed() -> None:
    assert StopMatcher(["aab"]).push("aaaab!") == ("aa", True)
    assert StopMatcher(["abac"]).push("ababac") == ("ab", True)


def test_without_stops_everything_passes() -> None:
    assert StopMatcher([]).push("anything") == ("anything", False)


@pytest.mark.parametrize("stops", [[""], "END", [3], ["x" * (MAX_STOP_LEN + 1)], ["x"] * (MAX_STOPS + 1)])
def test_unusable_stops_are_refused(stops: object) -> None:
    with pytest.raises(InvalidParameter, match="stop"):
        StopMatcher(stops)  # type: ignore[arg-type]
