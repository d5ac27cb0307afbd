"""An eval of slow, broken or hostile servers: the first words are told, what came is kept, a re-run resumes."""

import asyncio
import json
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from fake_openai import Script, fake_server

from wayra.base.errors import AccessDenied, InvalidParameter, ServerError, ServerUnreachable, WayraError
from wayra.base.settings import Settings
from wayra.lab.runs import Run, RunStore, summarise
from wayra.lab.scoring.evaluate import Evaluation
from wayra.lab.scoring.execution import Ran
from wayra.lab.scoring.facts import facts_of
from wayra.lab.scoring.settings import EvalSettings
from wayra.lab.suites import SuiteItems, find_suite, load_suite
from wayra.llm import LLM

ROWS = [{"id": f"g{i}", "question": f"What is {i} + 1?", "answer": f"Easy.\n#### {i + 1}"} for i in range(12)]
STALL_S = 0.5
PATIENT_S = 20.0
ANSWER = Script(events=((0.0, "Easy.\n#### "), (0.0, "3")))


@pytest.fixture
def suites(tmp_path: Path) -> list[SuiteItems]:
    path = tmp_path / "gsm8k.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in ROWS))
    return [load_suite(find_suite("gsm8k"), Settings(cache_dir=tmp_path), path)]


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "runs")


def asked(url: str, store: RunStore, suites: list[SuiteItems], run_id: str | None = None, **changes: Any) -> Run:
    """is_silent: the server will stop talking, so that it is not waited for."""
    is_silent = changes.pop("is_silent", False)
    chosen = EvalSettings(url, ("gsm8k",), uses_chat=False, num_shots=0, **{"num_at_once": 1, **changes})
    stall_s = STALL_S if is_silent else PATIENT_S
    made = store.create("eval", asdict(chosen), facts_of(chosen, suites)) if run_id is None else store.resume(run_id)
    with made as run, LLM("fake", url=url, stall_s=stall_s) as llm:
        asyncio.run(Evaluation(llm, chosen, run, lambda *_: None).run(suites))
        run.finish()
    return store.open(run.id)


def by_status(run: Run) -> tuple[int, int]:
    found = [record["status"] == "ok" if "status" in record else True for record in run.records()]
    return sum(found), len(found) - sum(found)


@pytest.mark.parametrize(
    ("hostile", "error", "words"),
    [
        (replace(ANSWER, status=500, words="the GPU fell off the bus"), ServerError, "the GPU fell off the bus"),
        (replace(ANSWER, status=401, words="who are you?"), AccessDenied, "who are you?"),
        (replace(ANSWER, status=400, words="I do not like this"), InvalidParameter, "I do not like this"),
        (replace(ANSWER, breaks="stall"), ServerUnreachable, "the server sent nothing for 0.5 s"),
        (replace(ANSWER, breaks="cut"), ServerUnreachable, "closed"),
        (replace(ANSWER, breaks="rubbish"), ServerError, "is no"),
        (replace(ANSWER, breaks="not_http"), ServerError, "no OpenAI-compatible server"),
        (replace(ANSWER, breaks="bad_chunk"), WayraError, "127.0.0.1"),
        (replace(ANSWER, breaks="error_event"), ServerError, "out of memory"),
    ],
)
def test_a_server_that_breaks_stops_the_run_with_its_first_words_and_a_rerun_goes_on_from_there(
    store: RunStore, suites: list[SuiteItems], hostile: Script, error: type[WayraError], words: str
) -> None:
    with fake_server(replace(hostile, spared=4)) as server:
        with pytest.raises(error, match=words) as raised:
            asked(server.url, store, suites, is_silent=hostile.breaks == "stall")
        (failed,) = store.ids()
        num_failed = 1 if error is AccessDenied else 5
        assert by_status(store.open(failed)) == (4, num_failed)
        assert store.open(failed).status == "failed"
        if num_failed > 1:
            assert "5 answers in a row failed, the first so" in str(raised.value)
        server.script = ANSWER
        before = len(server.bodies)
        run = asked(server.url, store, suites, failed)
        # What was answered is not asked again.
        assert len(server.bodies) - before == len(ROWS) - 4
    figures = {figure.name: figure.value for figure in summarise(run).figures}
    assert (figures["items"], figures["strict"]) == (12, pytest.approx(1 / 12))
    assert "failed" not in figures


