"""Whole data sets are read as they are published: several side by side in a repository, or in their authors' files."""

import codecs
import csv
import gzip
import json
from pathlib import Path

import pytest

from wayra.base.errors import DataError
from wayra.base.settings import Settings
from wayra.lab.suites import SuiteItems, find_suite, load_suite


def write(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def load(root: Path, name: str) -> SuiteItems:
    return load_suite(find_suite(name), Settings(cache_dir=root / "cache", hub_offline=True), root)


def arc_row(question: str) -> dict[str, object]:
    return {"id": question, "question": question, "choices": {"text": ["sun", "ice"], "label": ["A", "B"]},
            "answerKey": "B"}  # fmt: skip


def test_of_data_sets_side_by_side_the_suites_own_is_asked(tmp_path: Path) -> None:
    for part in ("ARC-Easy", "ARC-Challenge"):
        write(tmp_path / part / "test-00000-of-00001.jsonl", [arc_row(part)])
        write(tmp_path / part / "train-00000-of-00001.jsonl", [arc_row(f"{part} shown")])
    (tmp_path / "dataset_infos.json").write_text("{}")
    for name, part in (("arc_easy", "ARC-Easy"), ("arc_challenge", "ARC-Challenge")):
        found = load(tmp_path, name)
        assert [item.id for item in found.items] == [part]
        assert found.source == str(tmp_path / part)
        assert [item.id for item in found.shots] == [f"{part} shown"]


def test_a_part_that_holds_no_data_is_none(tmp_path: Path) -> None:
    (tmp_path / "main").mkdir()
    write(tmp_path / "test.jsonl", [{"question": "Why?", "answer": "#### 3"}])
    assert [item.target for item in load(tmp_path, "gsm8k").items] == ["3"]


def test_files_that_continue_a_split_are_asked_too(tmp_path: Path) -> None:
    tests = json.dumps([{"input": "1", "output": "2", "testtype": "stdin"}])
    for name in ("test", "test2", "test3"):
        write(tmp_path / f"{name}.jsonl", [{"question_content": "Add.", "question_id": name,
                                            "public_test_cases": tests, "private_test_cases": ""}])  # fmt: skip
    assert [item.id for item in load(tmp_path, "livecodebench").items] == ["test", "test2", "test3"]


def test_the_same_question_with_another_worked_answer_is_asked_once(tmp_path: Path) -> None:
    write(tmp_path / "test.jsonl", [{"question": "How many?", "answer": "Two and one.\n#### 3"}])
    write(tmp_path / "test_socratic.jsonl", [{"question": "How many?", "answer": "Which? ** Two and one.\n#### 3"}])
    found = load(tmp_path, "gsm8k")
    assert len(found.items) == 1
    assert [str(problem) for problem in found.problems] == ["test_socratic.jsonl, line 1: repeats an earlier row"]


def test_worked_examples_in_files_of_several_sizes_do_not_count_against_the_questions(tmp_path: Path) -> None:
    def row(number: int) -> dict[str, object]:
        return {"qID": str(number), "sentence": f"Cup {number} fell since _ was full.", "option1": "it",
                "option2": "the box", "answer": "1"}  # fmt: skip

    for size, count in (("xs", 2), ("s", 4), ("m", 8)):
        write(tmp_path / f"train_{size}.jsonl", [row(100 + number) for number in range(count)])
    write(tmp_path / "dev.jsonl", [row(1), row(2)])
    write(tmp_path / "train_xl.jsonl", [row(100), {"qID": "broken"}])
    found = load(tmp_path, "winogrande")
    assert ([item.id for item in found.items], len(found.shots)) == (["1", "2"], 8)
    (problem,) = found.problems
    assert str(problem).startswith("train_xl.jsonl, line 2: lacks 'sentence'")


def test_arc_is_read_in_its_authors_form(tmp_path: Path) -> None:
    stem = {"stem": "Hot?", "choices": [{"text": "ice", "label": "1"}, {"text": "sun", "label": "2"}]}
    write(tmp_path / "ARC-V1" / "ARC-Easy" / "ARC-Easy-Test.jsonl", [{"id": "x", "question": stem, "answerKey": "2"}])
    write(tmp_path / "ARC-V1" / "ARC-Challenge" / "ARC-Challenge-Test.jsonl", [])
    (item,) = load(tmp_path, "arc_easy").items
    assert (item.prompt, item.choices, item.target) == ("Question: Hot?\nAnswer:", ("ice", "sun"), 1)


def test_math_is_read_with_a_file_for_each_problem(tmp_path: Path) -> None:
    for split in ("train", "test"):
        folder = tmp_path / "MATH" / split / "algebra"
        folder.mkdir(parents=True)
        row = {"problem": f"1 + 2 ({split})?", "type": "Algebra", "solution": "It is $\\boxed{3}$."}
        (folder / "1.json").write_text(json.dumps(row))
    found = load(tmp_path, "math")
    assert [(item.prompt, item.target, item.data["group"]) for item in found.items] == [
        ("Problem: 1 + 2 (test)?\nAnswer:", "3", "Algebra")
    ]
    assert [item.prompt for item in found.shots] == ["Problem: 1 + 2 (train)?\nAnswer:"]


def test_mmlu_is_read_from_its_authors_files_without_names_of_columns(tmp_path: Path) -> None:
    for split, rows in (("test", [["Why, so?", "4", "4", "1", "2", "C"], ["short", "row"]]),
                        ("dev", [["How?", "a", "b", "c", "d", "A"]])):  # fmt: skip
        (tmp_path / split).mkdir()
        with (tmp_path / split / f"abstract_algebra_{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    found = load(tmp_path, "mmlu")
    (item,) = found.items
    assert item.prompt == "Why, so?\nA. 4\nB. 4\nC. 1\nD. 2\nAnswer:"
    assert (item.target, item.data["group"]) == (2, "abstract_algebra")
    assert [(shot.target, shot.data["group"]) for shot in found.shots] == [(0, "abstract_algebra")]
    assert [problem.where for problem in found.problems] == ["test/abstract_algebra_test.csv, line 2"]


def test_a_json_object_that_is_no_row_is_named_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"colour": "red"}')
    with pytest.raises(DataError, match=r"no question that suite math can use; the first: settings\.json: lacks"):
        load(tmp_path, "math")


def test_the_mark_that_some_editors_put_before_a_text_costs_no_row(tmp_path: Path) -> None:
    row = {"question": "Why?", "answer": "#### 3"}
    for name, content in (("a.jsonl", json.dumps(row)), ("b.csv", "question,answer\nWhy?,#### 3\n")):
        marked = codecs.BOM_UTF8 + content.encode()
        (tmp_path / name).write_bytes(marked)
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(marked))
        for file in (name, f"{name}.gz"):
            found = load(tmp_path / file, "gsm8k")
            assert ([item.target for item in found.items], found.problems) == (["3"], ())
