"""Reads the line with which a source file says why it exists: docstring, leading comment or heading."""

import ast
from pathlib import Path

COMMENT_OF_SUFFIX = {
    ".cpp": "//", ".cc": "//", ".h": "//", ".hpp": "//", ".inc": "//", ".cu": "//", ".js": "//",
    ".sh": "#", ".cmake": "#", ".txt": "#",
}  # fmt: skip
HAS_NO_COMMENT = ("#!", "#pragma once", "#ifndef", "#define")


def purpose_of(path: Path) -> str | None:
    """The first line of the file's own explanation, or None if it gives none or its kind carries none."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None
    if path.suffix == ".py":
        docstring = ast.get_docstring(ast.parse(text))
        return docstring.splitlines()[0] if docstring else None
    if path.suffix == ".md":
        return _first_heading(text)
    marker = COMMENT_OF_SUFFIX.get(path.suffix, "#" if text.startswith("#!") else None)
    return _leading_comment(text, marker) if marker else None


def is_code(path: Path) -> bool:
    """Whether the file must carry such a line."""
    if path.name == "CMakeLists.txt":
        return True
    return path.suffix == ".py" or (path.suffix != ".txt" and path.suffix in COMMENT_OF_SUFFIX)


def _first_heading(text: str) -> str | None:
    for line in text.splitlines():
        if line.startswith("# "):
            return line[2:].strip()
    return None


def _leading_comment(text: str, marker: str) -> str | None:
    """The sentences that begin on the comment's first line, to the end of the last of them."""
    found = ""
    for line in text.splitlines():
        stripped = line.strip()
        if not found and (not stripped or stripped.startswith(HAS_NO_COMMENT)):
            continue
        if not stripped.startswith(marker):
            break
        words = stripped.lstrip(marker).strip()
        if not found:
            found = words
        elif not words or found.endswith("."):
            break
        else:
            found += " " + words.partition(". ")[0] + ("." if ". " in words else "")
    return found or None
