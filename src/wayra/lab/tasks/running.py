"""Marks an answer that is a Python function by running it on cases, in the sandbox."""

import secrets
from collections.abc import Sequence

from wayra.base.errors import BackendError
from wayra.lab.items import Item, Score
from wayra.lab.sandbox import Limits, run_python
from wayra.lab.tasks.answers import python_in

LIMITS = Limits(wall_s=20.0, cpu_s=5, memory_bytes=512 * 1024**2, max_processes=8)
DRIVER = """

import copy as _copy

def _plain(value):
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return value

for _number, (_given, _wanted) in enumerate(_CASES, start=1):
    _got = FUNCTION(*_copy.deepcopy(_given))
    assert _plain(_got) == _plain(_wanted), f"case {_number}: {_got!r:.150} instead of {_wanted!r:.150}"
print("\\n" + WORD)
"""

Case = tuple[tuple[object, ...], object]


def mark_function(item: Item, answer: str) -> Score:
    """data: function, its name; cases, pairs of arguments and result as a Python literal."""
    function = str(item.data["function"])
    code = python_in(answer, function)
    if code is None:
        return Score(0.0, False, f"the answer does not define {function}")
    word = f"all passed {secrets.token_hex(8)}"
    driver = DRIVER.replace("FUNCTION", function).replace("WORD", repr(word))
    verdict = run_python(f"{code}\n\n_CASES = {item.data['cases']}{driver}", limits=LIMITS)
    if verdict.status == "refused":
        raise BackendError(verdict.why)
    is_right = verdict.ok and verdict.stdout.rstrip().endswith(word)
    return Score(float(is_right), is_right, "all cases pass" if is_right else verdict.why or "it left early", code)


def literal(cases: Sequence[Case]) -> str:
    return repr([(list(given), wanted) for given, wanted in cases])


def in_block(code: str) -> str:
    return f"```python\n{code.strip()}\n```"
