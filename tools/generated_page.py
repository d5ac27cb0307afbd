"""Writes a generated page, or with --check says whether it is up to date."""

import sys
from pathlib import Path


def write_or_check(page: Path, text: str, arguments: list[str]) -> int:
    """Returns the exit code: 1 if `--check` is given and the page differs from `text`."""
    if "--check" not in arguments:
        page.write_text(text, encoding="utf-8")
        return 0
    if page.exists() and page.read_text(encoding="utf-8") == text:
        return 0
    print(f"{page} is out of date; run python {Path(sys.argv[0])} and commit it")
    return 1
