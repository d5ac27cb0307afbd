"""Readers of files that are no plain table: parts of a mixed file, worked examples as one text, columns unnamed."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import cast

import msgspec

from wayra.base.errors import DataError
from wayra.lab.suites.rows import Problem, Row, read_rows

EXAMPLE = re.compile(r"(?:\A|\n\s*)Q:\s+(?=\S)")
CHOICE = re.compile(r"\(([A-J])\)\s")
MMLU_COLUMNS = ("question", "A", "B", "C", "D", "answer")
ANSWER = re.compile(r"[Tt]he answer is \(([A-J])\)")


def rows_of_source(source: str) -> Callable[[Path], Iterator[Row | Problem]]:
    """Only the rows whose `source` says so."""

    def read(path: Path) -> Iterator[Row | Problem]:
        for row in read_rows(path):
            if isinstance(row, Problem) or row.fields.get("source") == source:
                yield row

    return read


def mmlu_rows(path: Path, name: str) -> Iterator[Row | Problem]:
    """Also of its authors' files (`anatomy_test.csv`), whose columns have no names and whose name is the subject."""
    first = next(read_rows(path, name, MMLU_COLUMNS), None) if ".csv" in path.suffixes else None
    if not isinstance(first, Row) or "question" in map(str, first.fields.values()):
        yield from read_rows(path, name)
        return
    subject = path.name.partition(".")[0].rpartition("_")[0]
    for row in read_rows(path, name, MMLU_COLUMNS):
        if isinstance(row, Row):
            question, *choices, answer = row.fields.values()
            row = Row(row.where, {"question": question, "choices": choices, "answer": answer, "subject": subject})
        yield row


def worked_examples(path: Path) -> Iterator[Row | Problem]:
    """Questions of a JSON object {subject: text}, where the text is "Q: ... (A) ... (B) ... A: ... The answer is (B)."

    Raises DataError when the file is something else.
    """
    try:
        found = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise DataError(f"{path} is no object of subjects; another version of the package?")
    for subject, text in cast(Mapping[str, object], found).items():
        examples = EXAMPLE.split(text)[1:] if isinstance(text, str) else []
        for number, example in enumerate(examples, start=1):
            where = f"{path.name}, {subject} {number}"
            row = _example(example)
            yield Problem(where, row) if isinstance(row, str) else Row(where, {"subject": subject, **row})


def _example(example: str) -> dict[str, object] | str:
    """The fields, or what is wrong."""
    asked, found, solution = example.partition("\nA:")
    answer = ANSWER.search(solution)
    if not found or answer is None:
        return "has no answer"
    pieces = CHOICE.split(asked)
    # Letters can be written in a question too: the choices are the last run of letters that begins with A.
    letters, texts = pieces[1::2], pieces[2::2]
    if "A" not in letters:
        return "has no choices"
    first = len(letters) - 1 - letters[::-1].index("A")
    choices = [text.strip() for text in texts[first:]]
    if letters[first:] != [chr(ord("A") + index) for index in range(len(choices))]:
        return "has choices out of order"
    before = "".join(f"({letter}) {text}" for letter, text in zip(letters[:first], texts[:first], strict=True))
    return {"question": (pieces[0] + before).strip(), "choices": choices, "answer": answer.group(1)}
