"""Ctrl-C outside the command's own guard: while its modules load, and after it has returned."""

import signal
import subprocess
import sys

import pytest

from wayra import __version__

INTERRUPT_WHEN_LOADING = """
import os, signal, sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
"""
RUN = "import sys; from wayra.cli.entry import main; sys.argv = ['wayra', '--version']; code = main();"


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("module", ["click", "wayra.cli.output", "wayra.base.settings"])
def test_ctrl_c_while_the_command_loads_is_silent(module: str) -> None:
    done = run(INTERRUPT_WHEN_LOADING.format(module=module) + RUN + "sys.exit(code)")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ctrl_c_after_the_command_is_silent_and_keeps_what_it_printed() -> None:
    done = run(RUN + "import os, signal; os.kill(os.getpid(), signal.SIGINT); sys.exit(code)")
    assert (done.returncode, done.stdout, done.stderr) == (130, f"wayra, version {__version__}\n", "")


def test_ctrl_c_switched_off_by_the_caller_stays_switched_off() -> None:
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        done = run(INTERRUPT_WHEN_LOADING.format(module="click") + RUN + "sys.exit(code)")
    finally:
        signal.signal(signal.SIGINT, previous)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "wayra", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"wayra, version {__version__}\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_end_in_the_null_device(closed: str) -> None:
    command = f"{sys.executable} -m wayra --version {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    printed = "" if " >&-" in f" {closed}" else f"wayra, version {__version__}\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, printed, "")


def test_an_error_with_every_stream_closed_still_has_its_exit_code() -> None:
    command = f"{sys.executable} -m wayra show ./nowhere.gguf <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], check=False).returncode == 1
