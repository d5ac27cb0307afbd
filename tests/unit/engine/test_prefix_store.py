"""Stored prefixes: what is read is what was written, and whatever is wrong on the disk is only ever a miss."""

import logging
import os
import random
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from wayra.engine import prefix_files
from wayra.engine.prefix_store import PrefixStore, clear, make_room, use_of

BLOCK_BYTES = 1000


def digests(count: int, seed: int = 0) -> list[bytes]:
    return [random.Random(seed * 1000 + i).randbytes(32) for i in range(count)]


def content(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, BLOCK_BYTES), dtype=np.uint8)


def open_store(root: Path, identity: str = "model", max_bytes: int = 1 << 30) -> PrefixStore:
    return PrefixStore(root, identity, BLOCK_BYTES, max_bytes)


def stored(root: Path, count: int = 6, seed: int = 0) -> Path:
    """Write one file; its path."""
    before = set(root.glob("*/*.kv"))
    store = open_store(root)
    store.write(digests(count, seed), content(count, seed))
    assert store.flush(10)
    store.close()
    (path,) = set(root.glob("*/*.kv")) - before
    return path


def test_another_store_reads_what_one_wrote(tmp_path: Path) -> None:
    stored(tmp_path)
    store = open_store(tmp_path)
    assert store.count(digests(8)) == 6
    assert store.count(digests(6)) == 6
    assert np.array_equal(store.read(digests(6)), content(6))
    assert np.array_equal(store.read(digests(6)[2:5]), content(6)[2:5])


def test_a_run_ends_where_the_chains_part(tmp_path: Path) -> None:
    stored(tmp_path)
    chain = digests(6)[:3] + digests(2, seed=9)
    store = open_store(tmp_path)
    assert store.count(chain) == 3
    assert np.array_equal(store.read(chain), content(6)[:3])
    assert len(store.read(digests(2, seed=9))) == 0


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    path = stored(tmp_path / "prefixes")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700


def test_another_model_finds_nothing(tmp_path: Path) -> None:
    path = stored(tmp_path)
    other = open_store(tmp_path, "other model")
    assert other.count(digests(6)) == 0
    # Not even when its file gets into the wrong folder.
    other.write(digests(1, seed=5), content(1, seed=5))
    assert other.flush(10)
    (folder,) = {p.parent for p in tmp_path.glob("*/*.kv")} - {path.parent}
    moved = folder / path.name
    path.rename(moved)
    assert other.count(digests(6)) == 0
    assert not moved.exists()


@pytest.mark.parametrize("position", [0, 8, 12, 16, 24, 60, 90, 300])
def test_a_flipped_bit_in_the_header_drops_the_file(tmp_path: Path, position: int) -> None:
    path = stored(tmp_path)
    flip(path, position)
    assert open_store(tmp_path).count(digests(6)) == 0
    assert not path.exists()


def test_a_flipped_bit_in_a_block_ends_the_run_before_it_and_drops_the_file(tmp_path: Path) -> None:
    rng = random.Random(3)
    for _ in range(30):
        path = stored(tmp_path)
        block = rng.randrange(6)
        flip(path, prefix_files.HEADER_BYTES + block * BLOCK_BYTES + rng.randrange(BLOCK_BYTES), rng.randrange(8))
        store = open_store(tmp_path)
        assert store.count(digests(6)) == 6
        assert np.array_equal(store.read(digests(6)), content(6)[:block])
        assert not path.exists()
        assert store.count(digests(6)) == 0


@pytest.mark.parametrize("size", [0, 1, 100, 4095, 4096, 5000, 10095])
def test_a_file_cut_short_is_dropped(tmp_path: Path, size: int) -> None:
    path = stored(tmp_path)
    os.truncate(path, size)
    assert open_store(tmp_path).count(digests(6)) == 0
    assert not path.exists()


def test_a_file_cut_short_after_it_was_listed_is_a_miss(tmp_path: Path) -> None:
    path = stored(tmp_path)
    store = open_store(tmp_path)
    assert store.count(digests(6)) == 6
    os.truncate(path, prefix_files.HEADER_BYTES + 2 * BLOCK_BYTES + 10)
    assert np.array_equal(store.read(digests(6)), content(6)[:2])
    assert not path.exists()


def test_a_file_another_process_deleted_is_a_miss(tmp_path: Path) -> None:
    path = stored(tmp_path)
    store = open_store(tmp_path)
    assert store.count(digests(6)) == 6
    path.unlink()
    assert len(store.read(digests(6))) == 0
    assert not store.holds(digests(6)[0])


def test_a_file_of_another_version_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stored(tmp_path)
    monkeypatch.setattr(prefix_files, "_VERSION", 2)
    assert open_store(tmp_path).count(digests(6)) == 0
    assert not path.exists()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    path = stored(tmp_path / "a")
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    assert open_store(tmp_path / "a").count(digests(6)) == 0
    assert elsewhere.exists()


