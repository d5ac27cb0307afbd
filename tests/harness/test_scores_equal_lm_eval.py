"""wayra eval and EleutherAI's harness on the same questions and the same model: the same scores, item by item.

Runs with -m lm_eval; needs wayra[lm-eval]. The harness reads the questions from files here, as no hub is needed.
"""

import asyncio
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from fake_openai import Script, fake_server

from wayra.base.settings import Settings
from wayra.cli.main import main
from wayra.lab.runs import RunStore, summarise
from wayra.lab.scoring.evaluate import Evaluation
from wayra.lab.scoring.facts import facts_of
from wayra.lab.scoring.grade import metrics_of
from wayra.lab.scoring.record import EvalRecord, record_from
from wayra.lab.scoring.settings import EvalSettings
from wayra.lab.suites import find_suite, load_suite
from wayra.llm import LLM

pytestmark = pytest.mark.lm_eval

ENDINGS = [
    ("A man pours water into a kettle. he",
     ["puts it on the stove.", "flies to the moon in a red balloon.", "sings", "eats the kettle, lid and all."], 0),
    ("A girl ties her shoes. she", ["sleeps.", "runs out to the garden to play.", "melts", "is a boat"], 1),
    ("The cook breaks two eggs. the cook",
     ["breaks the window.", "whisks them with a fork.", "drives home", "paints a wall blue"], 1),
    ("Two boys row a boat. they",
     ["reach the island at noon.", "are bread.", "row the street", "plant a piano in the field"], 0),
    ("A dog hears the door. it",
     ["reads the news", "barks and wags its tail.", "becomes a lawyer in the city.", "snows"], 1),
]  # fmt: skip
QUESTIONS = [
    ("Which planet is nearest to the sun?", ["Mars", "Mercury", "Venus", "Earth"], 1, "astronomy"),
    ("What is 7 times 8?", ["54", "56", "58", "64"], 1, "mathematics"),
    ("Which gas do plants take in?", ["Oxygen", "Nitrogen", "Carbon dioxide", "Helium"], 2, "biology"),
    ("Who wrote Hamlet?", ["Shakespeare", "Goethe", "Dante", "Homer"], 0, "literature"),
    ("What is the capital of Japan?", ["Osaka", "Kyoto", "Tokyo", "Nara"], 2, "geography"),
]
SENTENCES = [
    ("The trophy did not fit in the case since _ was too large.", "the trophy", "the case", "1"),
    ("Anna thanked Maria since _ had helped her.", "Anna", "Maria", "2"),
    ("The ball broke the table since _ was made of steel.", "the ball", "the table", "1"),
]
SUMS = [
    (f"Tom has {a} apples and buys {b} more. How many has he?", f"{a}+{b} are {a + b}.\n#### {a + b}")
    for a, b in ((2, 3), (10, 7), (4, 4))
]

ROWS: dict[str, list[dict[str, Any]]] = {
    "hellaswag": [
        {"ind": i, "activity_label": "Home", "ctx_a": ctx.rsplit(". ", 1)[0] + ".", "ctx_b": ctx.rsplit(". ", 1)[1],
         "endings": endings, "label": str(label)}
        for i, (ctx, endings, label) in enumerate(ENDINGS)
    ],
    "arc_easy": [
        {"id": f"q{i}", "question": question, "answerKey": "ABCD"[answer],
         "choices": {"text": choices, "label": ["A", "B", "C", "D"]}}
        for i, (question, choices, answer, _) in enumerate(QUESTIONS)
    ],
    "mmlu": [
        {"question": question, "subject": subject, "choices": choices, "answer": answer}
        for question, choices, answer, subject in QUESTIONS
    ],
    "winogrande": [
        {"sentence": sentence, "option1": one, "option2": two, "answer": answer}
        for sentence, one, two, answer in SENTENCES
    ],
    "gsm8k": [{"question": question, "answer": answer} for question, answer in SUMS],
}  # fmt: skip

