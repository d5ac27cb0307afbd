"""Turns an answer in words into a program with its tests, to be run where it can do no harm.

The program ends by printing a word that only a run through all tests reaches, so that an answer which leaves early
(sys.exit) has not passed.
"""

import ast
import re
from collections.abc import Mapping, Sequence
from typing import cast

from wayra.lab.scoring.extract import code_blocks, visible

STDIN_DRIVER = """
import contextlib, io, sys

def _words(text):
    return [line.split() for line in text.strip().splitlines()]

def _run(code, given):
    out = io.StringIO()
    sys.stdin = io.TextIOWrapper(io.BytesIO(given.encode()))
    with contextlib.redirect_stdout(out):
        try:
            exec(compile(code, "answer", "exec"), {"__name__": "__main__"})
        except SystemExit as left:
            if left.code not in (None, 0):
                raise
    return out.getvalue()

for _number, (_given, _wanted) in enumerate(CASES, start=1):
    _got = _run(CODE, _given)
    assert _words(_got) == _words(_wanted), f"test {_number}: {_got[:200]!r} instead of {_wanted[:200]!r}"
"""
METHOD_DRIVER = """
import json

_scope = {"__name__": "answer"}
exec(compile(CODE, "answer", "exec"), _scope)
_called = getattr(_scope["Solution"](), FUNCTION) if "Solution" in _scope else _scope[FUNCTION]
for _number, (_given, _wanted) in enumerate(CASES, start=1):
    _got = _called(*[json.loads(line) for line in _given.splitlines() if line.strip()])
    _got = json.loads(json.dumps(_got))
    assert _got == json.loads(_wanted), f"test {_number}: {_got!r:.200} instead of {_wanted[:200]}"
"""


def readings(text: str, prompt: object, data: Mapping[str, object]) -> dict[str, str]:
    """The code of an answer, read "strict" and "flexible"; a reading that finds none is left out.

    data: the item's; its `signature` is the part of the question that begins the program. After a text prompt:
    strictly, the answer as it continues the prompt. In a conversation: strictly, its last block of code (that defines
    the function, where one is asked for). Flexibly, the other of these, else the whole text.
    """
    entry_point = data.get("entry_point")
    blocks = [block for block in code_blocks(text) if _defines(block, entry_point)]
    block = _with_head(blocks[-1], data) if blocks else None
    answer = visible(text)
    if isinstance(prompt, str):
        # A fence that the prompt opened is closed by the answer.
        continued = str(data.get("signature") or "") + answer.partition("\n```")[0]
        return {"strict": continued, "flexible": continued if block is None or is_python(continued) else block}
    if block is not None:
        return {"strict": block, "flexible": block}
    every = code_blocks(text)
    loose = every[-1] if every else answer
    if entry_point is not None and not _defines(loose, entry_point):
        # Only the body was written.
        return {"flexible": str(data.get("signature") or "") + loose}
    return {"flexible": _with_head(loose, data)} if is_python(loose) else {}


def program(code: str, data: Mapping[str, object], last_word: str) -> str:
    """The code and its tests, ending with last_word on standard output when all pass."""
    style = data.get("style")
    if style in ("stdin", "method"):
        cases = [tuple(map(str, case)) for case in cast(Sequence[Sequence[object]], data["cases"])]
        head = f"CODE = {code!r}\nCASES = {cases!r}\nFUNCTION = {data.get('function')!r}\n"
        body = STDIN_DRIVER if style == "stdin" else METHOD_DRIVER
        return f"{head}{body}\nprint({last_word!r})\n"
    return f"{code}\n\n{data.get('tests', '')}\nprint('\\n' + {last_word!r})\n"


def is_python(code: str) -> bool:
    try:
        ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return bool(code.strip())


def _defines(code: str, entry_point: object) -> bool:
    if entry_point is None:
        return True
    return re.search(rf"^\s*(?:async\s+)?def\s+{re.escape(str(entry_point))}\b", code, re.MULTILINE) is not None


def _with_head(code: str, data: Mapping[str, object]) -> str:
    """After the imports and helpers that the question gave before the function."""
    signature, entry_point = str(data.get("signature") or ""), str(data.get("entry_point") or "")
    head = signature.partition(f"def {entry_point}")[0] if entry_point else ""
    return head + code