@pytest.mark.parametrize("breaks", ["cut", "stall", "rubbish", "error_event"])
def test_a_server_that_fails_now_and_then_is_asked_on_and_its_first_failure_is_told(
    store: RunStore, suites: list[SuiteItems], breaks: str
) -> None:
    with fake_server(replace(ANSWER, breaks=breaks, every=3)) as server:
        run = asked(server.url, store, suites, is_silent=breaks == "stall")
    assert by_status(run) == (8, 4)
    failed = summarise(run).find("failed", "gsm8k")
    assert failed is not None
    assert failed.value == 4
    first = next(record for record in run.records() if record.get("failure"))
    assert failed.why == f"the first: {first['failure']}"


def test_one_question_that_a_server_refuses_is_a_failure_and_no_end(store: RunStore, suites: list[SuiteItems]) -> None:
    with fake_server(replace(ANSWER, status=400, words="content filter", every=6)) as server:
        run = asked(server.url, store, suites)
    assert by_status(run) == (10, 2)


def test_answers_under_way_when_a_run_stops_are_kept(store: RunStore, suites: list[SuiteItems]) -> None:
    slow = Script(events=((0.0, "#### "), (0.8, "3")), status=401, spared=3)
    with fake_server(slow) as server, pytest.raises(AccessDenied):
        asked(server.url, store, suites, num_at_once=4)
    (failed,) = store.ids()
    # Three were being answered when the fourth was refused; nothing more was asked.
    assert by_status(store.open(failed)) == (3, 1)
    assert len(server.bodies) == 4


def test_an_answer_whose_program_runs_when_the_eval_is_interrupted_is_kept(store: RunStore, tmp_path: Path) -> None:
    path = tmp_path / "humaneval.jsonl"
    problem = {"task_id": "HumanEval/0", "prompt": "def f():\n", "entry_point": "f", "test": "def check(f): pass"}
    path.write_text(json.dumps(problem))
    code = [load_suite(find_suite("humaneval"), Settings(cache_dir=tmp_path), path)]
    runs, may_end = threading.Event(), threading.Event()

    def program(_source: str) -> Ran:
        runs.set()
        may_end.wait(10)
        return Ran("", "too slow")

    async def interrupted(evaluation: Evaluation) -> None:
        task = asyncio.create_task(evaluation.run(code))
        await asyncio.to_thread(runs.wait, 10)
        task.cancel()
        asyncio.get_running_loop().call_later(0.05, may_end.set)
        with pytest.raises(asyncio.CancelledError):
            await task

    chosen = EvalSettings("x", ("humaneval",), uses_chat=False)
    with fake_server(Script(events=((0.0, "    return 1\n"),))) as server, LLM("fake", url=server.url) as llm:
        with store.create("eval", asdict(chosen)) as run:
            asyncio.run(interrupted(Evaluation(llm, chosen, run, lambda *_: None, program)))
        (record,) = store.open(run.id).records()
        assert record["text"] == "    return 1\n"
        assert record["executions"][0]["why"] == "too slow"  # type: ignore[index]


@pytest.mark.parametrize(
    ("models", "error", "words"),
    [
        ((200, "<html>hello</html>"), ServerError, "is not what the API says"),
        ((200, '{"data": []}'), WayraError, "it serves: none"),
        ((401, '{"error": {"message": "who are you?"}}'), AccessDenied, "who are you"),
        ((500, "broken"), ServerError, "broken"),
    ],
)
def test_a_server_that_cannot_even_be_greeted_says_why(
    models: tuple[int, str], error: type[WayraError], words: str
) -> None:
    with fake_server(Script(models=models)) as server, pytest.raises(error, match=words):
        LLM(url=server.url)


def test_a_silent_server_is_given_up_after_the_time_that_was_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="stall_s is given without the url"):
        LLM("smollm2", stall_s=1.0)
    for stall_s in (0.0, 1e9):
        with pytest.raises(InvalidParameter, match=r"expected 0\.01 to 86,400"):
            LLM(url="http://127.0.0.1:9", stall_s=stall_s)
