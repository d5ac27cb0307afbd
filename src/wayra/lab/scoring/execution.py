"""Runs answers that are programs, in the sandbox, and says what came of them."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from wayra.base.errors import BackendError
from wayra.lab.scoring.programs import program, readings
from wayra.lab.scoring.record import Execution

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


def check_sandbox() -> None:
    """Raises BackendError saying what is missing, before any question is asked."""
    try:
        from wayra.lab.sandbox import require_sandbox
    except ImportError as error:
        raise BackendError("this wayra has no sandbox, and answers that are programs are run nowhere else") from error
    require_sandbox()
