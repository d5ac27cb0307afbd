"""wayra compare, in this process: a model against itself, resumed and from its runs, a server, refusals."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_openai import Script, fake_server

from wayra.cli.main import main

Call = Callable[..., tuple[int, str, str]]
FAST = ("--backend", "null", "--context", "1024", "--suite", "task:maths", "--limit", "3", "--max-tokens", "8")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("WAYRA_RUNS", str(tmp_path / "runs"))

    def run(*args: str) -> tuple[int, str, str]:
        code = main([*args])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_a_model_against_itself_is_measured_once_and_shows_no_difference(
    call: Call, smollm2_path: Path, tmp_path: Path
) -> None:
    model, report = str(smollm2_path), tmp_path / "report.md"
    given = ("compare", model, model, *FAST, "--rent", "a=3.6")
    code, out, err = call(*given, "--markdown", str(report), "--json")
    assert code == 0, err
    found = json.loads(out)
    (tested,) = found["tested"]
    assert (tested["suite"], tested["count"], tested["difference"]) == ("task:maths", 3, 0.0)
    assert not tested["is_significant"]
    assert any("A: 3 answers reached the limit" in text for text in found["notes"])
    spec = {row["name"]: [cell["value"] for cell in row["cells"]] for row in found["tables"]["Specification"]}
    assert spec["layers"] == [30, 30]
    assert spec["parameters"] == [134_515_008, 134_515_008]
    rented = found["tables"]["Cost"][1]["cells"]
    assert rented[0]["value"] > 0
    assert rented[1]["value"] is None
    text = report.read_text()
    assert "No benchmark shows a significant difference" in text
    assert "| parameters |  | 134,515,008 | 134,515,008 |" in text

    before = sorted(path.name for path in (tmp_path / "runs").glob("*-*"))
    code, out, err = call("compare", "--resume", "latest")
    assert code == 0, err
    assert "not known" in out
    assert sorted(path.name for path in (tmp_path / "runs").glob("*-*")) == before

    evals = [name for name in before if "-eval-" in name]
    assert len(evals) == 2
    code, out, err = call("compare", "--runs", ",".join(evals), "--json")
    assert code == 0, err
    assert json.loads(out)["tested"] == found["tested"]
    assert call("runs", "show", found["run"])[0] == 0


def test_a_server_is_compared_with_a_model_here_and_the_key_is_in_no_record(
    call: Call, smollm2_path: Path, tmp_path: Path
) -> None:
    with fake_server(Script(key="sk-secret")) as server:
        code, out, err = call(
            "compare", str(smollm2_path), server.url, *FAST[:-4], "--limit", "1", "--max-tokens", "4",
            "--model", "B=fake", "--key", "sk-secret", "--price", "B=2.5,10", "--json",
        )  # fmt: skip
    assert code == 0, err
    found = json.loads(out)
    assert found["names"]["B"] == "fake"
    assert found["tables"]["Cost"][0]["cells"][1]["value"] == 4.375
    assert found["tables"]["Specification"][0]["cells"][1]["value"] is None
    assert all("sk-secret" not in path.read_text() for path in (tmp_path / "runs").rglob("*.json*"))


def test_runs_that_asked_different_questions_are_not_compared_and_say_so(call: Call, smollm2_path: Path) -> None:
    ids: list[str] = []
    for suite in ("task:maths", "task:reasoning"):
        given = ("--suite", suite, "--limit", "1", "--max-tokens", "4", "--backend", "null", "--context", "1024")
        code, out, err = call("eval", str(smollm2_path), *given, "--json")
        assert code == 0, err
        ids.append(json.loads(out)["run"])
    code, out, err = call("compare", "--runs", ",".join(ids))
    assert code == 0, err
    assert "A and B are not compared in their answers" in out
    assert "nothing is said of which answers better" in out


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("one",), "1 models are named"),
        (("a", "b", "--price", "C=1,2"), "the models are called A, B"),
        (("a", "b", "--price", "B=1"), "is one number"),
        (("a", "b", "--rent", "cheap"), "does not say of which model"),
        (("a", "b", "--suite", "nothing"), "there is no suite"),
        (("--resume", "20260101"), "there is no run"),
        (("a", "--runs", "x"), "give no targets"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(call: Call, args: tuple[str, ...], said: str) -> None:
    code, _, err = call("compare", *args)
    assert code in (1, 2)
    assert said in err
    assert "Traceback" not in err