HEAD = """task: ours_{name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {path}
test_split: test
num_fewshot: {shots}
"""
MULTIPLE_CHOICE = """output_type: multiple_choice
metric_list:
  - metric: acc
  - metric: acc_norm
"""
TASKS = {
    "hellaswag": MULTIPLE_CHOICE + """doc_to_text: "{{activity_label}}: {{ctx_a}} {{ctx_b | capitalize}}"
doc_to_choice: "{{endings}}"
doc_to_target: "{{label | int}}"
""",
    "arc_easy": MULTIPLE_CHOICE + """doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: "{{choices.text}}"
doc_to_target: "{{choices.label.index(answerKey)}}"
""",
    "mmlu": MULTIPLE_CHOICE + """description: "\
The following are multiple choice questions (with answers) about {{subject}}.\\n\\n"
doc_to_text: "{{question.strip()}}\\n{% for c in choices %}{{'ABCD'[loop.index0]}}. {{c}}\\n{% endfor %}Answer:"
doc_to_choice: ["A", "B", "C", "D"]
doc_to_target: answer
""",
    "winogrande": MULTIPLE_CHOICE.replace("  - metric: acc_norm\n", "") + """doc_to_text: !function blanks.place
doc_to_choice: !function blanks.contexts
doc_to_target: !function blanks.rest
""",
    "gsm8k": """output_type: generate_until
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: "{{answer}}"
generation_kwargs:
  until: ["Question:", "</s>", "<|im_end|>"]
  do_sample: false
  max_gen_toks: 48
metric_list:
  - metric: exact_match
    ignore_case: true
    ignore_punctuation: false
    regexes_to_ignore: [",", "\\\\$", "(?s).*#### ", "\\\\.$"]
filter_list:
  - name: strict
    filter:
      - {function: regex, regex_pattern: "#### (\\\\-?[0-9\\\\.\\\\,]+)"}
      - {function: take_first}
  - name: flexible
    filter:
      - {function: regex, group_select: -1, regex_pattern: "(-?[$0-9.,]{2,})|(-?[0-9]+)"}
      - {function: take_first}
""",
}  # fmt: skip
BLANKS = """
def place(doc):
    return int(doc["answer"]) - 1

def contexts(doc):
    before = doc["sentence"].partition("_")[0]
    return [before + doc["option1"], before + doc["option2"]]

def rest(doc):
    return doc["sentence"].partition("_")[2].strip()
"""


@pytest.fixture(scope="module")
def llm(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLM]:
    settings = Settings(cache_dir=tmp_path_factory.mktemp("cache"))
    with LLM(smollm2_path, settings=settings, context_len=2048, speculate="off") as found:
        yield found


def task_files(folder: Path, name: str, shots: int) -> Path:
    """The questions and the task's description as the harness reads them; the questions' file."""
    folder.mkdir(exist_ok=True)
    data = folder / f"{name}.jsonl"
    data.write_text("\n".join(json.dumps(row) for row in ROWS[name]))
    (folder / "blanks.py").write_text(BLANKS)
    (folder / f"ours_{name}.yaml").write_text(HEAD.format(name=name, path=data, shots=shots) + TASKS[name])
    return data


def ours(llm: LLM, data: Path, folder: Path, name: str, **changes: Any) -> list[EvalRecord]:
    suites = [load_suite(find_suite(name), Settings(cache_dir=folder), data)]
    chosen = EvalSettings("m", (name,), max_tokens=48, **changes)
    store = RunStore(folder / "runs")
    with store.create("eval", asdict(chosen), facts_of(chosen, suites)) as run:
        asyncio.run(Evaluation(llm, chosen, run, lambda *_: None).run(suites))
        run.finish()
    order = {item.id: place for place, item in enumerate(suites[0].items)}
    found = [record_from(line, 1) for line in store.open(run.id).records()]
    return sorted(found, key=lambda record: order[record.item])


def theirs(llm: LLM, folder: Path, name: str, *, uses_chat: bool = False) -> tuple[list[dict[str, Any]], Any]:
    from wayra.lab.harness.lm_eval_run import HarnessSettings, run_harness

    chosen = HarnessSettings("m", (f"ours_{name}",), str(folder), uses_chat=uses_chat)
    store = RunStore(folder / "runs")
    with store.create("lm_eval", asdict(chosen)) as run:
        run_harness(llm, chosen, run)
        run.finish()
    stored = store.open(run.id)
    return list(stored.records()), summarise(stored)


