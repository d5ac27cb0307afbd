"""`wayra chat` on a real pseudo-terminal: Ctrl-C stops the answer, not the program."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-c", "from wayra.cli.entry import main; import sys; sys.exit(main())"]
WAIT_S = 120
ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|[=>])")


class Terminal:
    """A command whose standard streams and controlling terminal are one pseudo-terminal."""

    def __init__(self, args: list[str], environment: dict[str, str]) -> None:
        self._main, child = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *args],
            stdin=child,
            stdout=child,
            stderr=child,
            env=environment,
            start_new_session=True,
        )
        os.close(child)
        self.seen = ""

    def send(self, keys: str) -> None:
        os.write(self._main, keys.encode())

    def expect(self, pattern: str) -> str:
        """Wait for a pattern in what has not been expected yet; gives everything up to its end."""
        deadline = time.monotonic() + WAIT_S
        while not (found := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self._main], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"waited for {pattern!r}, saw {self.seen[-500:]!r}"
            try:
                data = os.read(self._main, 65536)
            except OSError:  # the other side is closed
                data = b""
            assert data, f"ended before {pattern!r}, after {self.seen[-500:]!r}"
            self.seen = ESCAPES.sub("", self.seen + data.decode("utf-8", "replace"))
        before, self.seen = self.seen[: found.end()], self.seen[found.end() :]
        return before

    def wait(self) -> int:
        """The exit code; what is still printed is read, so that nobody waits for anybody."""
        deadline = time.monotonic() + WAIT_S
        while self.process.poll() is None and time.monotonic() < deadline:
            ready, _, _ = select.select([self._main], [], [], 0.05)
            if ready:
                try:
                    self.seen += os.read(self._main, 65536).decode("utf-8", "replace")
                except OSError:
                    break
        return self.process.wait(timeout=WAIT_S)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._main)


# The session's first open of a terminal makes it the controlling one, which is what turns Ctrl-C into a signal.
TAKE_TERMINAL = """
import os, sys
os.close(os.open(os.ttyname(0), os.O_RDWR))
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.fixture
def chat(tmp_path: Path, smollm2_path: Path) -> Iterator[Terminal]:
    environment = {
        **os.environ,
        "WAYRA_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TERM": "xterm",
        "PROMPT_TOOLKIT_NO_CPR": "1",
    }
    # Long enough for the answer to be certainly under way when Ctrl-C comes: the small model repeats itself.
    args = [*COMMAND[1:], "chat", str(smollm2_path), "--max-tokens", "4000"]
    terminal = Terminal(args, environment)
    try:
        yield terminal
    finally:
        terminal.close()


def test_ctrl_c_stops_the_answer_and_the_chat_goes_on(chat: Terminal, tmp_path: Path) -> None:
    chat.expect("Ctrl-D leaves")
    chat.expect(">>>")
    chat.send("Tell me a very long story about a king.\r")
    chat.expect(r"king\.\s+\w+ \w+")
    chat.send("\x03")
    chat.expect(r"\[stopped\]")
    chat.expect(">>>")
    chat.send("/stats\r")
    chat.expect("no answer yet")
    chat.expect(">>>")
    chat.send("\x03")
    chat.expect("Ctrl-D or /quit leaves")
    chat.expect(">>>")
    chat.send("/nonsense\r")
    chat.expect("there is no command '/nonsense'")
    chat.expect(">>>")
    chat.send("\x04")
    assert chat.wait() == 0
    assert "Traceback" not in chat.seen
    history = tmp_path / "cache" / "chat_history"
    assert "+Tell me a very long story about a king." in history.read_text()
    assert history.stat().st_mode & 0o777 == 0o600


def test_a_backslash_and_alt_enter_begin_new_lines_of_one_message(chat: Terminal, tmp_path: Path) -> None:
    chat.expect(">>>")
    chat.send("one\\\r")
    chat.expect(r"\.\.\.")
    chat.send("two\x1b\r")
    chat.expect(r"\.\.\.")
    chat.send("three\r")
    chat.expect(r"three\s+\S")
    saved = tmp_path / "chat.json"
    chat.expect(">>>")
    chat.send(f"/save {saved}\r")
    chat.expect("saved to")
    assert '"one\\ntwo\\nthree"' in saved.read_text()
    chat.send("/quit\r")
    assert chat.wait() == 0
