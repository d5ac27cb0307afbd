"""What the planner's commands print for programs has the keys that docs/plan.md lists, and is JSON to the letter."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from wayra.cli.main import main

pytest.importorskip("genai_prices")

DOCS = Path(__file__).parents[3] / "docs" / "plan.md"
WORK = ("--input-tokens", "800", "--output-tokens", "200", "--requests-per-month", "100000", "--gpu", "l4")
TUNED = ("--train-examples", "1000", "--train-tokens", "500")


def listed(row: str) -> tuple[set[str], set[str]]:
    """The keys of a row of the table that are always there, and those that may be."""
    (cell,) = re.findall(rf"^\| {re.escape(row)} \| (.*) \|$", DOCS.read_text("utf-8"), re.M)
    found = re.findall(r"`(\w+)`(\??)", cell)
    return {name for name, mark in found if not mark}, {name for name, mark in found if mark}


@pytest.fixture
def of(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    def run(*args: str) -> Any:
        assert main([*args, "--json"]) == 0
        (line,) = capsys.readouterr().out.splitlines()
        return json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))

    return run


def check(row: str, made: Mapping[str, Any]) -> None:
    always, sometimes = listed(row)
    assert always <= set(made)
    assert set(made) - always - sometimes == set()


def test_fit_prints_the_keys_that_are_listed(of: Callable[..., Any]) -> None:
    made = of("fit", "llama3.1:8b", "--gpu", "l40s")
    check("`wayra fit`", made)
    times, of_each = listed("its `speed`")
    assert set(made["speed"]) == {"decode_step", "prefill", "first_token"}
    for time in made["speed"].values():
        assert set(time) == times - {"speed", "decode_step", "prefill"}
    assert of_each == {"first_token"}


def test_a_plan_prints_the_keys_that_are_listed(of: Callable[..., Any]) -> None:
    made = of("plan", *WORK, *TUNED, "--model", "llama-3.1-8b", "--model", "gpt-4o", "--budget", "900")
    check("`wayra plan`", made)
    always, sometimes = listed("an option")
    assert {option["kind"] for option in made["options"]} >= {"api", "rented"}
    for option in made["options"]:
        check("an option", option)
    assert set().union(*made["options"]) == always | sometimes - {"hardware_usd", "training_hours"}
    closed = of("plan", *WORK, "--model", "gpt-4o", "--model", "llama-3.1-8b", "--open-weights")
    assert closed["rejected"]
    for option in closed["rejected"]:
        assert always - {"rank", "explanations"} <= set(option) <= (always | sometimes) - {"rank", "explanations"}
    check("`break_even`", closed["break_even"])


def test_claims_and_deploy_print_the_keys_that_are_listed(of: Callable[..., Any], tmp_path: Path) -> None:
    for claim in of("claims", "--id", "A002", "--id", "A007", "--id", "A027"):
        check("`wayra claims`, each", claim)
    plan = of("plan", *WORK, "--model", "llama-3.1-8b", "--privacy", "no-third-party")
    (tmp_path / "plan.json").write_text(json.dumps(plan), "utf-8")
    check("`wayra deploy`", of("deploy", str(tmp_path / "plan.json"), "--k8s"))
