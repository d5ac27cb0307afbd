"""An eval from questions to figures: on the backend of predictable tokens, over HTTP, interrupted, resumed, paired."""

import asyncio
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from fake_openai import Script, fake_server

from wayra.base.errors import (
    AccessDenied,
    ContextOverflow,
    DataError,
    InvalidParameter,
    RunError,
    ServerError,
    ServerUnreachable,
)
from wayra.base.settings import Settings
from wayra.lab.runs import Run, RunStore, summarise
from wayra.lab.runs.diff import diff
from wayra.lab.scoring.evaluate import Evaluation
from wayra.lab.scoring.execution import Ran
from wayra.lab.scoring.facts import facts_of
from wayra.lab.scoring.loglikelihood import encoder_of, likelihoods, pair_of
from wayra.lab.scoring.paired import paired
from wayra.lab.scoring.prompts import drawn, questions_of, with_letters
from wayra.lab.scoring.record import EvalRecord, record_from
from wayra.lab.scoring.settings import EvalSettings
from wayra.lab.scoring.summary import suite_figures
from wayra.lab.suites import SuiteItems, find_suite, load_suite
from wayra.llm import LLM, SamplingParams

GSM = [{"id": f"g{i}", "question": f"What is {i} + 1?", "answer": f"Easy.\n#### {i + 1}"} for i in range(6)]
SWAG = [
    {"id": f"h{i}", "activity_label": "Cooking", "ctx": "A pan is hot. the cook", "expected_index": i % 3,
     "endings": ["sings a song.", "runs", f"waits {i} minutes and eats."]}
    for i in range(5)
]  # fmt: skip
LETTERS = [
    {"id": f"m{i}", "subject": "maths", "question": f"{i} + {i}?", "choices": ["1", "2", "3", "4"], "answer": i % 4}
    for i in range(4)
]


@pytest.fixture(scope="module")
def llm(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLM]:
    settings = Settings(cache_dir=tmp_path_factory.mktemp("cache"))
    with LLM(smollm2_path, settings=settings, backend="null", context_len=512, max_batch=4) as found:
        yield found


def suite_of(folder: Path, name: str, rows: list[dict[str, Any]]) -> SuiteItems:
    path = folder / f"{name}.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return load_suite(find_suite(name), Settings(cache_dir=folder), path)


def evaluated(llm: LLM, store: RunStore, suites: list[SuiteItems], **changes: Any) -> Run:
    program = changes.pop("program", None)
    chosen = EvalSettings("m", tuple(found.suite.name for found in suites), max_tokens=8, **changes)
    with store.create("eval", asdict(chosen), facts_of(chosen, suites)) as run:
        asyncio.run(Evaluation(llm, chosen, run, lambda *_: None, program).run(suites))
        run.finish()
    return store.open(run.id)


def records(run: Run) -> dict[str, dict[str, Any]]:
    return {str(record["key"]): record for record in run.records()}


def test_likelihoods_add_up_the_tokens_after_the_context(llm: LLM) -> None:
    encode = encoder_of(llm)
    pair = pair_of(encode, "The pan is ", "very hot", 512)
    whole = list(encode("The pan is very hot"))
    assert [*pair.context, *pair.continuation] == whole
    assert list(pair.context) == list(encode("The pan is"))  # the space belongs to what follows
    params = SamplingParams(temperature=0, max_tokens=0, prompt_logprobs=True, prompt_top_logprobs=1)
    (direct,) = llm.generate([whole], params)
    assert direct.prompt_logprobs is not None
    (found,) = asyncio.run(likelihoods(llm, [pair]))
    assert found.loglikelihood == sum(direct.prompt_logprobs[-2:])


def test_one_token_choices_score_the_same_together_and_alone(llm: LLM) -> None:
    encode = encoder_of(llm)
    pairs = [pair_of(encode, "Question: 2 + 2?\nAnswer:", f" {letter}", 512) for letter in "ABCD"]
    assert {len(pair.continuation) for pair in pairs} == {1}
    together = asyncio.run(likelihoods(llm, pairs))
    longer = pair_of(encode, "Another", " one here", 512)
    # A longer one among them takes the other way.
    apart = asyncio.run(likelihoods(llm, [*pairs, longer]))[:4]
    assert [one.is_greedy for one in together] == [one.is_greedy for one in apart]
    for one, other in zip(together, apart, strict=True):
        assert math.isclose(one.loglikelihood, other.loglikelihood, rel_tol=1e-6)


