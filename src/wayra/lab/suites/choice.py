"""Multiple-choice suites: HellaSwag, ARC, WinoGrande, MMLU, TruthfulQA, GPQA, SuperGPQA, with the usual prompts."""

import hashlib
import random
import re
from collections.abc import Mapping
from typing import cast

from wayra.lab.items import Item
from wayra.lab.suites.fields import (
    LETTERS,
    BadRow,
    choice_index,
    field,
    mapping,
    optional,
    parsed,
    text,
    texts,
)
from wayra.lab.suites.rows import Fields, Row


def hellaswag(row: Row) -> Item:
    """Which ending follows; the text of an ending is scored. Brackets are leftovers of WikiHow pages."""
    fields = row.fields
    label = optional(fields, "activity_label")
    if optional(fields, "ctx_a") is not None:
        context = f"{text(fields, 'ctx_a')} {str(optional(fields, 'ctx_b') or '').capitalize()}"
    else:
        context = _with_capital(text(fields, "ctx"))
    endings = tuple(_clean(ending) for ending in texts(fields, "endings"))
    target = choice_index(field(fields, "label", "expected_index"), len(endings))
    prompt = _clean(f"{label}: {context}" if label is not None else context)
    return _choice("hellaswag", fields, prompt, endings, target)


def arc(row: Row) -> Item:
    """Also in its authors' form, where `question` holds the stem and a list of choices."""
    fields = row.fields
    asked = fields.get("question")
    if isinstance(asked, Mapping):
        fields = {**fields, **cast(Fields, asked), "question": cast(Fields, asked).get("stem")}
    choices = field(fields, "choices")
    if isinstance(choices, str):
        choices = parsed(choices)
    if isinstance(choices, list):
        listed = [one for one in cast(list[object], choices) if isinstance(one, Mapping)]
        choices = {name: [one.get(name) for one in listed] for name in ("text", "label")}
    if not isinstance(choices, dict):
        raise BadRow("'choices' is no object with 'text' and 'label'")
    answers = texts(choices, "text")
    target = choice_index(field(fields, "answerKey"), len(answers), texts(choices, "label"))
    return _choice("arc", fields, f"Question: {text(fields, 'question')}\nAnswer:", answers, target)


def winogrande(row: Row) -> Item:
    """The rest of the sentence is scored after each way to fill the blank, since the ways differ in length."""
    fields = row.fields
    sentence = text(fields, "sentence")
    if "_" not in sentence:
        raise BadRow("'sentence' has no blank (_)")
    before, _, after = sentence.partition("_")
    options = (text(fields, "option1"), text(fields, "option2"))
    target = choice_index(text(fields, "answer"), 3) - 1
    if target not in (0, 1):
        raise BadRow(f"the answer is {text(fields, 'answer')!r}, expected 1 or 2")
    contexts = [before + option for option in options]
    if not after.strip():
        raise BadRow("'sentence' ends with its blank, so nothing can be scored after it")
    data: dict[str, object] = {"contexts": contexts, "continuation": after.strip()}
    return _choice("winogrande", fields, sentence, options, target, data)


def mmlu(row: Row) -> Item:
    """The letter is scored. Subjects are groups."""
    fields = row.fields
    choices = texts(fields, "choices")
    subject = str(optional(fields, "subject", "category") or "")
    target = choice_index(field(fields, "answer", "target"), len(choices))
    about = f" about {subject.replace('_', ' ')}" if subject else ""
    description = f"The following are multiple choice questions (with answers){about}.\n\n"
    return _lettered("mmlu", fields, choices, target, {"group": subject, "description": description})


def supergpqa(row: Row) -> Item:
    fields = row.fields
    choices = texts(fields, "choices", "options")
    target = choice_index(field(fields, "answer_letter", "answer"), len(choices))
    group = str(optional(fields, "discipline", "domain") or "")
    return _lettered("supergpqa", fields, choices, target, {"group": group})


def truthfulqa(row: Row) -> Item:
    """The one true answer (mc1); its text is scored, after the question alone."""
    fields = row.fields
    if optional(fields, "mc1_targets") is not None:
        found = mapping(fields, "mc1_targets")
        choices = texts(found, "choices")
        labels = field(found, "labels")
        if not isinstance(labels, list) or len(labels) != len(choices) or sum(map(bool, labels)) != 1:
            raise BadRow("'mc1_targets' has not exactly one true answer")
        target = [bool(label) for label in labels].index(True)
    else:
        choices = texts(fields, "choices")
        target = choice_index(field(fields, "expected_index", "label", "answer"), len(choices))
    return _choice("truthfulqa", fields, f"Q: {text(fields, 'question').strip()}\nA:", choices, target)


def gpqa(row: Row) -> Item:
    """Answers are shuffled, always the same way for the same question: the right one comes first in the data."""
    fields = row.fields
    question = text(fields, "Question", "question").strip()
    right = text(fields, "Correct Answer").strip()
    answers = [right, *(text(fields, f"Incorrect Answer {number}").strip() for number in (1, 2, 3))]
    random.Random(hashlib.sha256(question.encode()).digest()).shuffle(answers)
    group = str(optional(fields, "High-level domain", "Subdomain") or "")
    return _lettered("gpqa", {**fields, "question": question}, tuple(answers), answers.index(right), {"group": group})


def _lettered(suite: str, row: Fields, choices: tuple[str, ...], target: int, data: dict[str, object]) -> Item:
    """A question that lists its answers by letter and scores the letter."""
    if len(choices) > len(LETTERS):
        raise BadRow(f"{len(choices)} choices, at most {len(LETTERS)} have letters")
    listed = "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False))
    prompt = f"{text(row, 'question').strip()}\n{listed}\nAnswer:"
    letters = tuple(LETTERS[: len(choices)])
    return _choice(suite, row, prompt, letters, target, {**data, "answers": list(choices)})


def _choice(
    suite: str,
    fields: Fields,
    prompt: str,
    choices: tuple[str, ...],
    target: int,
    data: dict[str, object] | None = None,
) -> Item:
    if len(choices) < 2:
        raise BadRow("has fewer than two choices")
    if any(not choice for choice in choices):
        raise BadRow("has an empty choice")
    return Item(
        id=item_id(fields, prompt, choices),
        suite=suite,
        prompt=prompt,
        choices=choices,
        target=target,
        data={"shot": choices[target], **(data or {})},
    )


def item_id(fields: Fields, prompt: str, choices: tuple[str, ...] = ()) -> str:
    """The row's own id, or a hash of what is asked."""
    own = optional(fields, "id", "ind", "question_id", "task_id", "unique_id", "key", "uuid", "Record ID", "qID")
    if isinstance(own, str | int) and str(own):
        return str(own)[:200]
    return hashlib.sha256("\x1f".join((prompt, *choices)).encode("utf-8", "replace")).hexdigest()[:16]


def _clean(value: str) -> str:
    found = value.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", found).replace("  ", " ")


def _with_capital(context: str) -> str:
    """The sentence to be ended begins with a capital; data that joins both parts has lost it."""
    head, stop, tail = context.rpartition(". ")
    return f"{head}{stop}{tail[:1].upper()}{tail[1:]}" if stop and tail else context
