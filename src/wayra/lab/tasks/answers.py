"""Reads the final answer, a number or a program out of what a model wrote."""

import ast
import re
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import cast

from wayra.lab.items import Item, Score

ASK_FOR_LINE = "Think as long as you need, then end with one line of the form\nAnswer: {what}"
ANSWER = re.compile(
    r"^[\s>*_#-]*(?:final\s+)?answer\s*(?:is)?\s*[*_]*\s*[:=]\s*[*_]*\s*(.+?)\s*$", re.IGNORECASE | re.MULTILINE
)
BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
NUMBER = re.compile(r"-?\$?\d[\d,]*(?:\.\d+)?|-?\.\d+")
BLOCK = re.compile(r"^[ \t]*```[ \t]*(\w*)[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.MULTILINE | re.DOTALL)
MAX_ANSWER_CHARS = 100_000


def visible(text: str) -> str:
    """Without thoughts, and no longer than anybody would read."""
    return text.rpartition("</think>")[2][:MAX_ANSWER_CHARS]


def final_line(text: str) -> str | None:
    """What the last line "Answer: ..." says, else the last box."""
    for pattern in (ANSWER, BOXED):
        found = pattern.findall(visible(text))
        if found:
            return re.sub(r"^[*_`\"$\s]+|[*_`\"$\s]+$", "", BOXED.sub(r"\1", found[-1])).removesuffix(".")
    return None


def number_in(text: str) -> Decimal | None:
    """The first number of a final line."""
    found = NUMBER.search(text.replace("\N{MINUS SIGN}", "-").replace("\\,", ""))
    if found is None:
        return None
    try:
        return Decimal(found.group().replace(",", "").replace("$", ""))
    except InvalidOperation:
        return None


def mark_number(item: Item, answer: str) -> Score:
    """Exactly equal, at the decimal places that the question asked for (data["places"])."""
    line = final_line(answer)
    if line is None:
        return Score(0.0, False, 'there is no line "Answer: ..."')
    found = number_in(line)
    if found is None:
        return Score(0.0, False, f"the answer {line[:80]!r} is no number", line)
    unit = Decimal(1).scaleb(-int(cast(int, item.data.get("places", 0))))
    wanted = Decimal(str(item.target))
    is_right = _rounded(found, unit) == _rounded(wanted, unit) if unit < 1 else found == wanted
    return Score(float(is_right), is_right, "right" if is_right else f"{found} instead of {wanted}", line)


def _rounded(value: Decimal, unit: Decimal) -> Decimal | None:
    try:
        return value.quantize(unit, ROUND_HALF_UP)
    except InvalidOperation:
        return None


def mark_words(item: Item, answer: str) -> Score:
    """Equal words, whatever their case and the marks between them; a list in the order that was asked for."""
    line = final_line(answer)
    if line is None:
        return Score(0.0, False, 'there is no line "Answer: ..."')
    found, wanted = (re.findall(r"[\w'.:-]*\w", text.casefold()) for text in (line, str(item.target)))
    is_right = [word for word in found if word != "and"] == wanted
    return Score(float(is_right), is_right, "right" if is_right else f"{line[:80]!r} instead of {item.target!r}", line)


def mark_exact(item: Item, answer: str) -> Score:
    return mark_number(item, answer) if isinstance(item.target, int | float) else mark_words(item, answer)


def python_in(text: str, function: str) -> str | None:
    """The last block of code that defines the function, else the whole text if it is a program that does."""
    blocks = [code for _, code in BLOCK.findall(visible(text))]
    for code in [*reversed(blocks), visible(text)]:
        if re.search(rf"^(?:async )?def {re.escape(function)}\b", code, re.MULTILINE) and is_python(code):
            return code
    for code in reversed(blocks):
        if re.search(rf"^(?:async )?def {re.escape(function)}\b", code, re.MULTILINE):
            return code
    return None


def is_python(code: str) -> bool:
    try:
        ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def block_in(text: str, language: str) -> str:
    """The last block of that language, else the last block, else the text."""
    blocks: list[tuple[str, str]] = BLOCK.findall(visible(text))
    named = [code for name, code in blocks if name.lower() == language]
    return (named or [code for _, code in blocks] or [visible(text)])[-1].strip()
