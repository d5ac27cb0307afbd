"""The CI script must run the README's command itself, on what is committed, and fail when it fails."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def run_ci(root: Path, command: str, *stages: str, uncommitted: str | None = None) -> tuple[int, str]:
    """A repository that has only the script and a README with this test command; returns exit code and output."""
    (root / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", root / ".ci" / "run")
    (root / "README.md").write_text(f"# x\n\n```sh\nfalse\n```\n\n<!-- command:test -->\n```sh\n{command}\n```\n")
    git = ["git", "-C", str(root), "-c", "user.name=t", "-c", "user.email=t@localhost"]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *arguments], check=True)
    if uncommitted is not None:
        (root / uncommitted).write_text("x")
    environment = {name: value for name, value in os.environ.items() if name != "WAYRA_CI_DIR"}
    script = ["bash", str(root / ".ci" / "run"), *stages]
    done = subprocess.run(
        script, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment
    )
    return done.returncode, done.stdout + done.stderr


def test_a_passing_readme_command_passes_and_its_closing_line_is_in_the_summary(tmp_path: Path) -> None:
    code, output = run_ci(tmp_path, 'echo "=== 3 passed in 0.10s ==="', "readme")
    assert code == 0, output
    summary = output[output.index("======== summary") :]
    assert re.search(r"readme +passed +\d+ s  3 passed in 0.10s", summary), output


def test_a_failing_readme_command_fails_the_run(tmp_path: Path) -> None:
    code, output = run_ci(tmp_path, "echo before && exit 3", "readme")
    assert code == 1
    assert re.search(r"readme +FAILED \(exit 3\)", output), output


def test_the_command_sees_only_what_is_committed(tmp_path: Path) -> None:
    code, output = run_ci(tmp_path, "test -f README.md && test ! -e stray", "readme", uncommitted="stray")
    assert code == 0, output


def test_a_readme_without_the_command_fails_the_run(tmp_path: Path) -> None:
    code, output = run_ci(tmp_path, "", "readme")
    assert code == 1
    assert "README.md has no block after <!-- command:test -->" in output


def test_an_unknown_stage_is_refused_with_the_list_of_stages(tmp_path: Path) -> None:
    code, output = run_ci(tmp_path, "true", "nonesuch")
    assert code == 2
    assert "no stage nonesuch; there are: readme answer lint" in output


@pytest.mark.parametrize("block", ["command:run", "command:test"])
def test_the_readme_has_both_commands_and_each_stands_alone(block: str) -> None:
    match = re.search(rf"<!-- {block} -->\n```sh\n(.+)\n```\n", (ROOT / "README.md").read_text())
    assert match is not None
    assert match[1].startswith("python3 -m venv .venv && . .venv/bin/activate && pip install ")
