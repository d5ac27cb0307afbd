"""What an answer in words says: numbers, letters, boxed expressions, code. Strictly: in the form that was asked for.

Flexibly: wherever a reader would find it. Thoughts before a closing </think> are no part of the answer.
"""

import re

from wayra.lab.suites.answers import last_boxed

NUMBER_AFTER_MARK = re.compile(r"#### (-?[0-9.,]+)")
ANY_NUMBER = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
INTEGER = re.compile(r"(?<![\d.])-?\d[\d,]*(?![\d]|\.\d)")
LETTER_LINE = re.compile(r"^\W*(?:final\s+)?answer\W*\(?([A-Z])\)?\W*$", re.IGNORECASE | re.MULTILINE)
LETTER_ALONE = re.compile(r"^\s*\(?([A-Z])\)?[.:]?\s*$")
LETTER_PHRASES = (
    re.compile(r"\b(?:answer|choice|option)\s*(?:is|:)?\s*\**\(?([A-Z])\)?(?![A-Za-z'])", re.IGNORECASE),
    re.compile(r"^\s*\(?([A-Z])[).:]?\s*$", re.MULTILINE),
    re.compile(r"^\s*\(?([A-Z])[).:]\s", re.MULTILINE),
    re.compile(r"(?<![A-Za-z'])\(?([A-Z])\)?(?![A-Za-z'])"),
)
ANSWER_IS = re.compile(
    r"(?:answer|result|solution)\s*(?:is|=|:)\s*:?\s*\$?([^\n$]+?)\$?\s*(?:\.\s|\.?$)", re.IGNORECASE | re.MULTILINE
)
FENCE = re.compile(r"^[ \t]*```[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.MULTILINE | re.DOTALL)
PYTHON_NAMES = ("", "python", "python3", "py")


def visible(text: str) -> str:
    """Without thoughts."""
    return text.rpartition("</think>")[2]


def number_strictly(text: str) -> str | None:
    """After the first ####."""
    found = NUMBER_AFTER_MARK.search(visible(text))
    return None if found is None else found.group(1).strip()


def number_anywhere(text: str) -> str | None:
    """The last number."""
    found = ANY_NUMBER.findall(visible(text))
    return (found[-1][0] or found[-1][1]).strip() if found else None


def same_number(found: str, target: str) -> bool:
    """Equal as texts, but for thousands' commas, dollar signs and a final point."""

    def plain(number: str) -> str:
        return number.replace(",", "").replace("$", "").removesuffix(".").lower()

    return plain(found) == plain(target)


def integer_anywhere(text: str) -> str | None:
    """Of the box if there is one, else after "answer is", else the last whole number."""
    boxed = last_boxed(visible(text))
    said = ANSWER_IS.findall(visible(text))
    for part in ([boxed] if boxed else []) + said[-1:] + [visible(text)]:
        numbers = INTEGER.findall(part)
        if numbers:
            return _plain_integer(numbers[-1])
    return None


def integer_strictly(text: str) -> str | None:
    boxed = last_boxed(visible(text))
    numbers = INTEGER.findall(boxed) if boxed is not None else []
    return _plain_integer(numbers[0]) if len(numbers) == 1 else None


def _plain_integer(number: str) -> str:
    digits = number.replace(",", "").removeprefix("-").lstrip("0") or "0"
    return f"-{digits}" if number.startswith("-") and digits != "0" else digits


def letter_strictly(text: str, count: int) -> str | None:
    """Of the last line that says "Answer: A", or the letter alone."""
    answer = visible(text).strip()
    lines = [match.upper() for match in LETTER_LINE.findall(answer)]
    alone = LETTER_ALONE.match(answer)
    found = lines[-1] if lines else alone.group(1) if alone else None
    return found if found is not None and _is_choice(found, count) else None


def letter_anywhere(text: str, count: int) -> str | None:
    """After "answer is" and the like, else alone on a line, else before a point or bracket, else anywhere; the last."""
    answer = visible(text)
    for pattern in LETTER_PHRASES:
        found = [match.upper() for match in pattern.findall(answer) if _is_choice(match.upper(), count)]
        if found:
            return found[-1]
    return None


def expression_anywhere(text: str) -> str | None:
    """Of the box, else what "the answer is", else the last formula between dollar signs, else the last line."""
    answer = visible(text).strip()
    boxed = last_boxed(answer)
    if boxed is not None:
        return boxed
    said = ANSWER_IS.findall(answer)
    if said:
        return str(said[-1]).strip()
    formulas = re.findall(r"\$([^$]+)\$", answer)
    if formulas:
        return str(formulas[-1]).strip()
    return answer.splitlines()[-1].strip() if answer else None


def code_blocks(text: str) -> list[str]:
    """The contents of fenced blocks of Python, in order; a last one may be unfinished."""
    return [code for name, code in FENCE.findall(visible(text)) if name.lower() in PYTHON_NAMES]


def _is_choice(letter: str, count: int) -> bool:
    return 0 <= ord(letter) - ord("A") < count
