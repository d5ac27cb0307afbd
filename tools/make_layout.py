"""Writes docs/layout.md from the tree itself, so that the map cannot outlive the land.

python tools/make_layout.py writes it; with --check it exits 1 if the file is out of date.
"""

import re
import subprocess
import sys
from pathlib import Path, PurePosixPath

from generated_page import write_or_check
from purpose import purpose_of

LAYOUT = Path("docs/layout.md")
HEAD = Path(__file__).with_name("layout_head.md")

# Folders in the order a token meets them, floor by floor; what is not named comes after, by name.
ORDER = [
    "src/wayra", "src/wayra/base", "src/wayra/model", "src/wayra/model/families", "src/wayra/text", "src/wayra/weights",
    "src/wayra/weights/sources", "src/wayra/backends", "src/wayra/backends/null", "src/wayra/backends/numpy",
    "src/wayra/backends/native", "src/wayra/backends/cuda", "src/wayra/engine", "src/wayra/plan", "src/wayra/quant",
    "src/wayra/tune", "src/wayra/llm", "src/wayra/server", "src/wayra/lab", "src/wayra/cluster", "src/wayra/cli",
    "csrc", "csrc/core", "csrc/ops", "tests", "benchmarks", "tools", ".ci", "docs",
]  # fmt: skip
TOP_LEVEL = {
    "CMakeLists.txt": None,
    "README.md": "What wayra is, how to install it, the first commands.",
    "pyproject.toml": "The package, its dependencies, and the configuration of every tool.",
}
# What a file's own first line cannot say.
PURPOSES = {
    "docs/layout.md": "This map; generated.",
    "tools/layout_head.md": "The hand-written beginning of docs/layout.md.",
}
UNLISTED = {"__init__.py", "py.typed"}


def tracked() -> list[PurePosixPath]:
    """The project's files, those not added yet among them: the map is checked before they are."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return sorted(PurePosixPath(name) for name in listed.split("\0") if name and Path(name).is_file())


def sort_key(folder: str) -> tuple[int, str]:
    """A folder's place: its own in ORDER, or right after its nearest listed parent."""
    at: PurePosixPath = PurePosixPath(folder)
    while str(at) not in ORDER and at != at.parent:
        at = at.parent
    return (ORDER.index(str(at)) if str(at) in ORDER else len(ORDER), folder)


def line_of(path: PurePosixPath) -> str | None:
    known = PURPOSES.get(str(path))
    purpose = known or purpose_of(Path(path))
    return f"- `{path.name}` - {purpose}" if purpose else None


def section(folder: str, files: list[PurePosixPath]) -> list[str]:
    """The heading, the package's own sentence, one line a file; files without a purpose line are counted."""
    lines = [f"## {folder}/", ""]
    init = PurePosixPath(folder) / "__init__.py"
    if init in files and (purpose := purpose_of(Path(init))):
        lines += [purpose, ""]
    entries = [line_of(path) for path in files if path.name not in UNLISTED]
    described = [entry for entry in entries if entry is not None]
    lines += described
    if silent := len(entries) - len(described):
        lines.append(f"- and {silent} data file{'s' if silent > 1 else ''}")
    return [*lines, ""] if lines[-1] else lines


def head() -> str:
    """The hand-written beginning. Every file it names in backticks must exist."""
    text = HEAD.read_text(encoding="utf-8")
    for name in re.findall(r"`([\w./]+\.(?:py|cpp|h|md))`", text):
        if not any(Path(root, name).exists() for root in ("", "src/wayra", "csrc")):
            raise SystemExit(f"{HEAD} names {name}, which does not exist; correct it")
    return text


def layout() -> str:
    by_folder: dict[str, list[PurePosixPath]] = {}
    for path in tracked():
        by_folder.setdefault(str(path.parent), []).append(path)
    top = by_folder.pop(".", [])
    lines = ["## /", ""]
    for path in top:
        if path.name in TOP_LEVEL:
            lines.append(f"- `{path.name}` - {TOP_LEVEL[path.name] or purpose_of(Path(path))}")
    lines.append("")
    for folder in sorted(by_folder, key=sort_key):
        lines += section(folder, by_folder[folder])
    return head() + "\n" + "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    sys.exit(write_or_check(LAYOUT, layout(), sys.argv[1:]))
