"""Starts a program in the sandbox from the outside, collects what it prints and tells how it ended."""

import base64
import functools
import importlib.util
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import wayra
from wayra.base.errors import BackendError, InvalidParameter
from wayra.lab.sandbox.verdict import Availability, Limits, Verdict

MACHINES = ("x86_64", "aarch64")
GRACE_S = 5.0
"""Beyond the wall time, for making the sandbox and for the watcher to end it."""
MAX_WHY_CHARS = 500
START = "import sys; sys.path.append(sys.argv[2]); from wayra.lab.sandbox.launch import main; main()"
REMEDY = (
    "allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1 on Debian, "
    "kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu, user.max_user_namespaces above 0), or, in a container, "
    "start it with --privileged or with --cap-add SYS_ADMIN --security-opt seccomp=unconfined"
)


def run_python(source: str, *, limits: Limits | None = None, files: Mapping[str, bytes] | None = None) -> Verdict:
    """Run a program with the standard library and NumPy; nothing of it is left when this returns.

    files: name -> content, beside the program in its working folder, the one place where it can write.
    The verdict is "refused" when no sandbox can be made; the program is then not run at all. Raises InvalidParameter
    on a file name that leads elsewhere. Blocks up to limits.wall_s and a little more; safe to call from many threads.
    """
    reason = _unsupported()
    if reason:
        return Verdict("refused", why=f"{reason}; {_remedy()}")
    chosen = limits or Limits()
    order = {
        "source": base64.b64encode(source.encode("utf-8", errors="surrogatepass")).decode(),
        "files": {_safe(name): base64.b64encode(content).decode() for name, content in (files or {}).items()},
        "limits": asdict(chosen),
        "packages": _packages(),
        "python": os.path.realpath(sys.executable),
    }
    started_s = time.perf_counter()
    ended = _launch(json.dumps(order).encode(), chosen)
    return _verdict(ended, time.perf_counter() - started_s, chosen)


def sandbox_available() -> Availability:
    """By running an empty program, once."""
    return _probe()


def require_sandbox() -> None:
    """Raises BackendError saying why there is none and what to do."""
    found = sandbox_available()
    if not found.is_available:
        raise BackendError(f"no sandbox can be made here: {found.reason}; {found.remedy}")


@functools.cache
def _probe() -> Availability:
    verdict = run_python("print('ready')")
    if verdict.ok and verdict.stdout.strip() == "ready":
        return Availability(True)
    return Availability(False, verdict.why.partition("; ")[0] or "it gave no answer", _remedy())


def _unsupported() -> str:
    if not sys.platform.startswith("linux"):
        return f"programs are run in namespaces of Linux, and this is {sys.platform}"
    if os.uname().machine not in MACHINES:
        return f"the sandbox knows the system calls of {' and '.join(MACHINES)}, and this is {os.uname().machine}"
    return ""


def _remedy() -> str:
    return "run it on Linux, in a virtual machine or a container" if _unsupported() else REMEDY


def _safe(name: str) -> str:
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\0" in name or str(path) in (".", "program.py"):
        raise InvalidParameter(
            f"a file of a sandboxed program is named {name[:80]!r}; expected a name inside its folder"
        )
    return str(path)


@functools.cache
def _packages() -> list[str]:
    """Folders to be importable inside: NumPy, which wayra itself needs."""
    found = importlib.util.find_spec("numpy")
    if found is None or found.origin is None:
        return []
    folder = os.path.dirname(os.path.realpath(found.origin))
    return [path for path in (folder, f"{folder}.libs") if os.path.isdir(path)]


@dataclass(slots=True)
class _Ended:
    """What came out of the launcher. events: its lines about the end. is_late: it had to be killed."""

    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    events: bytearray = field(default_factory=bytearray)
    is_late: bool = False
    is_flooded: bool = False


def _launch(order: bytes, limits: Limits) -> _Ended:
    told, report = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", "-c", START, str(report), str(Path(wayra.__file__).parent.parent)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(report,),
            env={},
            cwd="/",
        )
    except OSError:
        os.close(told)
        raise
    finally:
        os.close(report)
    with process, open(told, "rb", buffering=0) as events:
        try:
            _feed(process, order)
            return _collect(process, events, limits)
        finally:
            process.kill()


def _feed(process: subprocess.Popen[bytes], order: bytes) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(order)
        process.stdin.close()
    except BrokenPipeError:
        # It ended before it read its order; its last words tell why.
        pass


def _collect(process: subprocess.Popen[bytes], events: Any, limits: Limits) -> _Ended:
    ended = _Ended()
    deadline_s = time.monotonic() + limits.wall_s + GRACE_S
    with selectors.DefaultSelector() as selector:
        assert process.stdout is not None
        assert process.stderr is not None
        for source, into in ((process.stdout, ended.stdout), (process.stderr, ended.stderr), (events, ended.events)):
            selector.register(source, selectors.EVENT_READ, into)
        while selector.get_map():
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                ended.is_late = True
                return ended
            for key, _ in selector.select(left_s):
                content = os.read(key.fd, 65536)
                if not content:
                    selector.unregister(key.fileobj)
                    continue
                key.data.extend(content)
                if len(key.data) > limits.output_bytes:
                    del key.data[limits.output_bytes :]
                    ended.is_flooded = True
                    return ended
    return ended


def _verdict(ended: _Ended, seconds: float, limits: Limits) -> Verdict:
    stdout, stderr = (bytes(found).decode("utf-8", errors="replace") for found in (ended.stdout, ended.stderr))
    events: dict[str, Any] = {}
    for line in bytes(ended.events).splitlines():
        events |= json.loads(line)
    code: int | None = events.get("exit")
    if "refused" in events:
        return Verdict("refused", seconds=seconds, why=f"{events['refused']}; {_remedy()}")
    if ended.is_flooded:
        return Verdict("output", stdout, stderr, seconds, None, f"it printed more than {limits.output_bytes:,} bytes")
    reasons = {
        "timeout": f"it ran longer than {limits.wall_s:g} s",
        "memory": f"it used more than {limits.memory_bytes:,} bytes of memory",
        "processes": f"it started more than {limits.max_processes} processes",
    }
    why = "timeout" if ended.is_late else events.get("ended")
    if code is None and why in reasons:
        return Verdict(why, stdout, stderr, seconds, None, reasons[why])
    if code is None:
        last = stderr.strip().rpartition("\n")[2] or "its watcher ended without a word"
        return Verdict("refused", stdout, stderr, seconds, None, f"the sandbox broke: {last[-MAX_WHY_CHARS:]}")
    if code == 0:
        return Verdict("passed", stdout, stderr, seconds, 0)
    if -code == signal.SIGXCPU or (-code == signal.SIGKILL and events["cpu_s"] >= limits.cpu_s):
        return Verdict("timeout", stdout, stderr, seconds, None, f"it computed longer than {limits.cpu_s} s")
    last = stderr.strip().rpartition("\n")[2][-MAX_WHY_CHARS:]
    if last.startswith("MemoryError") or last.endswith("MemoryError"):
        return Verdict("memory", stdout, stderr, seconds, code, reasons["memory"])
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return Verdict("failed", stdout, stderr, seconds, code, last or f"it ended with {how}")
