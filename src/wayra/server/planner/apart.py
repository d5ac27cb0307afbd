"""The planner in a process of its own, which yields to the engine: a plan is half a second of Python.

In a thread it would share the interpreter with the event loop and the engine's thread, and a core as an equal with the
engine's threads, which wait for each other at every layer: each token would be late by what a plan takes of that core.
"""

import subprocess
import sys
from pathlib import Path
from typing import IO, cast

import msgspec

import wayra
from wayra.server.errors import ApiError
from wayra.server.planner.planning import Question
from wayra.server.planner.worker import Refusal, Reply

CLOSE_WAIT_S = 5.0
# Modules come from where this one came from, never from the working directory.
_START = "import sys; sys.path[0] = {root!r}; from wayra.server.planner.worker import main; main()"


class Apart:
    """For one thread. The process begins with the first question, and again where it has died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._decoder = msgspec.json.Decoder(Reply)

    def answer(self, question: Question) -> bytes:
        """JSON. Raises ApiError as the planner does, 503 when the process dies of the question."""
        process = self._running()
        written, read = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)
        try:
            written.write(msgspec.json.encode(question) + b"\n")
            written.flush()
            line = read.readline()
        except OSError:
            line = b""
        if not line.endswith(b"\n"):
            self.close()
            raise ApiError(503, "the planner's process has ended; ask again")
        reply = self._decoder.decode(line)
        if isinstance(reply, Refusal):
            raise ApiError(reply.status, reply.message, reply.param)
        return bytes(reply.answer)

    def close(self) -> None:
        """It ends when nothing can be asked of it any more."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.communicate(timeout=CLOSE_WAIT_S)
        except (subprocess.TimeoutExpired, OSError):
            process.kill()
            process.wait()

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None or self._process.poll() is not None:
            self.close()
            root = str(Path(wayra.__file__).parents[1])
            command = [sys.executable, "-c", _START.format(root=root)]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self._process
