"""The command line in this process, with runs of its own; files whose commands need more define their own `call`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from wayra.cli.main import main


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command; returns its exit code, output and error output."""
    monkeypatch.setenv("WAYRA_RUNS", str(tmp_path / "runs"))

    def run(*args: str) -> tuple[int, str, str]:
        code = main([*args])
        out, err = capsys.readouterr()
        return code, out, err

    return run
