"""Fixtures and options every test may use: the real default model, the number of fuzz cases, markers by folder.

Nothing here may need torch, a model hub or a GPU.
"""

import gc
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from wayra.base.settings import from_environment
from wayra.weights.sources import resolve

DEFAULT_FUZZ_CASES = 100
MARKER_OF_FOLDER = {"e2e": "e2e", "parity": "parity"}
TESTS = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fuzz-cases",
        type=int,
        default=DEFAULT_FUZZ_CASES,
        metavar="N",
        help=f"cases per fuzz or property test (default {DEFAULT_FUZZ_CASES}, the same ones every time; "
        "any other number draws new ones)",
    )
    parser.addoption(
        "--peer-python",
        metavar="PATH",
        help="the Python that can import llama_cpp, for -m peer (default: the one that runs the tests)",
    )
    parser.addoption(
        "--peer-library",
        default=None,
        help="folder of the shared libraries of the same llama.cpp built for another instruction set, for -m peer",
    )


def pytest_configure(config: pytest.Config) -> None:
    # Started by a script's `&` or by nohup, Ctrl-C is switched off here, and would be in every command under test.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    cases = config.getoption("--fuzz-cases")
    if cases < 1:
        raise pytest.UsageError(f"--fuzz-cases is {cases}, expected at least 1")
    # No deadline: shared machines make single cases slow, and a slow case is not a wrong one.
    hypothesis_settings.register_profile(
        "wayra",
        max_examples=cases,
        deadline=None,
        derandomize=cases == DEFAULT_FUZZ_CASES,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    hypothesis_settings.load_profile("wayra")


def pytest_sessionfinish() -> None:
    # Commands that ran in this process froze what was there; at the end it is garbage like everything else.
    gc.unfreeze()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave unread what was not asked for and imports what the default run need not have: torch, schemathesis."""
    expression: str = config.option.markexpr
    if collection_path == TESTS / "parity" and "not parity" in expression:
        return True
    if collection_path == TESTS / "server" / "fuzz" and ("not api_fuzz" in expression or "api_fuzz" not in expression):
        return True
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(TESTS):
            folder = item.path.relative_to(TESTS).parts[0]
            if folder in MARKER_OF_FOLDER:
                item.add_marker(MARKER_OF_FOLDER[folder])
        if _is_fuzz(item):
            item.add_marker("fuzz")


def _is_fuzz(item: pytest.Item) -> bool:
    if not isinstance(item, pytest.Function):
        return False
    return "fuzz_cases" in item.fixturenames or getattr(item.obj, "is_hypothesis_test", False)


@pytest.fixture(scope="session")
def fuzz_cases(request: pytest.FixtureRequest) -> int:
    """How many cases a hand-written fuzz loop should try."""
    cases: int = request.config.getoption("--fuzz-cases")
    return cases


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    """The real SmolLM2-135M-Instruct Q4_1 GGUF, fetched once into wayra's cache by wayra's own source."""
    return resolve("smollm2", from_environment()).path
