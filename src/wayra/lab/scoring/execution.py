"""Runs answers that are programs, in the sandbox, and says what came of them."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from wayra.base.errors import BackendError
from wayra.lab.items import Item
from wayra.lab.scoring.extract import visible
from wayra.lab.scoring.programs import program, readings
from wayra.lab.scoring.record import Execution
from wayra.lab.tasks import Judge

MAX_WHY_CHARS = 300


@dataclass(frozen=True, slots=True)
class Ran:
    """A finished program: what it printed and, when it did not end well, why."""

    stdout: str
    why: str = ""


RunProgram = Callable[[str], Ran]


def run_in_sandbox(source: str) -> Ran:
    """Raises BackendError when this machine cannot make a sandbox."""
    from wayra.lab.sandbox import run_python

    verdict = run_python(source)
    if verdict.status == "refused":
        raise BackendError(verdict.why)
    return Ran(verdict.stdout, "" if verdict.ok else verdict.why)


def executions(text: str, prompt: object, data: Mapping[str, object], run: RunProgram) -> list[Execution]:
    """The tests of each reading of an answer; equal readings are run once. data: the item's."""
    found = readings(text, prompt, data)
    done: dict[str, Execution] = {}
    results: list[Execution] = []
    for reading in ("strict", "flexible"):
        code = found.get(reading)
        if code is None:
            results.append(Execution(reading=reading, value=0.0, why="no code was found in the answer"))
            continue
        if code not in done:
            done[code] = _executed(reading, code, data, run)
        one = done[code]
        results.append(Execution(reading=reading, value=one.value, why=one.why))
    return results


def _executed(reading: str, code: str, data: Mapping[str, object], run: RunProgram) -> Execution:
    last_word = f"passed {secrets.token_hex(8)}"
    ran = run(program(code, data, last_word))
    passed = ran.stdout.rstrip().endswith(last_word) and not ran.why
    why = "" if passed else ran.why or "it ended before its tests did"
    return Execution(reading=reading, value=float(passed), why=why[-MAX_WHY_CHARS:])


def task_executions(suite: str, item: Item, answer: str, judge: Judge | None) -> list[Execution]:
    """A task's score of an answer and its constraints apart from it; none where only a judge could say.

    Raises BackendError where a program would have to be run and no sandbox can be made.
    """
    from wayra.lab.suites.task_suites import task_of

    task = task_of(suite)
    visible_answer = visible(answer)
    found: list[Execution] = []
    score = task.score(item, visible_answer, judge)
    if score is not None:
        why = score.explanation[:MAX_WHY_CHARS]
        found.append(Execution(reading="score", value=score.value, why=why, extracted=score.extracted))
    checks = () if task.checks is None else task.checks(item, visible_answer)
    if checks:
        share = sum(check.is_obeyed for check in checks) / len(checks)
        broken = "; ".join(check.constraint for check in checks if not check.is_obeyed)
        found.append(Execution(reading="checks", value=share, why=broken[:MAX_WHY_CHARS]))
    return found


def check_sandbox() -> None:
    """Raises BackendError saying what is missing, before any question is asked."""
    try:
        from wayra.lab.sandbox import require_sandbox
    except ImportError as error:
        raise BackendError("this wayra has no sandbox, and answers that are programs are run nowhere else") from error
    require_sandbox()
