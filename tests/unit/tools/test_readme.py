"""What the README shows must exist: its verbs, its imports, the pages it links to."""

import ast
import re
from pathlib import Path

import wayra
from wayra.cli.main import VERBS

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_command_the_readme_shows_is_a_verb() -> None:
    shown = set(
        re.findall(r"\bwayra ([a-z]+)\b(?=[ `\n])", "\n".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL)))
    )
    assert {"run", "chat", "pull"} <= shown
    assert shown <= set(VERBS)


def test_the_python_example_parses_and_imports_what_wayra_exports() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    imported = {
        alias.name
        for node in ast.walk(ast.parse(example))
        if isinstance(node, ast.ImportFrom) and node.module == "wayra"
        for alias in node.names
    }
    assert imported == {"LLM", "SamplingParams"}
    assert imported <= set(wayra.__all__)


def test_every_page_the_readme_links_to_exists() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert "docs/layout.md" in links
    assert [link for link in links if not (ROOT / link).exists()] == []
