"""Writes the definitions in docs/lab.md from the tables that the commands print with --definitions.

PYTHONPATH=src python tools/make_lab.py writes them; with --check it exits 1 if the file is out of date.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from generated_page import write_or_check

from wayra.lab.compare.definitions import DEFINITIONS as COMPARED
from wayra.lab.latency import DEFINITIONS as MEASURED
from wayra.lab.scoring.grade import DEFINITIONS as SCORED

PAGE = Path("docs/lab.md")
BEGIN, END = "<!-- definitions: begin -->", "<!-- definitions: end -->"


def table(title: str, definitions: Mapping[str, str]) -> str:
    rows = [f"| `{name}` | {meaning.replace('|', chr(92) + '|')} |" for name, meaning in definitions.items()]
    return "\n".join([f"| {title} | |", "| --- | --- |", *rows])


def page(text: str) -> str:
    """The page with the definitions of today. Raises ValueError when it has no place for them."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{PAGE} needs {BEGIN} and {END}")
    tables = [table("speed", MEASURED), table("answers", SCORED), table("comparisons", COMPARED)]
    return f"{before}{BEGIN}\n" + "\n\n".join(tables) + f"\n{END}{after}"


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, page(PAGE.read_text(encoding="utf-8")), sys.argv[1:]))
