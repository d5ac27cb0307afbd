"""A newcomer's way through the shipped scenarios: wayra plan, then wayra deploy, for every target."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from wayra.cli.main import main
from wayra.plan.deploy.bundle import TARGETS
from wayra.plan.deploy.service import Choices, service_of
from wayra.plan.options import Place

pytest.importorskip("genai_prices")

OWN_FILES = {"docker": "compose.yaml", "k8s": "kubernetes.yaml", "ray": "serve.yaml", "vllm": "vllm.sh"}
Plans = Callable[[str], Path]


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Plans:
    """What `wayra plan --scenario NAME --json` prints, in a file; made once."""
    folder = tmp_path_factory.mktemp("plans")

    def plan_of(name: str) -> Path:
        path = folder / f"{name}.json"
        if not path.exists():
            with pytest.MonkeyPatch.context() as patch, path.open("w", encoding="utf-8") as out:
                patch.setattr("sys.stdout", out)
                assert main(["plan", "--scenario", name, "--json"]) == 0
        return path

    return plan_of


def rows(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text("utf-8"))["options"]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["startup-chatbot", "hipaa-on-premises"])
def test_the_best_option_of_a_scenario_is_set_up_without_further_words(
    name: str, target: str, plans: Plans, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plans(name)
    assert main(["deploy", str(plan), f"--{target}", "--out", str(tmp_path / "out")]) == 0, capsys.readouterr().err
    assert (tmp_path / "out" / "DEPLOY.md").exists()
    text = (tmp_path / "out" / OWN_FILES[target]).read_text("utf-8")
    best = rows(plan)[0]["place"]
    assert str(best["context"]) in text
    if target == "vllm":
        subprocess.run(["sh", "-n", str(tmp_path / "out" / "vllm.sh")], check=True)
    else:
        assert all(isinstance(part, dict) for part in yaml.safe_load_all(text))


@pytest.mark.parametrize("name", ["startup-chatbot", "hipaa-on-premises"])
def test_every_option_of_a_scenario_that_is_on_cards_has_a_checkpoint(name: str, plans: Plans) -> None:
    placed = [row for row in rows(plans(name)) if row["place"] is not None]
    assert len(placed) > 10
    for row in placed:
        service = service_of(row["label"], Place(**row["place"]), Choices())
        assert service.model in service.command


@pytest.mark.parametrize("target", TARGETS)
def test_a_plan_of_apis_alone_says_why_there_is_nothing_to_set_up(
    target: str, plans: Plans, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plans("research-lab")
    assert main(["deploy", str(plan), f"--{target}"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "made of APIs alone" in error
    assert "nothing to set up; none of the plan is on hardware" in error


def test_an_api_of_a_scenario_names_the_options_that_can_be_set_up(
    plans: Plans, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plans("startup-chatbot")
    api = next(row["rank"] for row in rows(plan) if row["kind"] == "api")
    assert main(["deploy", str(plan), "--k8s", "--option", str(api)]) == 2
    assert "there is nothing to set up; on hardware: 1, 2, 3" in capsys.readouterr().err
