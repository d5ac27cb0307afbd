"""The table of verbs: complete, cheap and forgiving."""

import subprocess
import sys

import click
import pytest

from wayra import __version__
from wayra.cli.main import VERBS, main, wayra

HEAVY = (
    "numpy",
    "msgspec",
    "rich",
    "tokenizers",
    "huggingface_hub",
    "minijinja",
    "prompt_toolkit",
    "wayra.weights",
    "wayra.llm",
)


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; from wayra.cli.main import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Answer one prompt" in done.stdout
    assert [name for name in HEAVY if name in done.stderr.split()] == []


@pytest.mark.parametrize("name", list(VERBS))
def test_every_verb_explains_itself_with_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"Usage: wayra {name} ")
    assert "Examples:" in text
    assert all("--json" in text for text in _help_of_its_commands(name, text, capsys))


def _help_of_its_commands(name: str, text: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Of the verb itself, or, where it has verbs of its own, of each of those."""
    command = wayra.get_command(wayra.make_context("wayra", ["--debug", name]), name)
    if not isinstance(command, click.Group):
        return [text]
    texts: list[str] = []
    for verb in command.commands.keys() - {"export"}:  # its output is JSON to begin with
        assert main([name, verb, "--help"]) == 0
        texts.append(capsys.readouterr().out)
    return texts


@pytest.mark.parametrize("name", list(VERBS))
def test_the_table_names_the_verb_as_the_verb_does(name: str) -> None:
    command = wayra.get_command(wayra.make_context("wayra", ["--debug", name]), name)
    assert command is not None
    assert command.name == name


def test_version_and_bare_call(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"wayra, version {__version__}\n"
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("Usage: wayra")


def test_a_mistyped_verb_is_answered_with_the_near_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pul"]) == 2
    assert "there is no command 'pul'; did you mean `wayra pull`?" in capsys.readouterr().err
    assert main(["zzzz"]) == 2
    assert capsys.readouterr().err == "wayra: error: there is no command 'zzzz'; see `wayra --help`\n"


def test_no_home_folder_is_one_sentence(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> None:
        raise RuntimeError("Could not determine home directory.")

    for name in ("WAYRA_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pathlib.Path.home", homeless)
    assert main(["ls"]) == 1
    assert "Set WAYRA_CACHE" in capsys.readouterr().err


def test_a_bad_setting_in_the_environment_is_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYRA_THREADS", "many")
    assert main(["info"]) == 2
    assert capsys.readouterr().err.startswith("wayra: error: WAYRA_THREADS is 'many'; expected a number")
