"""What every verb prints through, and how an exception becomes a sentence and an exit code."""

import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import click
import numpy as np
import pytest

from wayra.base.errors import InvalidParameter, ModelNotFound
from wayra.cli.output import fail, guarded, human_bytes, printable, to_json


@dataclass(frozen=True)
class Pair:
    left: object
    right: object


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (98_362_432, "98.4 MB"),
        (42_500_000_000, "42.5 GB"),
        (5 * 10**15, "5000.0 TB"),
    ],
)
def test_bytes_are_printed_for_people(count: int, expected: str) -> None:
    assert human_bytes(count) == expected


def test_a_model_file_cannot_drive_the_terminal() -> None:
    assert printable("a\x1b[2Jb\x07\n\u202e\u2028é") == "a\\x1b[2Jb\\x07\\n\\u202e\\u2028é"


def test_json_understands_what_verbs_return() -> None:
    result = Pair(Path("/x"), {"scalar": np.float32(0.5), "ids": frozenset({2, 1}), "map": MappingProxyType({"é": 1})})
    assert json.loads(to_json(result)) == {"left": "/x", "right": {"scalar": 0.5, "ids": [1, 2], "map": {"é": 1}}}


def test_what_is_not_finite_is_null_in_json() -> None:
    assert json.loads(to_json([math.nan, math.inf, 1.5])) == [None, None, 1.5]


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ModelNotFound("no such\nmodel"), 1, "wayra: error: no such model\n"),
        (InvalidParameter("bad \x1b[31m"), 2, "wayra: error: bad \\x1b[31m\n"),
        (fail("nothing", 3), 3, "wayra: error: nothing\n"),
        (click.UsageError("No such option: --x."), 2, "wayra: error: no such option: --x\n"),
        (
            PermissionError(13, "Permission denied", "/x"),
            1,
            "wayra: error: the system refused: Permission denied (/x)\n",
        ),
        (MemoryError(), 1, "wayra: error: not enough memory; close other programs or take a smaller model\n"),
        (KeyboardInterrupt(), 130, ""),
        (click.Abort(), 130, ""),
        (BrokenPipeError(32, "Broken pipe"), 141, ""),
    ],
)
def test_an_exception_is_one_sentence_and_an_exit_code(
    error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise error

    assert guarded(command, []) == code
    assert capsys.readouterr().err == message


def test_a_bug_of_ours_says_so_without_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WAYRA_DEBUG", raising=False)
    assert guarded(lambda: {}["x"], []) == 70
    quiet = capsys.readouterr().err
    assert quiet.startswith("wayra: error: internal error (KeyError: 'x'); please report it")
    assert quiet.count("\n") == 1
    assert guarded(lambda: {}["x"], ["--debug"]) == 70
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("WAYRA_DEBUG", "1")
    assert guarded(lambda: {}["x"], []) == 70
    assert "Traceback" in capsys.readouterr().err


def test_with_json_an_error_is_an_object_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise ModelNotFound("no such model")

    assert guarded(command, ["show", "x", "--json"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.err) == {"error": {"type": "ModelNotFound", "message": "no such model"}}
    assert printed.out == ""
    assert guarded(command, ["run", "--", "--json"]) == 1
    assert capsys.readouterr().err == "wayra: error: no such model\n"


PRINTS_A_LOT = """
import sys
from wayra.cli.output import guarded, print_line
sys.exit(guarded(lambda: [print_line("x" * 99) for _ in range(9999)], []))
"""


def test_a_reader_that_leaves_is_no_error() -> None:
    process = subprocess.Popen([sys.executable, "-c", PRINTS_A_LOT], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr is not None
    assert (process.stderr.read(), process.wait()) == (b"", 141)
    process.stderr.close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_a_full_disk_behind_stdout_is_one_sentence() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-c", PRINTS_A_LOT], stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (1, b"wayra: error: the system refused: No space left on device\n")


def test_a_terminal_that_cannot_show_a_letter_gets_its_code() -> None:
    code = "from wayra.cli.output import *; import sys; sys.exit(guarded(lambda: print_line('caf\\u00e9'), []))"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (0, b"caf\\xe9\n")
