"""The planner's own process: what it answers, how it yields, and that it neither outlives nor outlasts the server."""

import io
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from live_server import LiveServer

from wayra.server.errors import ApiError
from wayra.server.planner import apart
from wayra.server.planner.apart import Apart
from wayra.server.planner.planning import Planning, Question
from wayra.server.planner.worker import NICENESS, answer_all

pytest.importorskip("genai_prices")

WORK: dict[str, Any] = {
    "traffic": {"input_tokens": 800, "output_tokens": 200, "requests_per_month": 100_000},
    "choice": {"models": ["llama-3.1-8b"], "gpus": ["l40s"]},
}
LINUX = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes in /proc")


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_planner(pid: int) -> bool:
    try:
        return b"planner.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def planner_of(live: LiveServer) -> int:
    """The process of a server's planner, once it has planned."""
    assert live.post("/plan/weigh", {"workload": WORK}).status == 200
    # Threads begin processes too, and a process belongs to the thread that began it.
    tasks = Path(f"/proc/{live.process.pid}/task").iterdir()
    found = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
    return next(pid for pid in found if is_planner(pid))


def test_it_answers_refuses_and_ends():
    planner = Apart()
    try:
        assert "startup-chatbot" in json.loads(planner.answer(Question()))["scenarios"]
        options = json.loads(planner.answer(Question(WORK)))["options"]
        found = json.loads(planner.answer(Question(WORK, options[0]["id"])))
        assert found["label"] == options[0]["label"]
        with pytest.raises(ApiError, match="takes no batch") as refused:
            planner.answer(Question(WORK, options[0]["id"], 60_000))
        assert (refused.value.status, refused.value.param) == (400, "batch")
        process = planner._process
        assert process is not None
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)
    finally:
        planner.close()
    assert process.returncode == 0


def test_one_that_died_is_begun_again():
    planner = Apart()
    try:
        planner.answer(Question())
        assert planner._process is not None
        planner._process.kill()
        planner._process.wait()
        assert json.loads(planner.answer(Question(WORK)))["options"]
    finally:
        planner.close()


def test_one_that_dies_of_a_question_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(apart, "_START", "import sys; sys.stdin.readline(); sys.stdout.write('half')  # {root}")
    planner = Apart()
    with pytest.raises(ApiError, match="the planner's process has ended; ask again") as refused:
        planner.answer(Question(WORK))
    assert refused.value.status == 503
    assert planner._process is None


def test_a_failure_of_ours_is_an_answer_and_the_next_question_is_answered(capsys: pytest.CaptureFixture[str]):
    class Failing(Planning):
        def answer(self, question: Question) -> dict[str, Any]:
            if question.option == "fails":
                raise ZeroDivisionError("by nothing")
            return {"said": "yes"}

    answers = io.BytesIO()
    answer_all(Failing(), io.BytesIO(b'{"workload":{},"option":"fails"}\n{}\n'), answers)
    first, second = answers.getvalue().splitlines()
    assert json.loads(first)["status"] == 500
    assert json.loads(second)["answer"] == {"said": "yes"}
    assert capsys.readouterr().err == "the planner failed: ZeroDivisionError('by nothing')\n"


@LINUX
def test_a_server_without_plans_has_no_such_process_and_its_end_is_the_planners(smollm2_path: Path):
    with LiveServer(str(smollm2_path), "--backend", "null", "--context", "512") as live:
        assert not any(is_planner(pid) for pid in children_of(live.process.pid))
        pid = planner_of(live)
        live.stop(signal.SIGKILL)
        deadline = time.monotonic() + 30
        while is_planner(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not is_planner(pid)


@LINUX
def test_a_server_that_ends_takes_its_planner_along(smollm2_path: Path):
    with LiveServer(str(smollm2_path), "--backend", "null", "--context", "512") as live:
        pid = planner_of(live)
        assert live.stop() == 0
        assert not is_planner(pid)
