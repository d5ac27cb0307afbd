"""Logs of other harnesses become runs, and the tasks written for wayra suites."""

import json
import sys
from pathlib import Path

import pytest

from wayra.base.errors import DataError, InvalidParameter
from wayra.base.settings import Settings
from wayra.lab.harness.inspect_run import InspectSettings, append_log, command_of
from wayra.lab.harness.inspect_words import with_advice
from wayra.lab.harness.unreachable import wants_hub
from wayra.lab.runs import RunStore, summarise
from wayra.lab.scoring.execution import task_executions
from wayra.lab.suites import find_suite, load_suite
from wayra.lab.suites.task_suites import expanded
from wayra.lab.tasks import find_task


def sample(item: str, epoch: int, value: object, error: object = None) -> dict[str, object]:
    scores = {} if error else {"match": {"value": value, "answer": "4", "explanation": "so", "history": []}}
    return {"id": item, "epoch": epoch, "input": "2+2?", "target": "4", "output": {"completion": "4"},
            "scores": scores, "error": error}  # fmt: skip


def test_samples_of_inspect_are_kept_and_averaged_over_epochs_first(tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    samples = [sample("a", 1, "C"), sample("a", 2, "I"), sample("b", 1, 1), sample("c", 1, None, {"message": "broken"})]
    log.write_text(json.dumps({"version": 2, "status": "success", "eval": {"task": "sums"}, "samples": samples}))
    store = RunStore(tmp_path / "runs")
    with store.create("inspect", {}) as run:
        append_log(log, run)
        run.finish()
    stored = store.open(run.id)
    assert [str(record["key"]) for record in stored.records()] == ["sums/a/1", "sums/a/2", "sums/b/1", "sums/c/1"]
    match, failed = (summarise(stored).find(name, "sums") for name in ("match", "failed"))
    assert match is not None
    assert failed is not None
    assert (match.value, match.count, failed.value) == (0.75, 2, 1)
    assert failed.why == "the first: broken"


@pytest.mark.parametrize("content", ["{", "[]", '{"eval": {}}', '{"eval": {"task": "x"}, "samples": [{"epoch": 1}]}'])
def test_what_is_no_log_of_inspect_is_said_to_be_none(tmp_path: Path, content: str) -> None:
    log = tmp_path / "log.json"
    log.write_text(content)
    with RunStore(tmp_path / "runs").create("inspect", {}) as run, pytest.raises(DataError, match="no JSON log"):
        append_log(log, run)


def test_inspect_is_started_on_the_servers_api_and_takes_no_options_for_tasks(tmp_path: Path) -> None:
    chosen = InspectSettings("http://x", ("inspect_evals/swe_bench",), limit=3)
    command = command_of(chosen, "http://x/v1", "m", tmp_path)
    assert command[:5] == [sys.executable, "-m", "inspect_ai", "eval", "inspect_evals/swe_bench"]
    assert command[command.index("--model") + 1] == "openai-api/wayra/m"
    assert command[command.index("--limit") + 1] == "3"
    with pytest.raises(InvalidParameter, match="begins with a dash"):
        InspectSettings("m", ("--sandbox",))


def test_tasks_are_suites_made_from_the_seed_and_judged_by_their_own_scorers(tmp_path: Path) -> None:
    names = expanded(["gsm8k", "tasks"])
    assert names[0] == "gsm8k"
    assert "task:maths" in names
    settings = Settings(cache_dir=tmp_path)
    found = load_suite(find_suite("task:maths"), settings, seed=3)
    assert found.digest != load_suite(find_suite("task:maths"), settings, seed=4).digest
    item = found.items[0]
    assert item.suite == "task:maths"
    right = task_executions("task:maths", item, f"<think>0</think>{item.data['reference']}", None)
    assert (right[0].reading, right[0].value) == ("score", 1.0)
    wrong = task_executions("task:maths", item, "I do not know.", None)
    assert wrong[0].value == 0.0
    assert find_task("maths").name == "maths"
    with pytest.raises(InvalidParameter, match="there is no task 'nonesuch'"):
        find_suite("task:nonesuch")


@pytest.mark.parametrize(
    ("words", "is_of_the_hub"),
    [
        ("ConnectionError: Couldn't reach 'Rowan/hellaswag' on the Hub (OfflineModeIsEnabled)", True),
        ("huggingface_hub.errors.LocalEntryNotFoundError: Got: ConnectError: Name or service not known", True),
        ("KeyError: 'question'", False),
        ("APIConnectionError: Connection error.", False),
    ],
)
def test_words_of_a_missing_hub_are_told_from_others(words: str, is_of_the_hub: bool) -> None:
    assert wants_hub(words) == is_of_the_hub


def test_what_to_do_is_said_only_where_the_words_are_of_it() -> None:
    command = (
        "subprocess.CalledProcessError: Command '['docker', 'compose', 'config']' returned non-zero exit status 125."
    )
    assert "its programs run in Docker" in with_advice(command)
    assert "its programs run in Docker" in with_advice("No such file or directory: 'docker'")
    assert "pip install 'swebench<5'" in with_advice("ImportError: cannot import name 'MAP_REPO_VERSION_TO_SPECS'")
    for words in ("ModuleNotFoundError: No module named 'docker'", "KeyError: 'question'", ""):
        assert with_advice(words) == words
