"""Every error a user can meet is one class per cause, tells its exit code, and can be caught as one kind."""

import inspect

import pytest

from wayra.base import errors

CLASSES = [
    value
    for _, value in inspect.getmembers(errors, inspect.isclass)
    if issubclass(value, errors.WayraError) and value is not errors.WayraError
]


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_every_error_has_a_non_zero_exit_code_and_a_reason_to_exist(error: type[errors.WayraError]) -> None:
    assert 0 < error.exit_code < 126
    assert (error.__doc__ or "").endswith(".")
    assert str(error("what was seen")) == "what was seen"


def test_a_wrong_argument_is_also_a_value_error_for_callers_who_expect_python() -> None:
    with pytest.raises(ValueError, match="top_p"):
        raise errors.InvalidParameter("top_p is 2")
    assert errors.InvalidParameter.exit_code == 2
