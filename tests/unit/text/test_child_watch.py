"""A child that works too long is ended, one that hardly gets the processor is not, one that sleeps on is."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from wayra.text import child_watch
from wayra.text.child_watch import ChildWatch


@contextmanager
def child(program: str) -> "Iterator[subprocess.Popen[bytes]]":
    process = subprocess.Popen([sys.executable, "-S", "-c", program])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the time of the processor is read from /proc")
def test_a_child_that_computes_is_ended_and_one_that_gets_no_processor_is_not() -> None:
    with child("while True: pass") as working, child("import time; time.sleep(60)") as waiting:
        watches = [ChildWatch(working, 0.2), ChildWatch(waiting, 0.2)]
        assert working.wait(30) != 0
        assert waiting.poll() is None
        for watch in watches:
            watch.end()


def test_a_child_that_sleeps_on_is_ended_too() -> None:
    with child("import time; time.sleep(60)") as waiting:
        watch = ChildWatch(waiting, 0.02)
        assert waiting.wait(30) != 0
        watch.end()


def test_where_nobody_tells_the_processors_time_the_clock_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_watch, "_cpu_s", lambda _: None)
    with child("import time; time.sleep(60)") as waiting:
        ChildWatch(waiting, 0.05)
        assert waiting.wait(30) != 0


def test_nobody_is_ended_after_the_watch() -> None:
    with child("import time; time.sleep(60)") as waiting:
        ChildWatch(waiting, 0.05).end()
        time.sleep(0.3)
        assert waiting.poll() is None
