"""The file check must find each thing it exists for, and nothing in a sound tree."""

import subprocess
import sys
from pathlib import Path

import pytest

CHECK = Path(__file__).parents[3] / "tools" / "check_files.py"
SOUND = '"""A purpose."""\n'


def check(root: Path, files: dict[str, str | bytes]) -> tuple[int, str]:
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    subprocess.run(["git", "-C", str(root), "add", "-A"], check=True)
    done = subprocess.run([sys.executable, str(CHECK)], cwd=root, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_a_sound_tree_passes(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "src/wayra/engine/step.py": SOUND,
        "src/wayra/base/settings.py": SOUND + "import os\n\nHOME = os.environ\n",
        "csrc/core/pool.h": "#pragma once\n// Worker threads that claim chunks.\n",
        "tests/data/weights.bin": b"\xff\xfe\x00",
    }
    assert check(tmp_path, files) == (0, "4 files checked, 0 findings\n")


@pytest.mark.parametrize(
    ("name", "content", "finding"),
    [
        ("src/a.py", SOUND + "x = 1\n" * 500, "has 501 lines, limit is 500"),
        ("csrc/a.cpp", "// A purpose.\n" + "int x;\n" * 500, "has 501 lines, limit is 500"),
        ("tests/data/big.bin", b"\0" * 3_000_001, "has 3,000,001 bytes, limit is 3,000,000"),
        ("src/a.py", "x = 1\n", "does not say why it exists"),
        ("csrc/a.h", "#pragma once\nint x;\n", "does not say why it exists"),
        ("src/wayra/base/utils.py", SOUND, "has a name that says nothing"),
        ("src/wayra/common/a.py", SOUND, "has a name that says nothing"),
        ("src/wayra/engine/a.py", SOUND + "import os\n\nx = os.environ['X']\n", "line 4 reads the environment"),
        ("src/wayra/engine/a.py", SOUND + "from os import getenv\n", "line 2 reads the environment"),
        ("src/a.py", SOUND + "def f():\n" + "    x = 1\n" * 50, "line 2: f has 51 lines, limit is 50"),
        ("docs/a.md", "# A\nfrom https://" + "pypi" + ".org/simple\n", "line 2 names a package registry's host"),
        ("docs/a.md", "# A\nsee " + "/wo" + "rk/x\n", "line 2 names a path of one machine"),
    ],
)
def test_each_fault_is_named_with_its_file(tmp_path: Path, name: str, content: str | bytes, finding: str) -> None:
    code, report = check(tmp_path, {name: content})
    assert code == 1
    assert f"{name}: {finding}" in report


def test_the_docstring_does_not_count_towards_a_functions_length(tmp_path: Path) -> None:
    function = 'def f():\n    """First.\n\n    Second.\n    """\n' + "    x = 1\n" * 49
    assert check(tmp_path, {"src/a.py": SOUND + function})[0] == 0
