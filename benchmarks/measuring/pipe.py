"""A worker process and the one who asks it: one JSON object a line in each direction.

An idle worker is blocked in a read, so that it takes nothing from the engine being measured. This file is imported by
interpreters that have one engine only; it must not import wayra or llama_cpp.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

WORKER = Path(__file__).with_name("worker.py")

Handlers = Mapping[str, Callable[..., Any]]


class WorkerError(Exception):
    """A worker could not start, or refused what it was asked."""


def answer_channel() -> TextIO:
    """What was standard output, kept for answers; whatever else the process prints goes to stderr from now on."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return channel


def serve(handlers: Handlers, channel: TextIO) -> None:
    """Answer requests until standard input ends. A failure is told to the asker and the worker goes on."""
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = {"result": handlers[request["call"]](**request["arguments"])}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        channel.write(json.dumps(reply) + "\n")
        channel.flush()


class Worker:
    """An engine in a process of its own. Raises WorkerError when it cannot start."""

    def __init__(self, python: str | Path, engine: str, config: Mapping[str, Any]) -> None:
        self.engine = engine
        command: Sequence[str] = [str(python), str(WORKER), engine, json.dumps(dict(config))]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.facts: dict[str, Any] = self._reply()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, call: str, **arguments: Any) -> Any:
        """The result of a call. Raises WorkerError with what went wrong on the other side."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"call": call, "arguments": arguments}) + "\n")
        self._process.stdin.flush()
        return self._reply()

    def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _reply(self) -> Any:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        line = self._process.stdout.readline()
        if not line:
            told = self._process.stderr.read().strip().splitlines()
            self.close()
            raise WorkerError(f"the {self.engine} worker ended: {told[-1] if told else 'it said nothing'}")
        reply = json.loads(line)
        if "error" in reply:
            raise WorkerError(f"{self.engine}: {reply['error']}")
        return reply["result"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
