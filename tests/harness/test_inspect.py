"""Inspect itself asks a model here a task of ours: what it scored is in the run, sample by sample.

Runs with -m lm_eval; needs wayra[inspect].
"""

import json
from pathlib import Path

import pytest

from wayra.cli.main import main
from wayra.llm import LLM, SamplingParams

pytestmark = pytest.mark.lm_eval

TASK = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate


@task
def capitals(word: str = "capital") -> Task:
    pairs = [("France", "Paris"), ("Japan", "Tokyo"), ("Nowhere", "Xyzzyx")]
    samples = [Sample(id=c, input=f"What is the {word} of {c}?", target=city) for c, city in pairs]
    return Task(dataset=samples, solver=generate(), scorer=includes())
"""


def test_inspect_asks_a_model_here_and_its_scores_are_in_the_run(
    smollm2_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYRA_RUNS", str(tmp_path / "runs"))
    task = tmp_path / "capitals.py"
    task.write_text(TASK)
    given = ("--threads", "1", "--context", "512", "--json", "--",
             "--temperature", "0", "--max-tokens", "24", "-T", "word=capital city")  # fmt: skip
    code = main(["eval", str(smollm2_path), "--via", "inspect", "--suite", f"{task}@capitals", *given])
    out, err = capfd.readouterr()
    assert code == 0, err
    found = json.loads(out)
    (score,) = [figure for figure in found["figures"] if figure["name"] == "includes"]
    (theirs,) = found["facts"]["results"]["capitals"]["scores"]
    assert score["value"] == pytest.approx(theirs["metrics"]["accuracy"]["value"])
    assert score["count"] == 3
    lines = (tmp_path / "runs" / found["run"] / "requests.jsonl").read_text().splitlines()
    records = {record["key"]: record for record in map(json.loads, lines)}
    assert set(records) == {"capitals/France/1", "capitals/Japan/1", "capitals/Nowhere/1"}
    with LLM(smollm2_path, threads=1, context_len=512) as llm:
        for record in records.values():
            asked = [{"role": "user", "content": record["input"]}]
            assert record["text"] == llm.chat(asked, SamplingParams(temperature=0.0, max_tokens=24)).text
    right = sum(record["target"].lower() in record["text"].lower() for record in records.values())
    assert score["value"] == pytest.approx(right / 3)
