"""Settings come from the environment once, and every variable the README names does what it says."""

from pathlib import Path

import pytest

from wayra.base.errors import InvalidParameter
from wayra.base.settings import Settings, child_environment, from_environment


def test_an_empty_environment_gives_the_defaults_under_the_home_cache() -> None:
    assert from_environment({}) == Settings(cache_dir=Path.home() / ".cache" / "wayra")


def test_the_cache_folder_is_wayra_cache_itself_or_a_folder_in_the_xdg_cache() -> None:
    assert from_environment({"XDG_CACHE_HOME": "/x"}).cache_dir == Path("/x/wayra")
    assert from_environment({"WAYRA_CACHE": "/y", "XDG_CACHE_HOME": "/x"}).cache_dir == Path("/y")
    assert from_environment({"WAYRA_CACHE": "~/z"}).cache_dir == Path.home() / "z"


@pytest.mark.parametrize(("value", "offline"), [("1", True), ("TRUE", True), ("on", True), ("0", False), ("", False)])
def test_the_hubs_offline_switch_is_read_as_the_hub_reads_it(value: str, offline: bool) -> None:
    assert from_environment({"HF_HUB_OFFLINE": value}).hub_offline is offline


def test_instruction_set_threads_colour_and_debug_are_taken_over() -> None:
    environment = {"WAYRA_ISA": "avx2", "WAYRA_THREADS": "3", "NO_COLOR": "1", "WAYRA_DEBUG": "1"}
    settings = from_environment(environment)
    assert (settings.isa, settings.threads, settings.no_color, settings.debug) == ("avx2", 3, True, True)


def test_without_an_argument_the_process_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYRA_THREADS", "7")
    assert from_environment().threads == 7


@pytest.mark.parametrize("value", ["abc", "0", "-1", "257", "²", "1" * 40, "2 "])
def test_a_number_of_threads_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(InvalidParameter, match=r"WAYRA_THREADS is .* expected a number from 1 to 256"):
        from_environment({"WAYRA_THREADS": value})


def test_a_child_process_gets_this_environment_with_the_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYRA_TEST_A", "1")
    monkeypatch.setenv("WAYRA_TEST_B", "1")
    child = child_environment(WAYRA_TEST_B="2")
    assert (child["WAYRA_TEST_A"], child["WAYRA_TEST_B"]) == ("1", "2")


def test_what_an_hour_of_the_machine_costs_is_a_number_or_refused() -> None:
    assert from_environment({"WAYRA_MACHINE_USD_PER_H": "0.4"}).machine_usd_per_h == 0.4
    assert from_environment({}).machine_usd_per_h is None
    for value in ("cheap", "-1", "nan", "inf", "1e9"):
        with pytest.raises(InvalidParameter, match=r"WAYRA_MACHINE_USD_PER_H is .* expected USD an hour"):
            from_environment({"WAYRA_MACHINE_USD_PER_H": value})
