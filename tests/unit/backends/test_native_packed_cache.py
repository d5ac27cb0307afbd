"""Packed weights from the disk give the logits of weights packed afresh, or are packed afresh."""

import logging
import os
import platform
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from backend_batches import prompt_logits
from tiny_llama import blocky_spec, tiny_weights

from wayra.backends.api import BackendOptions
from wayra.base.errors import BackendError, CacheError
from wayra.base.formats import Q4_K, Q6_K
from wayra.base.settings import child_environment
from wayra.model.record import record
from wayra.weights.packed_cache import PAGE_BYTES, SUFFIX
from wayra.weights.tensors import ModelWeights

packing = pytest.importorskip("wayra.backends.native.packing", reason="the native backend is not built here")
from wayra.backends.native import _native  # noqa: E402
from wayra.backends.native.backend import NativeBackend  # noqa: E402

SPEC = blocky_spec(vocab_size=50)
OPTIONS = BackendOptions(max_step_tokens=32, threads=2)
PROMPT = np.arange(20, dtype=np.int32)


def logits(cache_root: Path | None, weights: ModelWeights | None = None) -> np.ndarray:
    model = NativeBackend(cache_root).load(record(SPEC), weights or tiny_weights(SPEC, Q4_K), OPTIONS)
    return prompt_logits(model, PROMPT)


def packed_file(folder: Path) -> Path:
    (path,) = folder.glob(f"*{SUFFIX}")
    return path


def never(*_: object) -> None:
    raise AssertionError("packed again")


def test_the_second_start_reads_what_the_first_has_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = logits(None)
    np.testing.assert_array_equal(logits(tmp_path), fresh)
    monkeypatch.setattr(packing, "_pack_span", never)
    np.testing.assert_array_equal(logits(tmp_path), fresh)


def test_without_the_option_nothing_is_written(tmp_path: Path) -> None:
    NativeBackend(tmp_path).load(record(SPEC), tiny_weights(SPEC, Q4_K), replace(OPTIONS, packed_cache=False))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["header", "first byte", "middle", "last byte", "index"])
def test_a_flipped_bit_is_noticed_and_the_weights_are_packed_again(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fresh = logits(tmp_path)
    path = packed_file(tmp_path)
    sound = path.read_bytes()
    _, payload_size = packing.plan_spans(tiny_weights(SPEC, Q4_K))
    offset = {
        "header": 9,
        "first byte": PAGE_BYTES,
        "middle": PAGE_BYTES + payload_size // 2,
        "last byte": PAGE_BYTES + payload_size - 1,
        "index": len(sound) - 20,
    }[place]
    damaged = bytearray(sound)
    damaged[offset] ^= 1
    path.write_bytes(damaged)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(logits(tmp_path), fresh)
    # A damaged header or index is as good as no file; a damaged payload is told.
    assert ("does not match its recorded hash" in caplog.text) == (place not in ("header", "index"))
    assert packed_file(tmp_path).read_bytes() == sound
    monkeypatch.setattr(packing, "_pack_span", never)
    np.testing.assert_array_equal(logits(tmp_path), fresh)


@pytest.mark.parametrize("kept", [0, 100, PAGE_BYTES, PAGE_BYTES + 1000, -1])
def test_a_truncated_file_is_packed_again(kept: int, tmp_path: Path) -> None:
    fresh = logits(tmp_path)
    path = packed_file(tmp_path)
    sound = path.read_bytes()
    path.write_bytes(sound[:kept])
    np.testing.assert_array_equal(logits(tmp_path), fresh)
    assert packed_file(tmp_path).read_bytes() == sound


def test_a_sound_file_of_another_model_under_this_name_is_not_believed(tmp_path: Path) -> None:
    weights = tiny_weights(SPEC, Q4_K)
    other = replace(tiny_weights(SPEC, Q6_K), digest=weights.digest)
    fresh = logits(None, weights)
    logits(tmp_path, other)
    np.testing.assert_array_equal(logits(tmp_path, weights), fresh)
    np.testing.assert_array_equal(logits(tmp_path, weights), fresh)


def test_a_folder_that_cannot_be_written_costs_a_warning_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(logits(blocked / "packed"), logits(None))
    assert "the next start will pack the weights again" in caplog.text


def test_a_start_killed_while_it_keeps_the_weights_leaves_nothing_to_believe(tmp_path: Path) -> None:
    program = """
        import os, signal, sys
        from pathlib import Path
        from tiny_llama import blocky_spec, tiny_weights
        from wayra.backends.api import BackendOptions
        from wayra.backends.native import packing
        from wayra.backends.native.backend import NativeBackend
        from wayra.base.formats import Q4_K
        from wayra.model.record import record
        packing._hash_chunk = lambda chunk: os.kill(os.getpid(), signal.SIGKILL)
        spec = blocky_spec(vocab_size=50)
        NativeBackend(Path(sys.argv[1])).load(record(spec), tiny_weights(spec, Q4_K), BackendOptions())
    """
    support = Path(__file__).parents[2] / "support"
    environment = child_environment()
    environment["PYTHONPATH"] = os.pathsep.join([str(support), *filter(None, sys.path)])
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)], env=environment, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert list(tmp_path.glob(f"*{SUFFIX}")) == []
    assert len(list(tmp_path.iterdir())) == 1
    np.testing.assert_array_equal(logits(tmp_path), logits(None))
    assert list(tmp_path.iterdir()) == [packed_file(tmp_path)]


