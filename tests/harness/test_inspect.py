"""Inspect itself asks a model here a task of ours, and a server a suite of inspect-evals: the run has every score.

Runs with -m lm_eval; needs wayra[inspect] and inspect-evals.
"""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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


class OneAnswer(BaseHTTPRequestHandler):
    """Answers every conversation with the same program."""

    TEXT = "```python\ndef solution(x):\n    return x + 1\n```"

    def do_GET(self) -> None:
        self._send({"object": "list", "data": [{"id": "fixed", "object": "model", "created": 0, "owned_by": "test"}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        message = {"role": "assistant", "content": self.TEXT}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
        self._send({"id": "a", "object": "chat.completion", "created": 0, "model": "fixed", "choices": choices,
                    "usage": usage})  # fmt: skip

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _send(self, content: dict[str, object]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def fixed_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), OneAnswer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def contest_problem(number: int, outputs: list[int]) -> dict[str, object]:
    return {"id": number, "question": "Return x + 1.", "solutions": "[]", "difficulty": "interview", "url": "",
            "input_output": json.dumps({"inputs": [1, 2], "outputs": outputs}), "starter_code": ""}  # fmt: skip


def test_inspects_suite_of_contest_problems_runs_over_files_of_ones_own(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYRA_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("INSPECT_EVALS_CACHE_DIR", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "apps_dataset" / "apps"
    folder.mkdir(parents=True)
    problems = [contest_problem(1, [2, 3]), contest_problem(2, [2, 4]), contest_problem(3500, [2, 3])]
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(problem) + "\n" for problem in problems))
    with fixed_server() as url:
        code = main(["eval", url, "--via", "inspect", "--suite", "inspect_evals/apps", "--", "--sandbox", "local"])
    out, err = capfd.readouterr()
    assert code == 0, err
    (line,) = [line.split() for line in out.splitlines() if "inspect_evals/apps" in line]
    assert line[:4] == ["inspect_evals/apps", "verify", "50.0", "%"]
    (path,) = (tmp_path / "runs").glob("*/requests.jsonl")
    records = {record["key"]: record for record in map(json.loads, path.read_text().splitlines())}
    assert {key: record["scores"]["verify"]["value"] for key, record in records.items()} == {
        "inspect_evals/apps/1/1": "C",
        "inspect_evals/apps/2/1": "I",
    }
