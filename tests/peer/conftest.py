"""llama.cpp in a process of its own, beside wayra on the same file: what every test of this folder compares with."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
THREADS = 2
CONTEXT_LEN = 1024

sys.path.insert(0, str(BENCHMARKS))

from measuring.float_copy import write_float_copy  # noqa: E402
from measuring.pipe import Worker  # noqa: E402


@pytest.fixture(scope="session")
def peer_python(request: pytest.FixtureRequest) -> str:
    """The interpreter that can import llama_cpp; without one the test is skipped, and says what would run it."""
    python: str = request.config.getoption("--peer-python") or sys.executable
    try:
        done = subprocess.run([python, "-c", "import llama_cpp"], capture_output=True, check=False)
    except OSError as error:
        raise pytest.UsageError(f"--peer-python {python}: {error.strerror}") from error
    if done.returncode:
        pytest.skip(f"{python} cannot import llama_cpp; give one that can with --peer-python PATH")
    return python


@pytest.fixture(scope="session")
def peer(peer_python: str, smollm2_path: Path) -> Iterator[Worker]:
    config = {"path": str(smollm2_path), "threads": THREADS, "context_len": CONTEXT_LEN}
    with Worker(peer_python, "llamacpp", config) as worker:
        yield worker


@pytest.fixture(scope="session")
def other_build(request: pytest.FixtureRequest, peer_python: str, smollm2_path: Path) -> Iterator[Worker]:
    """The same llama.cpp compiled for another instruction set."""
    folder = request.config.getoption("--peer-library")
    if not folder:
        pytest.skip("no second build of llama.cpp; give its folder of shared libraries with --peer-library")
    config = {"path": str(smollm2_path), "threads": THREADS, "context_len": CONTEXT_LEN}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLAMA_CPP_LIB_PATH", str(folder))
        worker = Worker(peer_python, "llamacpp", config)
    with worker:
        yield worker


@pytest.fixture(scope="session")
def float_path(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights as float32: both engines then compute in floats."""
    path = tmp_path_factory.mktemp("float") / "smollm2-f32.gguf"
    write_float_copy(smollm2_path, path)
    return path


@pytest.fixture(scope="session")
def float_peer(peer_python: str, float_path: Path) -> Iterator[Worker]:
    config = {"path": str(float_path), "threads": THREADS, "context_len": CONTEXT_LEN}
    with Worker(peer_python, "llamacpp", config) as worker:
        yield worker