MAPPED = replace(OPTIONS, map_weights=True)


def mapped_logits(cache_root: Path | None) -> np.ndarray:
    return prompt_logits(NativeBackend(cache_root).load(record(SPEC), tiny_weights(SPEC, Q4_K), MAPPED), PROMPT)


def test_mapped_weights_give_the_same_bits_packed_or_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = logits(None)
    np.testing.assert_array_equal(mapped_logits(tmp_path), fresh)
    np.testing.assert_array_equal(logits(tmp_path), fresh)
    monkeypatch.setattr(packing, "_pack_span", never)
    np.testing.assert_array_equal(mapped_logits(tmp_path), fresh)


def test_a_damaged_file_is_not_mapped_but_packed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fresh = mapped_logits(tmp_path)
    path = packed_file(tmp_path)
    content = bytearray(path.read_bytes())
    content[PAGE_BYTES + 1000] ^= 1
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(mapped_logits(tmp_path), fresh)
    assert "a chunk does not match its recorded hash" in caplog.text
    np.testing.assert_array_equal(mapped_logits(tmp_path), fresh)


def test_weights_cannot_be_mapped_without_a_place_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendError, match="only be mapped from the packed cache"):
        mapped_logits(None)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(CacheError, match=r"0\.0 GB are free"):
        mapped_logits(tmp_path)


def test_a_file_shorter_than_what_is_mapped_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "short"
    path.write_bytes(bytes(5000))
    with pytest.raises(RuntimeError, match="shorter"):
        _native.Arena.mapped(str(path), 4096, 1000)
    with pytest.raises(RuntimeError, match="No such file"):
        _native.Arena.mapped(str(tmp_path / "none"), 4096, 1000)
    assert _native.Arena.mapped(str(path), 4096, 904).size == 904


QUICK = replace(OPTIONS, quick_start=True)
LARGE_SPEC = blocky_spec(vocab_size=30_000)


def is_mapped(path: Path) -> bool:
    return str(path) in Path("/proc/self/maps").read_text()


def test_a_quick_start_gives_the_same_bits_while_its_weights_move_to_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, weights = record(LARGE_SPEC), tiny_weights(LARGE_SPEC, Q4_K)
    fresh = prompt_logits(NativeBackend(tmp_path).load(program, weights, OPTIONS), PROMPT)
    monkeypatch.setattr(packing, "_pack_span", never)
    model = NativeBackend(tmp_path).load(program, weights, QUICK)
    assert is_mapped(packed_file(tmp_path))
    np.testing.assert_array_equal(prompt_logits(model, PROMPT), fresh)
    moved = 0
    while model.settle(1):
        moved += 1
        np.testing.assert_array_equal(prompt_logits(model, PROMPT), fresh)
    # A huge page at a time, the last one not whole.
    assert moved == -(-packed_file(tmp_path).stat().st_size // (2 << 20)) - 1 >= 2
    assert not is_mapped(packed_file(tmp_path))
    assert not model.settle(1 << 30)
    np.testing.assert_array_equal(prompt_logits(model, PROMPT), fresh)
    model.close()


def test_a_quick_start_needs_the_file_no_longer_once_it_is_mapped(tmp_path: Path) -> None:
    fresh = logits(tmp_path)
    model = NativeBackend(tmp_path).load(record(SPEC), tiny_weights(SPEC, Q4_K), QUICK)
    packed_file(tmp_path).unlink()
    np.testing.assert_array_equal(prompt_logits(model, PROMPT), fresh)
    assert not model.settle(1 << 30)
    np.testing.assert_array_equal(prompt_logits(model, PROMPT), fresh)


def test_what_is_left_on_disk_by_wish_stays_there(tmp_path: Path) -> None:
    logits(tmp_path)
    options = replace(MAPPED, quick_start=True)
    model = NativeBackend(tmp_path).load(record(SPEC), tiny_weights(SPEC, Q4_K), options)
    assert not model.settle(1 << 30)
    assert is_mapped(packed_file(tmp_path))


@pytest.mark.parametrize("damage", ["a bit", "half the file"])
def test_a_quick_start_from_a_damaged_file_packs_again(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = logits(tmp_path)
    path = packed_file(tmp_path)
    sound = path.read_bytes()
    path.write_bytes(
        sound[: len(sound) // 2] if damage == "half the file" else sound[:-30_000] + b"\x55" + sound[-29_999:]
    )
    for _ in range(2):
        model = NativeBackend(tmp_path).load(record(SPEC), tiny_weights(SPEC, Q4_K), QUICK)
        np.testing.assert_array_equal(prompt_logits(model, PROMPT), fresh)
        monkeypatch.setattr(packing, "_pack_span", never)
    assert packed_file(tmp_path).read_bytes() == sound


@pytest.mark.skipif(
    tuple(map(int, platform.release().split(".")[:2])) < (5, 14), reason="Linux tells of unreadable pages since 5.14"
)
def test_a_file_that_shrinks_under_its_mapping_is_told_and_ends_nothing(tmp_path: Path) -> None:
    path = tmp_path / "shrinking"
    path.write_bytes(bytes(1 << 20))
    arena = _native.Arena.mapped(str(path), 4096, (1 << 20) - 4096)
    assert arena.check(1 << 16, [], 2) == ""
    os.truncate(path, 1 << 17)
    assert arena.check(1 << 16, [], 2) == "a page cannot be read"
