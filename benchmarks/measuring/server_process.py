"""A real `wayra serve` in a process of its own, as the measurements need it: started, looked at from outside, ended."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from measuring.http_wire import Address, ask

START = "from wayra.cli.entry import main; import sys; sys.exit(main())"
END_S = 120


@dataclass(frozen=True, slots=True)
class Now:
    """What the engine does, as /metrics says. steps: completed so far."""

    running: int
    waiting: int
    kv_usage: float
    steps: int

    @property
    def is_idle(self) -> bool:
        return self.running == 0 == self.waiting and self.kv_usage == 0


class ServerProcess:
    """args: after `wayra serve`. started_s: from the start of the process to its greeting."""

    def __init__(self, args: Sequence[str], environ: Mapping[str, str] | None = None, port: int = 0) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by __exit__)
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, "serve", "--port", str(port), "--quiet", *args],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, **(environ or {})},
        )
        assert self.process.stdout is not None
        greeting = self.process.stdout.readline()
        self.started_s = time.perf_counter() - began
        found = re.search(r"http://([\d.]+):(\d+)", greeting)
        if found is None:
            self.kill()
            raise SystemExit(f"the server did not start: {greeting!r} {self.log()!r}")
        self.address = Address(found[1], int(found[2]))

    @property
    def pid(self) -> int:
        return self.process.pid

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def bugs(self) -> list[str]:
        """What the server itself calls a bug or a failure, from its log. A 503 is none: it says what is so."""
        found: list[str] = []
        for line in self.log().splitlines():
            try:
                entry: dict[str, Any] = json.loads(line)
            except ValueError:
                continue
            if entry.get("event") in ("bug", "engine_failed", "error") or entry.get("status", 0) == 500:
                found.append(line)
        return found

    def signal(self, sig: int) -> None:
        self.process.send_signal(sig)

    def kill(self) -> None:
        """As the kernel would: at once."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(END_S)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def stop(self) -> int:
        """By SIGTERM; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(END_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
        self._log.close()

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def num_threads(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def resident_mb(self) -> float:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def family_resident_mb(self) -> float:
        """Of the process and its children (the renderer of templates)."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        pages = 0
        for pid in (str(self.pid), *children):
            try:
                pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            except OSError:
                continue
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    async def metric(self, name: str) -> float:
        """The sum over all labels."""
        return metric_of((await ask(self.address, "GET", "/metrics")).body.decode(), name)

    async def now(self) -> Now:
        return now_of((await ask(self.address, "GET", "/metrics")).body.decode())

    async def is_ready(self) -> bool:
        """Whether it takes requests; False also when nobody listens."""
        try:
            return (await ask(self.address, "GET", "/ready", limit_s=5)).status == 200
        except (OSError, EOFError, TimeoutError):
            return False


def metric_of(text: str, name: str) -> float:
    """The sum over all labels. Raises KeyError without such a metric."""
    values = re.findall(rf"^{re.escape(name)}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
    if not values:
        raise KeyError(name)
    return sum(map(float, values))


def now_of(text: str) -> Now:
    return Now(
        int(metric_of(text, "vllm:num_requests_running")),
        int(metric_of(text, "vllm:num_requests_waiting")),
        metric_of(text, "vllm:kv_cache_usage_perc"),
        int(metric_of(text, "wayra:engine_steps_total")),
    )
