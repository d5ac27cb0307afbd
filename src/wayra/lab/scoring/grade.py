"""From one record to its metrics: pure functions of what was recorded, so that a run can be judged again later."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import cast

from wayra.lab.scoring import extract
from wayra.lab.scoring.instruction_checks import CHECKS, obeys, obeys_loosely
from wayra.lab.scoring.maths import same_expression
from wayra.lab.scoring.record import EvalRecord

DEFINITIONS: Mapping[str, str] = MappingProxyType(
    {
        "acc": "share of questions whose right choice has the highest log-likelihood (natural, summed over its tokens)",
        "acc_norm": "the same with each log-likelihood divided by the characters of its choice",
        "strict": "share answered rightly in the form that was asked for (after ####, boxed, or a line Answer: A); "
        "of programs what pass@1 is",
        "flexible": "share answered rightly wherever a reader finds the answer: the last number, a letter in a line",
        "pass@1": "share of answers whose program passes all tests: what continues the prompt, or the last code block",
        "pass@1_flexible": "the same, when code is also taken from elsewhere in the answer",
        "pass@k": "chance that one of k answers passes, unbiased: 1 - C(n-c, k) / C(n, k) for c right of n samples",
        "prompt_strict": "share of prompts whose answer obeys every instruction as it stands",
        "prompt_loose": "the same, when the first or last line or asterisks of the answer may be left out",
        "instruction_strict": "share of single instructions obeyed as the answer stands",
        "instruction_loose": "share of single instructions obeyed, leaving the same out",
        "score": "mean score of the answers, 0 to 1, by the task's own scorer",
        "checks": "share of a task's constraints that its answers obey, apart from their score",
        "macro": "mean over the groups (subjects) of their shares, each group counting the same",
        "items": "questions judged",
        "failed": "questions without an answer (the server failed, the prompt did not fit); in no other figure",
        "truncated": "questions whose prompt lost its beginning to fit the context",
        "cut": "answers that ended at max_tokens or the end of the context",
        "unanswered": "answers in which even the flexible reading finds nothing",
    }
)


def metrics_of(record: EvalRecord) -> dict[str, float]:
    """Each metric of one answer, 0 to 1."""
    return GRADERS[record.how](record)


def found_answer(record: EvalRecord) -> str | None:
    """What the flexible reading takes for the answer; None when there is nothing, "" where no reading is needed."""
    readings = READINGS.get(record.how)
    return "" if readings is None else readings[1](record.text, _count(record))


def instruction_counts(record: EvalRecord) -> dict[str, tuple[int, int]]:
    """Instructions obeyed and instructions given, strictly and loosely."""
    names, arguments = _instructions(record)
    pairs = list(zip(names, arguments, strict=True))
    text = extract.visible(record.text)
    strict = sum(obeys(text, name, given) for name, given in pairs)
    loose = sum(obeys_loosely(text, name, given) for name, given in pairs)
    return {"instruction_strict": (strict, len(pairs)), "instruction_loose": (loose, len(pairs))}


def _choice(record: EvalRecord) -> dict[str, float]:
    target = int(cast(int, record.target))
    found = {"acc": float(_best(record.loglikelihoods) == target)}
    if record.num_chars and len(set(record.num_chars)) > 1:
        scaled = [value / chars for value, chars in zip(record.loglikelihoods, record.num_chars, strict=True)]
        found["acc_norm"] = float(_best(scaled) == target)
    elif record.num_chars:
        found["acc_norm"] = found["acc"]
    return found


def _best(values: Sequence[float]) -> int:
    """The first of the highest."""
    return max(range(len(values)), key=values.__getitem__)


def _read(record: EvalRecord) -> dict[str, float]:
    strictly, anywhere = READINGS[record.how]
    target = str(record.target)
    count = _count(record)
    is_same = SAME.get(record.how, str.__eq__)
    answers = {"strict": strictly(record.text, count), "flexible": anywhere(record.text, count)}
    return {name: float(answer is not None and is_same(answer, target)) for name, answer in answers.items()}


def _executed(record: EvalRecord) -> dict[str, float]:
    return {execution.reading: execution.value for execution in record.executions}


def _obeyed(record: EvalRecord) -> dict[str, float]:
    counts = instruction_counts(record)
    return {
        "prompt_strict": float(counts["instruction_strict"][0] == counts["instruction_strict"][1]),
        "prompt_loose": float(counts["instruction_loose"][0] == counts["instruction_loose"][1]),
    }


def _count(record: EvalRecord) -> int:
    found = record.data.get("num_letters")
    return found if isinstance(found, int) else 26


def _instructions(record: EvalRecord) -> tuple[list[str], list[Mapping[str, object]]]:
    names = [str(name) for name in cast(Sequence[object], record.data.get("instructions") or ())]
    arguments = [cast(Mapping[str, object], one) for one in cast(Sequence[object], record.data.get("arguments") or ())]
    known = [(name, given) for name, given in zip(names, arguments, strict=False) if name in CHECKS]
    return [name for name, _ in known], [given for _, given in known]


Reading = Callable[[str, int], str | None]

READINGS: Mapping[str, tuple[Reading, Reading]] = MappingProxyType(
    {
        "letter": (extract.letter_strictly, extract.letter_anywhere),
        "number": (lambda text, _: extract.number_strictly(text), lambda text, _: extract.number_anywhere(text)),
        "integer": (lambda text, _: extract.integer_strictly(text), lambda text, _: extract.integer_anywhere(text)),
        "math": (
            lambda text, _: extract.last_boxed(extract.visible(text)),
            lambda text, _: extract.expression_anywhere(text),
        ),
    }
)
SAME: Mapping[str, Callable[[str, str], bool]] = MappingProxyType(
    {"number": extract.same_number, "math": same_expression}
)
GRADERS: Mapping[str, Callable[[EvalRecord], dict[str, float]]] = MappingProxyType(
    {
        "choice": _choice,
        "letter": _read,
        "number": _read,
        "integer": _read,
        "math": _read,
        "code": _executed,
        "instructions": _obeyed,
        "task": _executed,
    }
)
