"""A server's thread asks for short turns where the system knows them, and for nothing elsewhere."""

import os
import subprocess
import sys

import pytest

from wayra.server import short_turns

ASK = """
import os
from wayra.server.short_turns import ask_for_short_turns
nice = os.getpriority(os.PRIO_PROCESS, 0)
agreed = ask_for_short_turns()
same_policy = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_OTHER
print(agreed, same_policy, os.getpriority(os.PRIO_PROCESS, 0) == nice)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a call of Linux")
def test_asking_leaves_policy_and_priority_as_they_were() -> None:
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True)
    agreed, same_policy, same_nice = done.stdout.split()
    assert (same_policy, same_nice) == ("True", "True")
    assert agreed in {"True", "False"}


@pytest.mark.parametrize("release", ["5.15.0-91-generic", "6.11.4", "6"])
def test_kernels_that_would_ignore_it_are_not_asked(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short_turns.platform, "release", lambda: release)
    scheduler = os.sched_getscheduler(0)
    assert not short_turns.ask_for_short_turns()
    assert os.sched_getscheduler(0) == scheduler


def test_other_machines_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short_turns.platform, "machine", lambda: "riscv64")
    assert not short_turns.ask_for_short_turns()