def test_what_does_not_fit_loses_its_beginning_and_what_cannot_fit_is_refused(llm: LLM) -> None:
    encode = encoder_of(llm)
    pair = pair_of(encode, "one two three four five", " six", 3)
    assert pair.is_truncated
    assert [*pair.context, *pair.continuation] == list(encode("one two three four five six"))[-3:]
    with pytest.raises(ContextOverflow, match="the context holds 2"):
        pair_of(encode, "one", " two three four", 2)
    with pytest.raises(DataError, match="no tokens of its own"):
        pair_of(encode, "one", "", 8)
    with pytest.raises(InvalidParameter, match="needs a context"):
        pair_of(encode, "", "one", 8)
    assert pair_of(encode, "", "one", 8, first_id=5).context == (5,)


def test_an_eval_records_every_answer_and_its_figures_follow_from_them(llm: LLM, tmp_path: Path) -> None:
    suites = [suite_of(tmp_path, "gsm8k", GSM), suite_of(tmp_path, "hellaswag", SWAG)]
    run = evaluated(llm, RunStore(tmp_path / "runs"), suites, num_shots=1)
    found = records(run)
    assert len(found) == len(GSM) + len(SWAG)
    choice = found["hellaswag/h1#0"]
    assert choice["num_chars"] == [13, 4, 25]
    assert len(choice["loglikelihoods"]) == 3
    assert choice["prompt"].endswith("Cooking: A pan is hot. The cook")
    best = max(range(3), key=lambda i: choice["loglikelihoods"][i])
    expected = [
        float(max(range(3), key=record["loglikelihoods"].__getitem__) == record["target"])
        for key, record in found.items()
        if key.startswith("hellaswag")
    ]
    acc = summarise(run).find("acc", "hellaswag")
    assert acc is not None
    assert (acc.value, acc.count, choice["loglikelihoods"][best] < 0) == (sum(expected) / 5, 5, True)
    assert acc.low is not None
    assert acc.low <= acc.value
    words = found["gsm8k/g0#0"]
    assert words["completion_tokens"] == 8
    assert [message["role"] for message in words["prompt"]] == ["user", "assistant", "user"]
    cut = summarise(run).find("cut", "gsm8k")
    assert cut is not None
    assert cut.value == 6
    assert run.header.hashes["gsm8k items"].startswith("sha256:")


