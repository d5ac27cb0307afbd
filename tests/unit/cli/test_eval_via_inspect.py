"""wayra eval --via inspect, with a program in Inspect's place: what it is told, what is kept, what is refused.

tests/harness has Inspect itself.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_openai import Script, fake_server

from wayra.cli.main import main

Call = Callable[..., tuple[int, str, str]]
FAKE = Path(__file__).parents[2] / "support" / "fake_inspect"


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("WAYRA_RUNS", str(tmp_path / "runs"))
    monkeypatch.syspath_prepend(str(FAKE))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(FAKE), os.environ.get("PYTHONPATH", "")])))

    def run(*args: str) -> tuple[int, str, str]:
        code = main(["eval", *args])
        out, err = capfd.readouterr()
        return code, out, err

    return run


def test_a_model_here_is_served_as_its_options_say_and_inspect_gets_what_stands_after_the_dashes(
    call: Call, smollm2_path: Path, tmp_path: Path
) -> None:
    task = tmp_path / "sums.py"
    task.write_text("")
    code, out, err = call(
        str(smollm2_path), "--via", "inspect", "--suite", f"{task}@sums", "--limit", "3",
        "--backend", "null", "--context", "384", "--threads", "1", "--json", "--", "-T", "start=5", "--epochs", "1",
    )  # fmt: skip
    assert code == 0, err
    assert "Log: log.json" in err
    found = json.loads(out)
    told = found["facts"]["results"]["sums"]
    assert told["context"] == 384
    assert told["argv"][1] == f"{os.path.relpath(task)}@sums"
    assert told["argv"][-4:] == ["-T", "start=5", "--epochs", "1"]
    assert found["config"]["arguments"] == ["-T", "start=5", "--epochs", "1"]
    assert found["facts"]["target"]["model"] == str(smollm2_path)
    (match,) = [figure for figure in found["figures"] if figure["name"] == "match"]
    assert (match["value"], match["count"]) == (0.0, 3)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("m", "--via", "inspect", "--suite", "a", "--", "--model", "x"), "--model is what wayra itself tells Inspect"),
        (("m", "--via", "inspect", "--suite", "a", "--", "--log-dir=x"), "--log-dir is what wayra itself tells"),
        (("m", "--via", "inspect", "--suite", "a", "--", "-M", "api_key=x"), "give it with --key-env or --key-file"),
        (("m", "--via", "inspect", "--suite", "/nonesuch/a.py@b"), "there is no file /nonesuch/a.py"),
        (("m", "--via", "inspect"), "no task of Inspect is named"),
        (("m", "--via", "inspect", "--suite", "a", "--model", "b"), "--model is for servers; TARGET is a model"),
        (("m", "--via", "inspect", "--suite", "a", "--few-shot", "2"), "are Inspect's tasks' own"),
        (("m", "n", "--via", "inspect", "--suite", "a"), "unexpected extra argument 'n'"),
        (("--via", "inspect", "--suite", "a", "--", "--epochs", "2"), "name a TARGET before --"),
        (("m", "--suite", "task:maths", "--", "--epochs", "2"), "options after -- are for --via inspect"),
        (("m", "--via", "lm-eval", "--suite", "a", "--", "--epochs", "2"), "--via lm-eval takes none"),
        (("http://127.0.0.1:9", "--via", "inspect", "--suite", "a", "--threads", "2"), "--threads says how to load"),
        (("http://127.0.0.1:9", "--via", "inspect", "--suite", "a"), "no server answers at http://127.0.0.1:9/v1"),
        (("/nonesuch.gguf", "--via", "inspect", "--suite", "a"), "there is no file /nonesuch.gguf"),
    ],
)
def test_what_inspect_cannot_be_told_is_refused_by_name(call: Call, args: tuple[str, ...], message: str) -> None:
    code, out, err = call(*args)
    assert code in (1, 2)
    assert message in err
    assert "Traceback" not in err
    assert out == ""


@pytest.mark.parametrize(
    ("task", "shown", "why"),
    [
        ("broken", "Error: this task is broken.", "exit code 1 and 0 logs: its words are above"),
        ("raising", "a line before", "exit code 1 and 0 logs: KeyError: 'question'"),
        (
            "package/contained",
            "Docker",
            "0 logs: Docker sandbox environments require a working Docker Engine; its "
            "programs run in Docker, which is not there or not running: start it, or",
        ),
        ("package/lacking", "pip install gdown", "0 logs: This download needs more. Install with: pip install gdown"),
        ("package/far", "", "(LocalEntryNotFoundError); its questions come from the hub, which cannot be reached: run"),
        ("unfinished", "Log: log.json", "Inspect did not finish unfinished: the server hung up"),
    ],
)
def test_when_inspect_fails_its_words_are_shown_without_a_traceback_which_the_run_keeps(
    call: Call, tmp_path: Path, task: str, shown: str, why: str
) -> None:
    with fake_server(Script()) as server:
        code, _, err = call(server.url, "--via", "inspect", "--suite", task)
    assert code == 1
    assert shown in err
    assert why in err
    assert "Traceback" not in err
    (header,) = (tmp_path / "runs").glob("*/run.json")
    assert json.loads(header.read_text())["status"] == "failed"
    kept = (header.parent / "inspect_stderr.txt").read_text()
    assert (shown in kept) == (task != "unfinished")  # which wrote to stdout
    assert ("Traceback" in kept) == (task in ("raising", "package/far"))


def test_the_scores_of_a_packages_task_are_shown_as_those_of_a_file(call: Call, smollm2_path: Path) -> None:
    given = ("--backend", "null", "--context", "384", "--threads", "1")
    code, out, err = call(str(smollm2_path), "--via", "inspect", "--suite", "package/capitals", *given)
    assert code == 0, err
    (line,) = [line.split() for line in out.splitlines() if "package/capitals" in line]
    assert line[:4] == ["package/capitals", "match", "0.0", "%"]
