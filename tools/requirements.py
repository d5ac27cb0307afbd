"""Prints the requirements of pyproject.toml's groups, so that a check can install them without building wayra.

python tools/requirements.py core test dev: "core" is what the package itself depends on, the others are its extras.
"""

import re
import sys
import tomllib
from pathlib import Path

OWN_EXTRA = re.compile(r"wayra\[([\w,-]+)\]")


def requirements(groups: list[str]) -> list[str]:
    """The groups' requirements, sorted; extras that name other extras of ours are followed."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    known: dict[str, list[str]] = {"core": project["dependencies"], **project["optional-dependencies"]}
    found: set[str] = set()
    waiting = list(groups)
    while waiting:
        group = waiting.pop()
        if group not in known:
            raise SystemExit(f"no group {group!r} in pyproject.toml; there are: {', '.join(known)}")
        for requirement in known[group]:
            if own := OWN_EXTRA.match(requirement):
                waiting += own[1].split(",")
            else:
                found.add(requirement)
    return sorted(found)


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1:])))