def test_a_killed_run_goes_on_without_asking_again(llm: LLM, tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs")
    suites = [suite_of(tmp_path, "gsm8k", GSM)]
    chosen = EvalSettings("m", ("gsm8k",), max_tokens=8, num_at_once=1, samples=2)

    class Killed(Exception):
        pass

    def kill(_suite: str, record: EvalRecord | None, total: int) -> None:
        if record is not None and record.item == "g2":
            raise Killed

    with pytest.raises(ExceptionGroup), store.create("eval", asdict(chosen), facts_of(chosen, suites)) as run:
        asyncio.run(Evaluation(llm, chosen, run, kill).run(suites))
    before = records(store.open(run.id))
    assert 0 < len(before) < 12
    seen: list[int] = []
    with store.resume(run.id) as again:
        told = Evaluation(llm, chosen, again, lambda _s, record, total: seen.append(total) if record is None else None)
        asyncio.run(told.run(suites))
        again.finish()
    whole = list(store.open(run.id).records())
    assert (len(whole), seen) == (12, [12 - len(before)])
    assert len({str(record["key"]) for record in whole}) == 12
    # Seeds are the questions' own, so that a run in one piece has the same answers.
    unbroken = records(evaluated(llm, store, suites, samples=2))
    assert {key: record["text"] for key, record in unbroken.items()} == {r["key"]: r["text"] for r in whole}


def test_resuming_with_other_questions_is_refused(llm: LLM, tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs")
    suites = [suite_of(tmp_path, "gsm8k", GSM)]
    chosen = EvalSettings("m", ("gsm8k",))
    with store.create("eval", asdict(chosen), facts_of(chosen, suites)) as run:
        pass
    other = [suite_of(tmp_path, "gsm8k", GSM[:3])]
    with store.resume(run.id) as again, pytest.raises(RunError, match="asked other questions of gsm8k"):
        asyncio.run(Evaluation(llm, chosen, again, lambda *_: None).run(other))


def test_a_question_that_does_not_fit_fails_alone(llm: LLM, tmp_path: Path) -> None:
    long = {"id": "long", "question": "word " * 600, "answer": "#### 1"}
    run = evaluated(llm, RunStore(tmp_path / "runs"), [suite_of(tmp_path, "gsm8k", [*GSM, long])])
    assert "limit is 511" in records(run)["gsm8k/long#0"]["failure"]
    failed, items = (summarise(run).find(name, "gsm8k") for name in ("failed", "items"))
    assert failed is not None
    assert items is not None
    assert (failed.value, items.value) == (1, 6)


def test_choices_can_be_asked_by_letter(llm: LLM, tmp_path: Path) -> None:
    run = evaluated(llm, RunStore(tmp_path / "runs"), [suite_of(tmp_path, "hellaswag", SWAG)], method="generate")
    record = records(run)["hellaswag/h0#0"]
    asked = record["prompt"][-1]["content"]
    letter = record["target"]
    assert f"{letter}. sings a song." in asked
    assert 'as in "Answer: A"' in asked
    assert (record["how"], record["data"]["num_letters"]) == ("letter", 3)
    strict = summarise(run).find("strict", "hellaswag")
    assert strict is not None
    lettered = with_letters(suite_of(tmp_path, "mmlu", LETTERS).items[2])
    assert (lettered.target, str(lettered.prompt).count("C. 3")) == ("C", 1)


def test_samples_give_pass_at_k_over_items() -> None:
    def record(item: str, sample: int, value: float) -> EvalRecord:
        execution = {"reading": "strict", "value": value}
        line: dict[str, Any] = {"key": f"{item}{sample}", "suite": "humaneval", "item": item, "how": "code",
                                "sample": sample, "executions": [execution]}  # fmt: skip
        return record_from(line, 1)

    found = [record("a", 0, 1.0), record("a", 1, 0.0), record("b", 0, 0.0), record("b", 1, 0.0)]
    figures = {figure.name: figure for figure in suite_figures("humaneval", found)}
    assert (figures["pass@1"].value, figures["pass@2"].value) == (0.25, 0.5)
    assert figures["pass@2"].count == 2


def test_programs_are_run_by_the_given_runner_and_judged_by_it(llm: LLM, tmp_path: Path) -> None:
    problem = {"task_id": "HumanEval/0", "prompt": "def f():\n", "entry_point": "f", "test": "def check(f): pass"}
    ran: list[str] = []

    def program(source: str) -> Ran:
        ran.append(source)
        return Ran(source.rsplit("'", 2)[1] if "passed" in source else "")

    suites = [suite_of(tmp_path, "humaneval", [problem])]
    run = evaluated(llm, RunStore(tmp_path / "runs"), suites, uses_chat=False, program=program)
    record = records(run)["humaneval/HumanEval/0#0"]
    assert ran[0].startswith("def f():\n")
    assert [one["value"] for one in record["executions"]] == [1.0, 1.0]
    found = summarise(run).find("pass@1", "humaneval")
    assert found is not None
    assert found.value == 1.0


def test_examples_are_never_the_question_itself(tmp_path: Path) -> None:
    found = suite_of(tmp_path, "gsm8k", GSM)
    for question in questions_of(found, found.items, 3, 0, uses_chat=False):
        assert len(question.shots) == 3
        assert question.item not in question.shots
        assert question.text().count("Question:") == 4
        assert question.text().endswith(f"{question.item.prompt}")
    lettered = suite_of(tmp_path, "mmlu", LETTERS)
    first = questions_of(lettered, lettered.items, 2, 0, uses_chat=False)[0]
    assert first.text().startswith("The following are multiple choice questions (with answers) about maths.\n\n1 + 1?")
    assert "Answer: B\n\n2 + 2?" in first.text()


def test_a_limit_draws_the_same_questions_for_every_model(tmp_path: Path) -> None:
    items = suite_of(tmp_path, "gsm8k", GSM).items
    assert drawn(items, 3, seed=1) == drawn(items, 3, seed=1)
    assert [item.id for item in drawn(items, 3, seed=1)] == sorted(item.id for item in drawn(items, 3, seed=1))
    assert drawn(items, 99, seed=1) == list(items)


def test_two_runs_are_paired_item_by_item(llm: LLM, tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs")
    suites = [suite_of(tmp_path, "hellaswag", SWAG)]
    first, second = evaluated(llm, store, suites), evaluated(llm, store, suites)
    found = {one.metric: one for one in paired(first, second)}
    assert found["acc"].items == tuple(f"h{i}" for i in range(5))
    assert found["acc"].first == found["acc"].second
    test = found["acc"].mcnemar()
    assert test is not None
    assert (test.difference, test.p_value, found["acc_norm"].difference().value) == (0.0, 1.0, 0.0)
    assert {pair.first.name for pair in diff(first, second).figures} >= {"acc", "acc_norm", "items"}
    others = evaluated(llm, store, [suite_of(tmp_path, "hellaswag", SWAG[:4])])
    with pytest.raises(RunError, match="asked different questions of hellaswag"):
        paired(first, others)
    with pytest.raises(RunError, match="no answered question in common"):
        paired(first, evaluated(llm, store, [suite_of(tmp_path, "gsm8k", GSM)]))


def test_a_server_is_asked_like_a_model_here(tmp_path: Path) -> None:
    events = ((0.0, "Easy.\n#### "), (0.0, "3"))
    with fake_server(Script(events=events)) as server, LLM(url=server.url) as remote:
        run = evaluated(remote, RunStore(tmp_path / "runs"), [suite_of(tmp_path, "gsm8k", GSM)], uses_chat=False)
    strict = summarise(run).find("strict", "gsm8k")
    assert strict is not None
    assert strict.value == 1 / 6
    assert server.bodies[0]["stop"] == ["Question:", "</s>", "<|im_end|>"]
    assert server.bodies[0]["temperature"] == 0.0


def test_a_server_that_fails_stops_the_run_with_what_it_said(tmp_path: Path) -> None:
    suites = [suite_of(tmp_path, "gsm8k", GSM)]
    store = RunStore(tmp_path / "runs")
    with fake_server(Script(status=500)) as server, LLM("fake", url=server.url) as remote:
        with pytest.raises(ServerError, match="no, thank you"):
            evaluated(remote, store, suites, uses_chat=False, num_at_once=1)
        (failed,) = store.ids()
        server.script = replace(server.script, status=401)
        with pytest.raises(AccessDenied):
            evaluated(remote, store, suites, uses_chat=False)
    stored = store.open(failed)
    assert (stored.status, stored.count()) == ("failed", 5)
    with pytest.raises(ServerUnreachable):
        LLM(url=server.url)


def test_settings_refuse_what_cannot_be_asked() -> None:
    for changes, message in (
        ({"suites": ()}, "no suite is named"),
        ({"suites": ("a", "a")}, "named twice"),
        ({"data": {"b": "x"}}, "not among the suites"),
        ({"samples": 3, "temperature": 0.0}, "all the same"),
        ({"limit": 0}, "limit is 0"),
        ({"method": "guess"}, "expected loglikelihood or generate"),
    ):
        with pytest.raises(InvalidParameter, match=message):
            EvalSettings(**{"target": "m", "suites": ("a",), **changes})
    assert EvalSettings("m", ("a",), samples=4).chosen_temperature == 0.8
    assert EvalSettings("m", ("a",)).chosen_temperature == 0.0
