"""Checks every tracked file for what no linter knows: length, size, purpose line, names, places, environment reads.

Run from the repository root: python tools/check_files.py. Prints one line per finding; exits 1 if there is any.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from purpose import is_code, purpose_of

MAX_LINES = 500
MAX_FUNCTION_LINES = 50
MAX_FILE_BYTES = 3_000_000
LENGTH_CHECKED = {".py", ".cpp", ".cc", ".h", ".hpp", ".inc", ".cu"}
VAGUE_NAMES = {"utils", "util", "common", "helpers", "misc"}
ENVIRONMENT_READER = Path("src/wayra/base/settings.py")

# Bracketed letters keep the patterns from matching this file.
FORBIDDEN = {
    "a package registry's host": re.compile(r"py[p]i\.org|python[h]osted\.org|npm[j]s\.org|crates[.]io", re.IGNORECASE),
    "a path of one machine": re.compile(r"(?<![\w.])/(?:wor[k]|op[t]|hom[e]/\w+|roo[t])/"),
    "a private folder": re.compile(r"\.librar[y]/|pip\.con[f]"),
}


def tracked_files() -> list[Path]:
    """The project's files, those not added yet among them."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := Path(name)).is_file()]


def findings(path: Path) -> Iterator[str]:
    """Everything wrong with one file, one sentence each."""
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        yield f"has {size:,} bytes, limit is {MAX_FILE_BYTES:,}; make it at run time or fetch it"
        return
    if VAGUE_NAMES & {path.stem, *path.parent.parts}:
        yield "has a name that says nothing; name it after what it holds"
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return
    yield from _text_findings(path, text)
    if path.suffix == ".py":
        yield from _python_findings(path, text)


def _text_findings(path: Path, text: str) -> Iterator[str]:
    lines = text.splitlines()
    if path.suffix in LENGTH_CHECKED and len(lines) > MAX_LINES:
        yield f"has {len(lines)} lines, limit is {MAX_LINES}; split it by purpose"
    for number, line in enumerate(lines, start=1):
        for what, pattern in FORBIDDEN.items():
            if pattern.search(line):
                yield f"line {number} names {what}"
    if is_code(path) and purpose_of(path) is None:
        yield "does not say why it exists; begin it with a docstring or comment"


def _python_findings(path: Path, text: str) -> Iterator[str]:
    in_package = path.is_relative_to("src")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and path.parts[0] != "tests":
            length = _function_lines(node)
            if length > MAX_FUNCTION_LINES:
                yield f"line {node.lineno}: {node.name} has {length} lines, limit is {MAX_FUNCTION_LINES}"
        if in_package and path != ENVIRONMENT_READER and _reads_environment(node):
            line = getattr(node, "lineno", 0)
            yield f"line {line} reads the environment; only {ENVIRONMENT_READER} may, take it from Settings"


def _function_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, without the docstring."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    if ast.get_docstring(node) is not None:
        first = node.body[0]
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def _reads_environment(node: ast.AST) -> bool:
    names = {"environ", "environb", "getenv"}
    if isinstance(node, ast.Attribute):
        return node.attr in names and isinstance(node.value, ast.Name) and node.value.id == "os"
    return isinstance(node, ast.ImportFrom) and node.module == "os" and any(a.name in names for a in node.names)


def main() -> int:
    files = tracked_files()
    found = [f"{path}: {what}" for path in files for what in findings(path)]
    for line in found:
        print(line)
    print(f"{len(files)} files checked, {len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
