"""Suites answered with Python: HumanEval and HumanEval+, MBPP, LiveCodeBench. Their tests are data here, not run."""

import base64
import binascii
import pickletools
import zlib
from collections.abc import Mapping
from typing import cast

from wayra.lab.items import Item
from wayra.lab.suites.answers import as_user
from wayra.lab.suites.choice import item_id
from wayra.lab.suites.fields import BadRow, optional, parsed, text, texts
from wayra.lab.suites.rows import Row

HUMANEVAL_STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
MBPP_STOPS = ("\nclass", "\nassert", '\n"""', "\nprint", "\nif __name__", "\n```")
LIVECODE_STOPS = ("\n```",)
MAX_TESTS_BYTES = 64 * 1024**2


def humaneval(row: Row) -> Item:
    """Also HumanEval+ in the form that has `test`: a function check(candidate)."""
    fields = row.fields
    prompt, entry_point = text(fields, "prompt"), text(fields, "entry_point")
    if optional(fields, "test") is None:
        raise BadRow("lacks 'test'; HumanEval+ comes with it in the form of the hub's evalplus/humanevalplus")
    ask = (
        "Complete this Python function. Answer with the whole function, with its imports, in one ```python block.\n\n"
        f"```python\n{prompt.rstrip()}\n```"
    )
    return Item(
        id=text(fields, "task_id"),
        suite="humaneval",
        messages=as_user(ask),
        prompt=prompt,
        max_tokens=1024,
        stop=HUMANEVAL_STOPS,
        data={
            "style": "function",
            "entry_point": entry_point,
            "signature": prompt,
            "tests": f"{text(fields, 'test')}\ncheck({entry_point})\n",
            "reference": str(optional(fields, "canonical_solution") or ""),
            "shot": str(optional(fields, "canonical_solution") or ""),
        },
    )


def mbpp(row: Row) -> Item:
    fields = row.fields
    description = text(fields, "text", "prompt").strip()
    asserts = texts(fields, "test_list")
    setup = str(optional(fields, "test_setup_code") or "")
    imports = optional(fields, "test_imports")
    if isinstance(imports, list):
        setup = "\n".join([*map(str, cast(list[object], imports)), setup]).strip()
    tests = str(optional(fields, "test") or "") or "\n".join(asserts)
    shown = "\n".join(asserts[:3])
    code = str(optional(fields, "code") or "").replace("\r\n", "\n")
    return Item(
        id=item_id(fields, description),
        suite="mbpp",
        messages=as_user(f"{description}\nAnswer with one ```python block. It must pass these tests:\n\n{shown}"),
        prompt=f'"""\n{description}\nTests:\n{shown}\n"""\n',
        max_tokens=768,
        stop=MBPP_STOPS,
        data={"style": "program", "tests": f"{setup}\n{tests}\n".lstrip(), "reference": code, "shot": code},
    )


def livecodebench(row: Row) -> Item:
    """Programs that read stdin and print, or methods of a class Solution; hidden tests come compressed."""
    fields = row.fields
    question = text(fields, "question_content").strip()
    starter = str(optional(fields, "starter_code") or "")
    tests = [*_tests(fields, "public_test_cases"), *_tests(fields, "private_test_cases")]
    if not tests:
        raise BadRow("has no tests")
    function = None
    if any(test["testtype"] == "functional" for test in tests):
        found = optional(fields, "metadata")
        known = parsed(found) if isinstance(found, str) else found
        function = cast(Mapping[str, object], known).get("func_name") if isinstance(known, Mapping) else None
        if not isinstance(function, str) or not function.isidentifier():
            raise BadRow("tests a function, but 'metadata' does not name it")
    how = f"Begin with this code:\n\n```python\n{starter}\n```" if starter else "Read standard input, print the answer."
    ask = f"{question}\n\nAnswer with one complete Python program in a ```python block. {how}"
    return Item(
        id=item_id(fields, question),
        suite="livecodebench",
        messages=as_user(ask),
        prompt=f"{ask}\n\n```python\n",
        max_tokens=2048,
        stop=LIVECODE_STOPS,
        data={
            "style": "stdin" if function is None else "method",
            "function": function,
            "cases": [[test["input"], test["output"]] for test in tests],
            "group": str(optional(fields, "difficulty") or ""),
        },
    )


def _tests(fields: Mapping[str, object], name: str) -> list[dict[str, str]]:
    found = optional(fields, name)
    if found is None or found == "":
        return []
    if isinstance(found, str):
        found = parsed(found) if found.lstrip().startswith("[") else parsed(_unpacked(found))
    tests: list[dict[str, str]] = []
    for test in cast(list[object], found) if isinstance(found, list) else []:
        if not isinstance(test, Mapping) or "input" not in test or "output" not in test:
            raise BadRow(f"{name!r} holds something other than tests")
        tests.append({key: str(test.get(key, "stdin")) for key in ("input", "output", "testtype")})
    return tests


def _unpacked(packed: str) -> str:
    """Base64 of zlib of a pickled text. The pickle is read for its one text and never run, which could do anything."""
    try:
        unzipper = zlib.decompressobj()
        content = unzipper.decompress(base64.b64decode(packed, validate=True), MAX_TESTS_BYTES)
        if not unzipper.eof:
            raise BadRow(f"the hidden tests are cut off or have more than {MAX_TESTS_BYTES:,} bytes")
        found = [argument for code, argument, _ in pickletools.genops(content) if "UNICODE" in code.name]
    except (binascii.Error, zlib.error, ValueError) as error:
        raise BadRow(f"the hidden tests cannot be unpacked: {error}") from error
    if len(found) != 1 or not isinstance(found[0], str):
        raise BadRow("the hidden tests are not one text")
    return found[0]
