"""The sandbox holds: each way out is tried for real, each limit is reached, and nothing outlives its program."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from escape_attempts import ESCAPES

import wayra
from wayra.base.errors import BackendError, InvalidParameter
from wayra.lab.sandbox import Availability, Limits, require_sandbox, run, run_python, sandbox_available, seccomp

AVAILABLE = sandbox_available()
needs_sandbox = pytest.mark.skipif(not AVAILABLE.is_available, reason=f"no sandbox here: {AVAILABLE.reason}")
QUICK = Limits(wall_s=20.0)


@needs_sandbox
@pytest.mark.parametrize("attempt", ESCAPES)
def test_attempt_to_escape_fails(attempt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "SECRET of the caller")
    with open(os.devnull) as held, socket.socket(socket.AF_UNIX) as listening:
        os.set_inheritable(held.fileno(), True)
        with contextlib.suppress(OSError):  # another run of these tests has it
            listening.bind("\0wayra-escape")
            listening.listen()
        verdict = run_python(ESCAPES[attempt], limits=QUICK)
    assert verdict.status in {"passed", "failed"}, verdict
    assert "ESCAPED" not in verdict.stdout
    assert "SyntaxError" not in verdict.stderr


@needs_sandbox
def test_program_that_ends_well_has_passed_and_its_words_are_kept() -> None:
    source = "import sys, numpy\nprint('sum', int(numpy.arange(5).sum()))\nprint('grüße', file=sys.stderr)"
    verdict = run_python(source, limits=QUICK)
    assert (verdict.status, verdict.exit_code, verdict.stdout) == ("passed", 0, "sum 10\n")
    assert verdict.stderr == "grüße\n"
    assert verdict.why == ""


@needs_sandbox
@pytest.mark.parametrize(
    ("source", "exit_code", "why"),
    [
        ("raise ValueError('no such thing')", 1, "ValueError: no such thing"),
        ("exit(3)", 3, "it ended with exit code 3"),
        ("import os; os.abort()", -6, "it ended with signal 6"),
        ("def f(:", 1, "SyntaxError: invalid syntax"),
        ("\0", 1, "SyntaxError: source code cannot contain null bytes"),
    ],
)
def test_program_that_fails_says_how(source: str, exit_code: int, why: str) -> None:
    verdict = run_python(source, limits=QUICK)
    assert (verdict.status, verdict.exit_code) == ("failed", exit_code)
    assert verdict.why.startswith(why) or "null bytes" in verdict.why


@needs_sandbox
def test_files_lie_beside_the_program_which_may_write_there_only() -> None:
    source = (
        "import helper, pathlib, os\nprint(helper.double(21), pathlib.Path('data/in.txt').read_text())\n"
        "pathlib.Path('out.txt').write_text('x' * 1000)\npathlib.Path('data/more').write_text('y')\nprint(os.getcwd())"
    )
    files = {"helper.py": b"def double(x):\n    return 2 * x\n", "data/in.txt": b"seven"}
    verdict = run_python(source, limits=QUICK, files=files)
    assert verdict.stdout.splitlines() == ["42 seven", "/tmp"], verdict
    assert not Path("/tmp/out.txt").exists()


@needs_sandbox
def test_nothing_of_one_program_is_left_for_the_next() -> None:
    run_python("open('left', 'w').write('x')", limits=QUICK)
    verdict = run_python("import os; print(sorted(os.listdir('/tmp')))", limits=QUICK)
    assert verdict.stdout == "['program.py']\n"


@pytest.mark.parametrize("name", ["../x", "/etc/x", "", ".", "a/../../x", "program.py", "x\0y"])
def test_file_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(InvalidParameter):
        run_python("", files={name: b""})


@needs_sandbox
@pytest.mark.parametrize(
    ("source", "limits", "status"),
    [
        ("while True: pass", Limits(wall_s=1.0), "timeout"),
        ("import time; time.sleep(60)", Limits(wall_s=1.0), "timeout"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", Limits(wall_s=1.0), "timeout"),
        ("while True: pass", Limits(wall_s=60.0, cpu_s=1), "timeout"),
        ("import signal\nfor n in range(1, 32):\n    try: signal.signal(n, signal.SIG_IGN)\n    except OSError: pass\n"
         "while True: pass", Limits(wall_s=1.0), "timeout"),
        ("x = bytearray(10**9)", Limits(memory_bytes=256 * 2**20, wall_s=30), "memory"),
        ("x = []\nwhile True: x.append('y' * 10**6)", Limits(memory_bytes=256 * 2**20, wall_s=30), "memory"),
        ("while True: print('x' * 10000)", Limits(output_bytes=10**5, wall_s=30), "output"),
        ("import sys\nwhile True: sys.stderr.write('x' * 10000)", Limits(output_bytes=10**5, wall_s=30), "output"),
        ("def f(): f()\nf()", QUICK, "failed"),
        ("open('big', 'wb').write(bytes(64 * 2**20))", QUICK, "failed"),
        ("open('big', 'wb').truncate(2**40)", QUICK, "failed"),
        ("for n in range(100): open(f'f{n}', 'wb').write(bytes(2**20))", QUICK, "failed"),
        ("for n in range(5000): open(f'f{n}', 'w')", QUICK, "failed"),
        ("files = [open('/dev/null') for _ in range(100)]", QUICK, "failed"),
    ],
)  # fmt: skip
def test_program_that_takes_too_much_is_ended(source: str, limits: Limits, status: str) -> None:
    verdict = run_python(source, limits=limits)
    assert verdict.status == status, verdict
    assert verdict.why
    assert len(verdict.stdout) <= limits.output_bytes


@needs_sandbox
def test_memory_of_many_processes_is_counted_together() -> None:
    source = (
        "import os, time\nfor _ in range(8):\n    if os.fork() == 0:\n        x = bytearray(60 * 2**20)\n"
        "        for i in range(0, len(x), 4096): x[i] = 1\n        time.sleep(60)\ntime.sleep(60)"
    )
    verdict = run_python(source, limits=Limits(memory_bytes=256 * 2**20, wall_s=30.0))
    assert verdict.status == "memory", verdict


@needs_sandbox
def test_shared_memory_of_many_processes_is_counted_too() -> None:
    """No process's own memory nor any file's: the kernel keeps it apart from both."""
    source = (
        "import mmap, os, time\nfor _ in range(8):\n    if os.fork() == 0:\n        m = mmap.mmap(-1, 60 * 2**20)\n"
        "        for i in range(0, len(m), 4096): m[i] = 1\n        time.sleep(60)\ntime.sleep(60)"
    )
    verdict = run_python(source, limits=Limits(memory_bytes=256 * 2**20, wall_s=30.0))
    assert verdict.status == "memory", verdict


@needs_sandbox
def test_fork_bomb_stays_small_and_leaves_nobody_behind() -> None:
    source = (
        "import os\nwhile True:\n    try: os.fork()\n    except BlockingIOError:\n"
        "        print('full', flush=True)\n        import time; time.sleep(60)"
    )
    verdict = run_python(source, limits=Limits(wall_s=3.0, max_processes=16))
    assert verdict.status == "timeout"
    assert 1 <= verdict.stdout.count("full") <= 16


@needs_sandbox
def test_children_left_behind_end_with_the_program() -> None:
    source = (
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        "        time.sleep(600)\n    os._exit(0)\nprint('left')"
    )
    started_s = time.monotonic()
    verdict = run_python(source, limits=Limits(wall_s=60.0))
    assert (verdict.status, verdict.stdout) == ("passed", "left\n")
    assert time.monotonic() - started_s < 50.0


@needs_sandbox
def test_processes_end_when_their_caller_is_killed(tmp_path: Path) -> None:
    marker = "wayra-orphan-check"
    code = (
        "import sys; from wayra.lab.sandbox import run_python, Limits; print('go', flush=True); "
        f"run_python('import time\\nx = \"{marker}\"\\ntime.sleep(600)', limits=Limits(wall_s=500.0))"
    )
    caller = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": str(Path(wayra.__file__).parent.parent)},
    )
    with caller:
        assert caller.stdout is not None
        caller.stdout.readline()
        children = _wait_until(lambda: _descendants(caller.pid) if len(_descendants(caller.pid)) >= 3 else [])
        assert len(children) >= 3
        caller.kill()
    assert _wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            found += [child, *_descendants(child)]
    return found


def _wait_until(condition):
    for _ in range(600):
        try:
            if found := condition():
                return found
        except OSError:
            pass
        time.sleep(0.05)
    return condition()


ORDINARY_USER = "os.setgroups([]); os.setgid(65534); os.setuid(65534)"
ROOT_OF_A_CONTAINER = (
    "import ctypes; ctypes.CDLL(None).prctl(24, 21, 0, 0, 0)\n"  # Without CAP_SYS_ADMIN after the next exec.
    "if os.environ.setdefault('AGAIN', '') == '': os.environ['AGAIN'] = '1'; "
    "os.execv(sys.executable, [sys.executable, '-c', sys.argv[1], sys.argv[1]])"
)
RUN_ALL = """
import json
from wayra.lab.sandbox import Limits, run_python
for source in json.loads(sys.stdin.read()):
    verdict = run_python(source, limits=Limits(wall_s=20.0, max_processes=16))
    print(json.dumps([verdict.status, verdict.stdout, verdict.why]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@needs_sandbox
@pytest.mark.parametrize("become", [ORDINARY_USER, ROOT_OF_A_CONTAINER], ids=["ordinary user", "root of a container"])
def test_sandbox_made_without_the_rights_of_root_holds_too(become: str) -> None:
    attempts = [
        "read /etc/shadow", "write to the libraries", "make the libraries writable", "mount", "new user namespace",
        "inherited descriptors", "see processes", "kill all others", "become root", "read the keys of root",
    ]  # fmt: skip
    sources = [
        *(ESCAPES[name] for name in attempts),
        "import os\nwhile True: os.fork()",
        "import os; print(os.getuid())",
    ]
    code = f"import os, sys\n{become}\n{RUN_ALL}"
    with tempfile.TemporaryDirectory() as packages:
        _copy_to_where_everybody_reads(Path(packages))
        done = subprocess.run(
            [_reachable_python() if become == ORDINARY_USER else sys.executable, "-c", code, code],
            input=json.dumps(sources),
            capture_output=True,
            text=True,
            check=False,
            env={"PYTHONPATH": packages},
        )
    verdicts = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(verdicts) == len(sources), done.stderr
    if verdicts[-1][0] == "refused":
        pytest.skip(f"only root can make namespaces here: {verdicts[-1][2]}")
    assert not any("ESCAPED" in stdout for _, stdout, _ in verdicts)
    assert all(status in {"passed", "failed"} for status, _, _ in verdicts[:-2]), verdicts
    # The kernel does not count processes of the real root; the watcher does, and their memory together.
    assert verdicts[-2][0] in {"failed", "processes", "memory", "timeout"}
    assert verdicts[-1] == ["passed", "1000\n", ""]


def _copy_to_where_everybody_reads(packages: Path) -> None:
    """wayra itself may be installed where only root may look."""
    installed = Path(wayra.__file__).parent
    shutil.copytree(installed, packages / installed.name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    packages.chmod(0o755)


def _reachable_python() -> str:
    """One that an ordinary user can start: this one may lie in root's home."""
    for python in (sys.executable, "/usr/bin/python3"):
        tried = "import os, sys; os.setuid(65534); os.execv(sys.argv[1], [sys.argv[1], '-c', 'import datetime']) "
        if subprocess.run([sys.executable, "-c", tried, python], capture_output=True, check=False).returncode:
            continue
        version = subprocess.run([python, "-c", "import sys; print(sys.version_info >= (3, 11))"], capture_output=True)  # noqa: PLW1510
        if version.stdout.strip() == b"True":
            return python
    pytest.skip("no Python 3.11 that an ordinary user can start")


def test_without_namespaces_nothing_runs_and_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_unsupported", lambda: "programs are run in namespaces of Linux, and this is plan9")
    verdict = run_python("print('ran')")
    assert (verdict.status, verdict.stdout) == ("refused", "")
    assert "virtual machine" in verdict.why


def test_requirement_says_why_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_probe", lambda: Availability(False, "unshare: Operation not permitted", run.REMEDY))
    with pytest.raises(BackendError, match=r"not permitted; allow unprivileged user namespaces \(sysctl"):
        require_sandbox()


@pytest.mark.parametrize(
    "limits", [{"wall_s": 0.0}, {"memory_bytes": 1}, {"max_processes": 0}, {"wall_s": float("nan")}]
)
def test_limits_that_no_program_could_live_with_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(InvalidParameter, match=next(iter(limits))):
        Limits(**limits)  # type: ignore[arg-type]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_filter_denies_each_call_of_its_list_and_no_other(machine: str) -> None:
    steps = seccomp.filter_program(machine)
    denied = set(seccomp.denied_numbers(machine))
    for number in range(seccomp.LAST_KNOWN_CALL + 20):
        expected = seccomp.DENY | 1 if number in denied else seccomp.ALLOW
        if number == seccomp.CLONE3 or number > seccomp.LAST_KNOWN_CALL:
            expected = seccomp.DENY | 38
        first = 1 if number in (seccomp.SOCKET[machine], seccomp.SOCKETPAIR[machine]) else 0
        assert _judge(steps, seccomp.ARCHITECTURES[machine], number, first, 0) == expected, number
    assert _judge(steps, 0x40000003, 1, 0, 0) == seccomp.KILL
    clone, socket, ioctl = seccomp.CLONE[machine], seccomp.SOCKET[machine], seccomp.IOCTL[machine]
    for namespace in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x80):
        assert _judge(steps, seccomp.ARCHITECTURES[machine], clone, namespace | 17, 0) == seccomp.DENY | 1
    assert _judge(steps, seccomp.ARCHITECTURES[machine], clone, 0x3D0F00, 0) == seccomp.ALLOW
    for call in (socket, seccomp.SOCKETPAIR[machine]):
        assert _judge(steps, seccomp.ARCHITECTURES[machine], call, 2, 0) == seccomp.DENY | 1
    assert _judge(steps, seccomp.ARCHITECTURES[machine], ioctl, 0, 0x5412) == seccomp.DENY | 1
    assert _judge(steps, seccomp.ARCHITECTURES[machine], ioctl, 0, 0x5401) == seccomp.ALLOW


def _judge(program: bytes, architecture: int, number: int, first: int, second: int) -> int:
    """What the kernel would return: an interpreter of the six instructions that the filter is made of."""
    import struct

    loaded = {0: number, 4: architecture, 16: first, 24: second}
    steps = list(struct.iter_unpack("=HBBI", program))
    place, held = 0, 0
    while True:
        code, if_true, if_false, operand = steps[place]
        place += 1
        if code == seccomp.RETURN:
            return operand
        if code == seccomp.LOAD:
            held = loaded[operand]
        else:
            tests = {seccomp.EQUAL: held == operand, seccomp.AT_LEAST: held >= operand, seccomp.ANY_BIT: held & operand}
            place += if_true if tests[code] else if_false
