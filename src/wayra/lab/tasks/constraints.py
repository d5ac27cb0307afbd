"""Constraints on a text that a program can check: plain data, with a kind, arguments and the words that ask for it."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import cast

from wayra.lab.items import Item, Score
from wayra.lab.tasks.answers import visible
from wayra.lab.tasks.api import Check

Constraint = Mapping[str, object]


def constraint(kind: str, words: str, **arguments: object) -> Constraint:
    return {"kind": kind, "words": words, **arguments}


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _words(text: str) -> list[str]:
    return re.findall(r"[\w'-]*\w", text)


def _sentences(text: str) -> list[str]:
    return [found for found in re.split(r"(?<=[.!?])[\"')]*\s+", text.strip()) if re.search(r"\w", found)]


def _int(given: Constraint, name: str) -> int:
    return int(cast(int, given[name]))


def _texts(given: Constraint, name: str) -> list[str]:
    return [str(one) for one in cast(Sequence[object], given[name])]


def _has_word(text: str, word: str) -> bool:
    return re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) is not None


def _line_letters(text: str, given: Constraint) -> bool:
    bare = [re.sub(r"^(?:\d+[.)]|[-*])\s+", "", line) for line in _lines(text)]
    return [line[:1].lower() for line in bare] == list(str(given["letters"]).lower())


def _numbered(text: str, given: Constraint) -> bool:
    return [line.partition(" ")[0] for line in _lines(text)] == [f"{n}." for n in range(1, _int(given, "count") + 1)]


def _json_is(text: str, given: Constraint) -> bool:
    try:
        return json.dumps(json.loads(_unfenced(text))) == json.dumps(given["value"])
    except (ValueError, RecursionError):
        return False


def _unfenced(text: str) -> str:
    found = re.fullmatch(r"\s*```\w*\n(.*?)\n?```\s*", text, re.DOTALL)
    return found.group(1) if found else text


def _equals(text: str, given: Constraint) -> bool:
    return [line.rstrip() for line in _unfenced(text).strip().split("\n")] == str(given["text"]).split("\n")


def _bullets_under(text: str, given: Constraint) -> bool:
    counts: dict[str, int] = {}
    at = None
    for line in _lines(text):
        if line.startswith("#"):
            at = line.strip("# ")
            counts[at] = 0
        elif at is None or not re.match(r"[-*] ", line):
            return False
        else:
            counts[at] += 1
    wanted = dict(zip(_texts(given, "headings"), cast(Sequence[int], given["counts"]), strict=True))
    return list(counts.items()) == list(wanted.items())


KINDS: Mapping[str, Callable[[str, Constraint], bool]] = MappingProxyType(
    {
        "lines": lambda text, given: len(_lines(text)) == _int(given, "count"),
        "line_letters": _line_letters,
        "line_words": lambda text, given: all(len(_words(line)) <= _int(given, "most") for line in _lines(text)),
        "numbered": _numbered,
        "words": lambda text, given: _int(given, "least") <= len(_words(text)) <= _int(given, "most"),
        "word_at": lambda text, given: _words(text)[_int(given, "place") - 1 :][:1] == [str(given["word"])],
        "sentences": lambda text, given: len(_sentences(text)) == _int(given, "count"),
        "lower_case": lambda text, _: text == text.lower(),
        "upper_case": lambda text, _: text == text.upper(),
        "has_words": lambda text, given: all(_has_word(text, word) for word in _texts(given, "all")),
        "word_times": lambda text, given: sum(
            word.lower() == given["word"] for word in _words(text)
        ) == _int(given, "times"),
        "lacks_words": lambda text, given: not any(_has_word(text, word) for word in _texts(given, "all")),
        "lacks": lambda text, given: str(given["text"]) not in text.lower(),
        "begins": lambda text, given: text.lstrip().startswith(str(given["text"])),
        "ends": lambda text, given: text.rstrip().endswith(str(given["text"])),
        "json_is": _json_is,
        "equals": _equals,
        "bullets_under": _bullets_under,
        "paragraphs": lambda text, given: len(re.split(r"\n\s*\n", text.strip())) == _int(given, "count"),
    }
)  # fmt: skip


def check(item: Item, answer: str) -> tuple[Check, ...]:
    """Of the constraints in the item's data. An empty text obeys none."""
    text = visible(answer)
    given = cast(Sequence[Constraint], item.data["constraints"])
    return tuple(Check(str(one["words"]), bool(text.strip()) and KINDS[str(one["kind"])](text, one)) for one in given)


def mark_constraints(item: Item, answer: str) -> Score:
    """value: the share of constraints obeyed; passed: all of them."""
    checks = check(item, answer)
    missed = [one.constraint for one in checks if not one.is_obeyed]
    value = 1.0 - len(missed) / len(checks)
    return Score(value, not missed, f"not obeyed: {' | '.join(missed)}" if missed else "all constraints are obeyed")
