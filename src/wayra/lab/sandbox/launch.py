"""The process that makes a sandbox, starts the program in it and watches it. Runs by itself, without site packages.

Three processes: this one stays outside and watches; the first one of the new namespaces does nothing but wait, so that
all end when it ends; the third becomes the program. Reads its orders as JSON from standard input, and writes one JSON
line about the end to the descriptor it is told.
"""

import base64
import contextlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any, NoReturn

from wayra.lab.sandbox import kernel, root, seccomp

NOBODY = 65534
INNER_ID = 1000
WATCH_INTERVAL_S = 0.02
NAMESPACES = (
    kernel.CLONE_NEWPID | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS | kernel.CLONE_NEWCGROUP
)
PROGRAM = "program.py"
STEP_OF_REFUSAL = "namespaces"


def main() -> NoReturn:
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    order = json.load(sys.stdin)
    report = int(sys.argv[1])
    try:
        is_root = _enter_namespaces()
    except OSError as error:
        _tell(report, {"refused": str(error), "step": STEP_OF_REFUSAL})
        os._exit(0)
    # Kept away from the handlers so that waiting for a child can have a time limit.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    first = os.fork()
    if first == 0:
        _first_process(order, report, is_root)
    ended = _watch(first, order["limits"])
    if ended:
        _tell(report, {"ended": ended})
    os._exit(0)


def _tell(report: int, what: Mapping[str, object]) -> None:
    os.write(report, json.dumps(what).encode() + b"\n")


def _enter_namespaces() -> bool:
    """Whether as the real root, who needs no user namespace to make the others and gives up being root later."""
    if os.geteuid() == 0:
        try:
            kernel.unshare(NAMESPACES)
            return True
        except OSError:
            pass
    user, group = os.geteuid(), os.getegid()
    kernel.unshare(kernel.CLONE_NEWUSER | NAMESPACES)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{INNER_ID} {user} 1"),
        ("gid_map", f"{INNER_ID} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)
    return False


def _first_process(order: dict[str, Any], report: int, is_root: bool) -> NoReturn:
    """Process 1 of the sandbox: builds it, locks itself in, starts the program, waits for it."""
    try:
        _build(order, is_root)
        _give_up_rights(is_root)
        _set_limits(order["limits"])
        seccomp.deny_calls()
        for name in (signal.SIGINT, signal.SIGPIPE):
            signal.signal(name, signal.SIG_DFL)
        started = os.fork()
    except (OSError, ValueError, KeyError, StopIteration) as error:
        _tell(report, {"refused": str(error), "step": "confinement"})
        os._exit(0)
    if started == 0:
        _become_program(order)
    os.closerange(0, report)
    while True:
        pid, status, used = os.wait4(-1, 0)
        if pid == started:
            break
    _tell(
        report,
        {"exit": os.waitstatus_to_exitcode(status), "cpu_s": used.ru_utime + used.ru_stime},
    )
    os._exit(0)


def _build(order: dict[str, Any], is_root: bool) -> None:
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.umask(0o022)
    files = {name: base64.b64decode(content) for name, content in order["files"].items()}
    files[PROGRAM] = base64.b64decode(order["source"])
    owner = NOBODY if is_root else os.geteuid()
    root.build(order["packages"], files, order["limits"]["disk_bytes"], owner)
    import socket

    socket.sethostname("sandbox")


def _give_up_rights(is_root: bool) -> None:
    if is_root:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        with contextlib.suppress(OSError):
            # A second wall, with limits of its own: processes of other sandboxes do not count against this one.
            kernel.unshare(kernel.CLONE_NEWUSER)
    kernel.drop_capabilities()
    # Changing who one is has cleared it.
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)


def _set_limits(limits: Mapping[str, Any]) -> None:
    for which, value in (
        (resource.RLIMIT_AS, limits["memory_bytes"]),
        (resource.RLIMIT_NPROC, limits["max_processes"]),
        (resource.RLIMIT_FSIZE, limits["disk_bytes"]),
        (resource.RLIMIT_NOFILE, limits["max_files"]),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_RTPRIO, 0),
        (resource.RLIMIT_NICE, 0),
    ):
        hard = resource.getrlimit(which)[1]
        least = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (least, least))
    # The signal of the soft limit tells what it was; who ignores it is killed a second later.
    resource.setrlimit(resource.RLIMIT_CPU, (limits["cpu_s"], limits["cpu_s"] + 1))


def _become_program(order: dict[str, Any]) -> NoReturn:
    os.setsid()
    nothing = os.open("/dev/null", os.O_RDONLY)
    os.dup2(nothing, 0)
    os.closerange(3, 65536)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    os.chdir(root.WORK)
    environment = {
        "HOME": root.WORK, "LANG": "C.UTF-8", "PATH": "", "PYTHONPATH": root.PACKAGES, "PYTHONUTF8": "1", "TZ": "UTC",
        "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    interpreter = order["python"]
    os.execve(interpreter, [interpreter, "-s", f"{root.WORK}/{PROGRAM}"], environment)


def _watch(first: int, limits: Mapping[str, Any]) -> str | None:
    """Wait for the sandbox to end, or end it; why, in a word, when it was ended."""
    deadline_s = time.monotonic() + limits["wall_s"]
    ended = None
    while True:
        if os.waitpid(first, os.WNOHANG)[0]:
            return ended
        if ended is None:
            memory_bytes, processes = _usage(first)
            if time.monotonic() >= deadline_s:
                ended = "timeout"
            elif memory_bytes > limits["memory_bytes"]:
                ended = "memory"
            elif processes > 2 * limits["max_processes"]:
                ended = "processes"
            if ended:
                os.kill(first, signal.SIGKILL)
        signal.sigtimedwait({signal.SIGCHLD}, WATCH_INTERVAL_S)


def _usage(first: int) -> tuple[int, int]:
    """Memory of all processes of the sandbox together, and how many there are.

    What maps no file counts, shared memory too: in each process that has it.
    """
    held_kb, waiting, seen = 0, [first], 0
    while waiting:
        pid = waiting.pop()
        try:
            with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
                held_kb += sum(int(line.split()[1]) for line in file if line.startswith(("RssAnon:", "RssShmem:")))
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                    waiting += map(int, file.read().split())
        except (OSError, ValueError):
            continue
        seen += 1
    return held_kb * 1024, seen
