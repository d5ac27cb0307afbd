"""Suites answered with a number or an expression: GSM8K, MATH, AIME. A right answer ends with `#### 18` or boxes it."""

import re

from wayra.lab.items import Item
from wayra.lab.suites.choice import item_id
from wayra.lab.suites.fields import BadRow, optional, text
from wayra.lab.suites.rows import Row

GSM8K_ASK = "Reason step by step, and end with a line that holds only #### and the answer as a number, such as #### 18."
MATH_ASK = "Reason step by step, and put the final answer within \\boxed{}."
GSM8K_STOPS = ("Question:", "</s>", "<|im_end|>")
MATH_STOPS = ("Problem:",)
FINAL = re.compile(r"####\s*(\S+)\s*$")


def gsm8k(row: Row) -> Item:
    fields = row.fields
    question = text(fields, "question", "prompt")
    solution = str(optional(fields, "answer", "upstream_answer") or "")
    found = FINAL.search(solution)
    target = found.group(1) if found else text(fields, "expected")
    return Item(
        id=item_id(fields, question),
        suite="gsm8k",
        messages=as_user(f"{question}\n\n{GSM8K_ASK}"),
        prompt=f"Question: {question}\nAnswer:",
        target=target,
        max_tokens=512,
        stop=GSM8K_STOPS,
        data={"shot": solution or f"#### {target}"},
    )


def math(row: Row) -> Item:
    fields = row.fields
    problem = text(fields, "problem", "question")
    solution = str(optional(fields, "solution") or "")
    target = optional(fields, "answer")
    if target is None:
        target = last_boxed(solution)
    if target is None:
        raise BadRow("has no 'answer', and its 'solution' boxes none")
    return Item(
        id=item_id(fields, problem),
        suite="math",
        messages=as_user(f"{problem}\n\n{MATH_ASK}"),
        prompt=f"Problem: {problem}\nAnswer:",
        target=str(target),
        max_tokens=1024,
        stop=MATH_STOPS,
        data={"shot": solution or f"\\boxed{{{target}}}", "group": str(optional(fields, "type", "subject") or "")},
    )


def aime(row: Row) -> Item:
    """Whole numbers from 0 to 999. Rows of other sources in the same file belong to other suites."""
    fields = row.fields
    problem = text(fields, "problem", "Problem", "question", "Question")
    target = text(fields, "answer", "Answer").strip()
    if not target.isdigit():
        raise BadRow(f"the answer is {target[:40]!r}, expected a whole number")
    return Item(
        id=item_id(fields, problem),
        suite="aime",
        messages=as_user(f"{problem}\n\n{MATH_ASK}"),
        prompt=f"Question: {problem}\nAnswer:",
        target=target.lstrip("0") or "0",
        max_tokens=4096,
        stop=("Question:",),
        data={"shot": f"\\boxed{{{target}}}"},
    )


def last_boxed(solution: str) -> str | None:
    """What the last \\boxed{...} (or \\boxed 5, \\fbox{...}) holds, braces matched; None when there is none whole."""
    start = max(solution.rfind("\\boxed"), solution.rfind("\\fbox"))
    if start < 0:
        return None
    rest = solution[start:].partition("boxed" if solution.startswith("\\boxed", start) else "fbox")[2]
    if not rest.startswith("{"):
        word = re.match(r"\s+([^\s$]+)", rest)
        return word.group(1) if word else None
    depth = 0
    for place, char in enumerate(rest):
        depth += (char == "{") - (char == "}")
        if depth == 0:
            return rest[1:place]
    return None


def as_user(content: str) -> tuple[dict[str, object], ...]:
    """A conversation of one question."""
    return ({"role": "user", "content": content},)
