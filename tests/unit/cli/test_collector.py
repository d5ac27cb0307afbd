"""The collector stays away from what comes in, and looks at the rest as before."""

import gc
import os
import sys
from collections.abc import Generator

import pytest

from wayra.cli import entry
from wayra.cli.collector import kept_for_good


@pytest.fixture(autouse=True)
def _collector_as_before() -> Generator[None, None, None]:  # pyright: ignore[reportUnusedFunction]
    yield
    gc.enable()
    gc.unfreeze()


def test_nothing_is_collected_inside_and_what_came_in_is_left_out_of_later_collections() -> None:
    gc.unfreeze()
    began = 0

    def count(phase: str, _info: dict[str, int]) -> None:
        nonlocal began
        began += phase == "start"

    gc.callbacks.append(count)
    try:
        with kept_for_good():
            kept = [[number] for number in range(5_000)]
            assert began == 0
        assert gc.isenabled()
        assert gc.get_freeze_count() > len(kept)
    finally:
        gc.callbacks.remove(count)


def test_a_collector_that_was_off_stays_off_whatever_is_raised() -> None:
    gc.disable()
    with pytest.raises(KeyError), kept_for_good():
        raise KeyError
    assert not gc.isenabled()


def test_the_command_keeps_threads_of_matrix_products_from_spinning_unless_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["wayra", "--version"])
    monkeypatch.setenv("OPENBLAS_THREAD_TIMEOUT", "7")
    assert entry.main() == 0
    assert os.environ["OPENBLAS_THREAD_TIMEOUT"] == "7"
    monkeypatch.delenv("OPENBLAS_THREAD_TIMEOUT")
    assert entry.main() == 0
    assert int(os.environ["OPENBLAS_THREAD_TIMEOUT"]) < 10