def test_the_bound_holds_and_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    limit = 4 * (prefix_files.HEADER_BYTES + 6 * BLOCK_BYTES)
    paths = [stored(tmp_path, seed=seed) for seed in range(4)]
    for age, path in enumerate(paths):
        os.utime(path, (1000 + age, 1000 + age))
    store = open_store(tmp_path, max_bytes=limit)
    assert len(store.read([])) == 0
    assert store.count(digests(6)) == 6
    assert len(store.read(digests(6))) == 6  # which makes the oldest the newest
    for seed in (7, 8):
        store.write(digests(6, seed), content(6, seed))
        assert store.flush(10)
        assert use_of(tmp_path).size_bytes <= limit
    assert [path.exists() for path in paths] == [True, False, False, True]


def test_what_is_larger_than_the_bound_is_not_written(tmp_path: Path) -> None:
    store = open_store(tmp_path, max_bytes=9000)
    store.write(digests(6), content(6))
    assert store.flush(10)
    assert use_of(tmp_path).files == 0


def test_clear_leaves_nothing(tmp_path: Path) -> None:
    path = stored(tmp_path)
    (path.parent / ".partial-1-aa").write_bytes(b"x" * 10)
    assert clear(tmp_path) == prefix_files.HEADER_BYTES + 6 * BLOCK_BYTES + 10
    assert list(path.parent.iterdir()) == []
    assert clear(tmp_path / "absent") == 0


def test_what_a_killed_writer_left_goes_in_time(tmp_path: Path) -> None:
    path = stored(tmp_path)
    old, young = path.parent / ".partial-1-aa", path.parent / ".partial-2-bb"
    for partial in (old, young):
        partial.write_bytes(b"x")
    os.utime(old, (1000, 1000))
    make_room(tmp_path, 1 << 30)
    assert (old.exists(), young.exists(), path.exists()) == (False, True, True)


def test_a_folder_that_cannot_be_made_ends_writing_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "taken"
    root.write_text("a file")
    store = open_store(root)
    with caplog.at_level(logging.WARNING):
        for seed in range(3):
            store.write(digests(6, seed), content(6, seed))
        assert store.flush(10)
    assert len(caplog.records) == 1
    assert not store.has_room(1)
    assert store.count(digests(6)) == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_read_and_not_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = stored(tmp_path)
    path.parent.chmod(0o500)
    try:
        store = open_store(tmp_path)
        assert store.count(digests(6)) == 6
        assert np.array_equal(store.read(digests(6)), content(6))
        store.write(digests(2, 5), content(2, 5))
        assert store.flush(10)
        assert len(caplog.records) == 1
    finally:
        path.parent.chmod(0o700)


def test_closing_twice_and_writing_after_is_harmless(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.close()
    store.close()
    store.write(digests(6), content(6))
    assert use_of(tmp_path).files == 0


def flip(path: Path, position: int, bit: int = 0) -> None:
    changed = bytearray(path.read_bytes())
    changed[position] ^= 1 << bit
    path.write_bytes(changed)


Script = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Start a process that opens a store of the same folder and runs some lines."""

    def start(lines: str) -> "subprocess.Popen[str]":
        source = f"""
            import random, resource, sys, numpy as np
            from pathlib import Path
            from wayra.engine.prefix_store import PrefixStore
            def digests(count, seed=0):
                return [random.Random(seed * 1000 + i).randbytes(32) for i in range(count)]
            def content(count, seed=0):
                return np.random.default_rng(seed).integers(0, 256, (count, {BLOCK_BYTES}), dtype=np.uint8)
            store = PrefixStore(Path({str(tmp_path)!r}), "model", {BLOCK_BYTES}, 1 << 30)
        """
        program = textwrap.dedent(source) + textwrap.dedent(lines)
        return subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return start


def test_a_full_disk_ends_writing_and_leaves_no_part_of_a_file(tmp_path: Path, script: Script) -> None:
    process = script("""
        import signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))
        store.write(digests(6), content(6))
        print(store.flush(10), store.has_room(1))
    """)
    out, err = process.communicate(timeout=60)
    assert out.split() == ["True", "False"]
    assert err.count("prompts are no longer kept") == 1
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_writer_killed_at_any_moment_leaves_only_whole_files(tmp_path: Path, script: Script) -> None:
    process = script("""
        print("ready", flush=True)
        for seed in range(1 << 20):
            store.write(digests(6, seed), content(6, seed))
            store.flush(10)
    """)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    reader, num_seen = open_store(tmp_path), 0
    while num_seen < 5:
        num_seen = sum(reader.count(digests(6, seed)) == 6 for seed in range(5))
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    process.stdout.close()
    assert process.stderr is not None
    process.stderr.close()
    store = open_store(tmp_path)
    found = [seed for seed in range(use_of(tmp_path).files + 1) if store.count(digests(6, seed)) == 6]
    assert len(found) == use_of(tmp_path).files >= 5
    for seed in found:
        assert np.array_equal(store.read(digests(6, seed)), content(6, seed))


def test_two_processes_write_and_read_the_same_prefixes_at_once(tmp_path: Path, script: Script) -> None:
    lines = """
        for seed in range(40):
            store.write(digests(6, seed), content(6, seed))
        assert store.flush(30)
        assert [store.count(digests(6, seed)) for seed in range(40)] == [6] * 40
        assert all(np.array_equal(store.read(digests(6, seed)), content(6, seed)) for seed in range(40))
    """
    for process in [script(lines), script(lines)]:
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
    store = open_store(tmp_path)
    assert [store.count(digests(6, seed)) for seed in range(40)] == [6] * 40
    assert use_of(tmp_path).files == 40
