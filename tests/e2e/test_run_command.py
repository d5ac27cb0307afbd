"""The command as a person meets it: a process of its own, the real model, the native backend."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-c", "from wayra.cli.entry import main; import sys; sys.exit(main())"]
WAIT_S = 120


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    cache = tmp_path_factory.mktemp("cache")
    return {**os.environ, "WAYRA_CACHE": str(cache), "PYTHONPATH": os.pathsep.join(sys.path)}


def wayra(environment: Mapping[str, str], *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *args],
        input=stdin,
        capture_output=True,
        text=True,
        env=dict(environment),
        check=False,
        timeout=WAIT_S,
    )


def start(environment: Mapping[str, str], *args: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(environment),
        start_new_session=True,
    )


def test_the_real_model_knows_the_capital_of_france(environment: dict[str, str], smollm2_path: Path) -> None:
    done = wayra(environment, "run", "-m", str(smollm2_path), "--raw", "--max-tokens", "4", "The capital of France is")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Paris" in done.stdout


def test_a_warm_start_gives_the_same_answer_as_a_cold_one(environment: dict[str, str], smollm2_path: Path) -> None:
    cold_cache = {**environment, "WAYRA_CACHE": environment["WAYRA_CACHE"] + "-cold"}
    args = ["run", "-m", str(smollm2_path), "--json", "--max-tokens", "24", "Name three rivers."]
    cold, warm = json.loads(wayra(cold_cache, *args).stdout), json.loads(wayra(cold_cache, *args).stdout)
    assert cold["text"] == warm["text"]
    assert len(list(Path(cold_cache["WAYRA_CACHE"], "tokenizers").iterdir())) == 1
    assert len(list(Path(cold_cache["WAYRA_CACHE"], "packed").glob("*"))) >= 1


def test_the_answer_does_not_depend_on_the_number_of_threads(environment: dict[str, str], smollm2_path: Path) -> None:
    args = ["run", "-m", str(smollm2_path), "--max-tokens", "32", "Why is the sky blue?"]
    assert wayra(environment, *args, "--threads", "1").stdout == wayra(environment, *args, "--threads", "2").stdout


def test_a_cache_that_cannot_be_used_does_not_keep_it_from_answering(
    environment: dict[str, str], smollm2_path: Path, tmp_path: Path
) -> None:
    blocked = tmp_path / "a-file"
    blocked.write_text("not a folder")
    done = wayra(
        {**environment, "WAYRA_CACHE": str(blocked / "cache")},
        "run",
        "-m",
        str(smollm2_path),
        "--max-tokens",
        "4",
        "Hi",
    )
    assert done.returncode == 0
    assert done.stdout.strip()
    assert "Traceback" not in done.stderr


def test_ctrl_c_while_answering_ends_the_line_with_130_and_no_traceback(
    environment: dict[str, str], smollm2_path: Path
) -> None:
    process = start(environment, "run", "-m", str(smollm2_path), "Tell me a very long story about a king.")
    assert process.stdout is not None
    first = os.read(process.stdout.fileno(), 1)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert (first + out).endswith(b"\n")
    assert err == b""


@pytest.mark.parametrize("delay_s", [0.0, 0.1, 0.3, 0.6])
def test_ctrl_c_at_any_moment_of_the_start_leaves_no_traceback(
    environment: dict[str, str], smollm2_path: Path, delay_s: float
) -> None:
    process = start(environment, "run", "-m", str(smollm2_path), "--backend", "numpy", "Tell me a very long story.")
    wait_for_our_code(process)
    time.sleep(delay_s)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert b"Traceback" not in err


def wait_for_our_code(process: subprocess.Popen[bytes]) -> None:
    """Until it loads NumPy: before that, Ctrl-C meets the interpreter's own start, which nobody can make silent."""
    maps = Path(f"/proc/{process.pid}/maps")
    deadline = time.monotonic() + WAIT_S
    while "_multiarray_umath" not in maps.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_reader_that_goes_away_ends_the_command_quietly(environment: dict[str, str], smollm2_path: Path) -> None:
    process = start(environment, "run", "-m", str(smollm2_path), "Tell me a very long story.")
    assert process.stdout is not None
    assert process.stderr is not None
    os.read(process.stdout.fileno(), 1)
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=WAIT_S) == 141
    assert err == b""


def test_perplexity_of_english_is_far_below_that_of_shuffled_words(
    environment: dict[str, str], smollm2_path: Path
) -> None:
    text = (
        "The sun rises in the east and sets in the west. Water boils at one hundred degrees. Birds build their nests "
        "in spring, and the leaves fall from the trees in autumn. A week has seven days, and a year has twelve months."
    )
    shuffled = " ".join(sorted(text.split()))
    args = ["perplexity", "-m", str(smollm2_path), "--context", "32", "--stride", "16", "--json", "-"]
    sound, mixed = (json.loads(wayra(environment, *args, stdin=t).stdout)["perplexity"] for t in (text, shuffled))
    assert 1 < sound < 40
    assert mixed > 3 * sound


def test_info_tells_which_instruction_set_was_chosen_and_why(environment: dict[str, str]) -> None:
    native = json.loads(wayra(environment, "info", "--json").stdout)["backends"]["native"]
    assert native["available"] is True
    assert native["isa"]
    assert native["isa_reason"]
    assert native["threads"] >= 1


def test_info_shows_what_the_environment_forces(environment: dict[str, str]) -> None:
    forced = {**environment, "WAYRA_ISA": "portable", "WAYRA_THREADS": "1"}
    native = json.loads(wayra(forced, "info", "--json").stdout)["backends"]["native"]
    assert (native["isa"], native["isa_reason"]) == ("portable", "asked for")
    assert (native["threads"], native["threads_reason"]) == (1, "asked for")


def test_info_says_that_a_forced_instruction_set_cannot_run(environment: dict[str, str]) -> None:
    native = json.loads(wayra({**environment, "WAYRA_ISA": "sse9"}, "info", "--json").stdout)["backends"]["native"]
    assert native["available"] is False
    assert "'sse9' is not available here" in native["reason"]