@pytest.mark.parametrize("uses_chat", [False, True])
@pytest.mark.parametrize("name", ["hellaswag", "arc_easy", "mmlu", "winogrande"])
def test_likelihoods_and_accuracies_are_those_of_the_harness(
    llm: LLM, tmp_path: Path, name: str, uses_chat: bool
) -> None:
    data = task_files(tmp_path / "tasks", name, 0)
    our_records = ours(llm, data, tmp_path, name, num_shots=0, uses_chat=uses_chat)
    their_records, summary = theirs(llm, tmp_path / "tasks", name, uses_chat=uses_chat)
    their_records.sort(key=lambda record: record["doc_id"])
    for our, their in zip(our_records, their_records, strict=True):
        likelihoods = [answer[0][0] for answer in their["answers"]]
        assert all(math.isclose(a, b, rel_tol=1e-9) for a, b in zip(our.loglikelihoods, likelihoods, strict=True))
        assert our.is_greedy == [answer[0][1] for answer in their["answers"]]
        metrics = metrics_of(our)
        for metric, value in their["metrics"].items():
            # Letters all have one character: the harness is asked for both figures, wayra says only one.
            assert metrics.get(metric, metrics["acc"]) == value
    accuracy = sum(metrics_of(record)["acc"] for record in our_records) / len(our_records)
    assert summary.find("acc", f"ours_{name}").value == accuracy


def test_answers_and_their_readings_are_those_of_the_harness(llm: LLM, tmp_path: Path) -> None:
    data = task_files(tmp_path / "tasks", "gsm8k", 0)
    our_records = ours(llm, data, tmp_path, "gsm8k", num_shots=0, uses_chat=False)
    their_records, _ = theirs(llm, tmp_path / "tasks", "gsm8k")
    by_filter = {(record["doc_id"], record["filter"]): record for record in their_records}
    for place, our in enumerate(our_records):
        for reading in ("strict", "flexible"):
            their = by_filter[place, reading]
            assert our.text == their["answers"][0][0]
            assert metrics_of(our)[reading] == their["metrics"]["exact_match"]


def test_long_texts_are_scored_in_the_harness_own_windows(llm: LLM) -> None:
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window  # pyright: ignore[reportMissingImports]

    from wayra.lab.harness.lm_eval_model import rolling_windows

    for length in (1, 4, 5, 9, 10, 11, 23):
        ids = list(range(100, 100 + length))
        expected = [make_disjoint_window(pair) for pair in get_rolling_token_windows(ids, 1, 5, 1)]
        found = [(list(pair.context), list(pair.continuation)) for pair in rolling_windows(ids, 1, 5)]
        assert found == expected


def test_a_model_of_the_harness_is_found_by_its_name(llm: LLM) -> None:
    from lm_eval.api.instance import Instance  # pyright: ignore[reportMissingImports]
    from lm_eval.api.registry import get_model  # pyright: ignore[reportMissingImports]

    from wayra.lab.harness.lm_eval_model import WayraLM

    assert get_model("wayra") is WayraLM
    model = WayraLM(llm)
    (rolled,) = model.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, ("The sky is blue.",), 0)])
    (whole,) = model.loglikelihood([Instance("loglikelihood", {}, ("", "The sky is blue."), 0)])
    assert math.isclose(rolled, whole[0], rel_tol=1e-9)
    arguments = {"until": ["."], "max_gen_toks": 8, "do_sample": False, "temperature": 0.7}
    first, second = model.generate_until([Instance("generate_until", {}, ("The sky is", arguments), 0)] * 2)
    assert first == second
    assert "." not in first


def test_the_harness_tells_what_a_server_said_when_it_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYRA_RUNS", str(tmp_path / "runs"))
    (tmp_path / "sums.jsonl").write_text('{"question": "2+2?", "answer": "4"}\n' * 3)
    (tmp_path / "own_sums.yaml").write_text(
        "task: own_sums\ndataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{test: {tmp_path}/sums.jsonl}}}}\n"
        "output_type: generate_until\ntest_split: test\n"
        "doc_to_text: '{{question}}'\ndoc_to_target: '{{answer}}'\n"
        "generation_kwargs: {until: ['x'], max_gen_toks: 4}\nmetric_list: [{metric: exact_match}]\n"
    )
    server = Script(status=500, words="the GPU fell off the bus")
    given = ("--via", "lm-eval", "--suite", "own_sums", "--data", str(tmp_path))
    with fake_server(server) as found:
        code = main(["eval", found.url, *given])
    err = capsys.readouterr().err
    assert code == 1
    # It is asked how it tokenizes first, and fails in that.
    assert "the GPU fell off the bus" in err
    assert "TaskGroup" not in err


def test_a_task_of_the_hub_says_what_to_do_without_one(smollm2_path: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "WAYRA_RUNS": str(tmp_path / "runs")}
    given = ("--via", "lm-eval", "--suite", "hellaswag", "--limit", "1", "--backend", "null", "--context", "256")
    command = [sys.executable, "-m", "wayra", "eval", str(smollm2_path), *given]
    asked = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert asked.returncode == 1
    assert "its questions come from the hub, which cannot be reached" in asked.stderr
    assert "Traceback" not in asked.stderr
