"""Packed files: what is written comes back exactly; anything odd is as good as absent."""

import hashlib
import os
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wayra.base.errors import CacheError, InvalidParameter
from wayra.base.settings import Settings
from wayra.weights.packed_cache import (
    CHUNK_BYTES,
    PackedCache,
    PackedFile,
    PackedKey,
    default_root,
    remove_checkpoint,
)

KEY = PackedKey("ab" * 32, "native/1 avx512 rows16")


def first_64_bits(chunk: memoryview) -> int:
    return int.from_bytes(hashlib.sha256(chunk).digest()[:8], "little")


def cache_at(root: Path, hash_name: str = "sha256-64") -> PackedCache:
    return PackedCache(root, hash_chunk=first_64_bits, hash_name=hash_name)


@pytest.fixture
def cache(tmp_path: Path) -> PackedCache:
    return cache_at(tmp_path / "packed")


def write_small(cache: PackedCache, key: PackedKey = KEY) -> PackedFile:
    with cache.writer(key) as writer:
        writer.append("a", b"x" * 100, {"rows": 3, "scale": 0.5})
        writer.append("b", np.arange(10, dtype=np.float32).data)
    packed = cache.open(key)
    assert packed is not None
    return packed


def span(packed: PackedFile, name: str) -> bytes:
    entry = packed.entries[name]
    with packed.path.open("rb") as file:
        file.seek(packed.payload_offset + entry.offset)
        return file.read(entry.size)


def test_what_is_written_comes_back(cache: PackedCache) -> None:
    packed = write_small(cache)
    assert span(packed, "a") == b"x" * 100
    assert span(packed, "b") == np.arange(10, dtype=np.float32).tobytes()
    assert packed.entries["a"].meta == {"rows": 3, "scale": 0.5}
    assert (packed.entries["a"].offset, packed.entries["b"].offset) == (0, 128)
    assert packed.payload_offset % 4096 == 0
    assert packed.payload_size == 168
    assert packed.chunk_hashes == (first_64_bits(memoryview(b"x" * 100 + bytes(28) + span(packed, "b"))),)


@given(
    sizes=st.lists(st.sampled_from([0, 1, 63, 64, 65, 5000, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1]), max_size=4)
)
def test_spans_of_any_size_come_back_and_the_hashes_cover_them(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    cache = cache_at(tmp_path_factory.mktemp("packed"))
    contents = {f"t{i}": np.random.default_rng(i).bytes(size) for i, size in enumerate(sizes)}
    with cache.writer(KEY) as writer:
        for name, content in contents.items():
            writer.append(name, content)
    packed = cache.open(KEY)
    assert packed is not None
    assert {name: span(packed, name) for name in packed.entries} == contents
    assert len(packed.chunk_hashes) == -(-packed.payload_size // CHUNK_BYTES)
    payload = packed.path.read_bytes()[packed.payload_offset :][: packed.payload_size]
    chunks = [payload[start : start + CHUNK_BYTES] for start in range(0, len(payload), CHUNK_BYTES)]
    assert packed.chunk_hashes == tuple(first_64_bits(memoryview(chunk)) for chunk in chunks)


def test_the_largest_hash_is_kept_exactly(tmp_path: Path) -> None:
    cache = PackedCache(tmp_path, hash_chunk=lambda _chunk: 2**64 - 1, hash_name="ones")
    assert write_small(cache).chunk_hashes == (2**64 - 1,)


def test_a_key_finds_only_its_own_file(cache: PackedCache) -> None:
    write_small(cache)
    assert cache.open(PackedKey("cd" * 32, KEY.layout)) is None
    assert cache.open(PackedKey(KEY.digest, "native/2")) is None
    other = PackedKey("cd" * 32, KEY.layout)
    (cache.listing()[0].path).rename(cache.listing()[0].path.with_name(other.file_name))
    assert cache.open(other) is None


def test_a_file_hashed_with_another_function_is_not_believed(tmp_path: Path) -> None:
    write_small(cache_at(tmp_path))
    assert cache_at(tmp_path, "xxh3").open(KEY) is None


@pytest.mark.parametrize(("digest", "layout"), [("../" * 22, "x"), ("AB" * 32, "x"), ("ab" * 32, ""), ("", "x")])
def test_a_malformed_key_is_refused(digest: str, layout: str) -> None:
    with pytest.raises(InvalidParameter):
        PackedKey(digest, layout)


def test_a_span_written_twice_is_refused_and_nothing_is_kept(cache: PackedCache, tmp_path: Path) -> None:
    def write_twice() -> None:
        with cache.writer(KEY) as writer:
            writer.append("a", b"1")
            writer.append("a", b"2")

    with pytest.raises(InvalidParameter, match="twice"):
        write_twice()
    assert list((tmp_path / "packed").iterdir()) == []


def test_a_failure_while_writing_leaves_the_old_file_as_it_was(cache: PackedCache, tmp_path: Path) -> None:
    before = write_small(cache).path.read_bytes()

    def fail_half_way() -> None:
        with cache.writer(KEY) as writer:
            writer.append("a", bytes(CHUNK_BYTES * 2))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert [path.read_bytes() for path in (tmp_path / "packed").iterdir()] == [before]


def test_every_flipped_bit_outside_the_payload_makes_the_file_absent(cache: PackedCache) -> None:
    packed = write_small(cache)
    sound = packed.path.read_bytes()
    index_at = packed.payload_offset + packed.payload_size
    for position in [*range(112), *range(index_at, len(sound))]:
        damaged = bytearray(sound)
        damaged[position] ^= 1 << (position % 8)
        packed.path.write_bytes(damaged)
        assert cache.open(KEY) is None, position
    packed.path.write_bytes(sound)
    assert cache.open(KEY) == packed


def test_a_truncated_or_lengthened_file_is_absent(cache: PackedCache) -> None:
    packed = write_small(cache)
    sound = packed.path.read_bytes()
    for content in (b"", sound[:50], sound[:4096], sound[:-1], sound + b"\0"):
        packed.path.write_bytes(content)
        assert cache.open(KEY) is None


def test_a_flipped_bit_in_the_payload_is_one_the_chunk_hashes_tell(cache: PackedCache) -> None:
    packed = write_small(cache)
    damaged = bytearray(packed.path.read_bytes())
    damaged[packed.payload_offset + 7] ^= 4
    packed.path.write_bytes(damaged)
    again = cache.open(KEY)
    assert again is not None
    payload = memoryview(damaged)[again.payload_offset :][: again.payload_size]
    assert first_64_bits(payload) != again.chunk_hashes[0]
    cache.discard(KEY)
    assert cache.open(KEY) is None


def forged(packed: PackedFile, index: bytes) -> bytes:
    """The file with another index and honest hashes, as only a liar would write it."""
    from wayra.weights.packed_cache import _header

    payload = packed.path.read_bytes()[packed.payload_offset :][: packed.payload_size]
    header = _header(packed.payload_size, index)
    return header + bytes(packed.payload_offset - len(header)) + payload + index


@pytest.mark.parametrize(
    ("honest", "lie"),
    [
        (b'"offset":128', b'"offset":64'),
        (b'"offset":128', b'"offset":129'),
        (b'"offset":128', b'"offset":-64'),
        (b'"size":40', b'"size":41'),
        (b'"size":40', b'"size":18446744073709551615'),
        (b'"size":100', b'"size":-1'),
        (b'"name":"b"', b'"name":"a"'),
        (b'"chunk_hashes":[', b'"chunk_hashes":[1,'),
        (b'"chunk_bytes":4194304', b'"chunk_bytes":0'),
        (b'"digest":"ab', b'"digest":"cd'),
        (b'"digest":"ab', b'"digest":"AB'),
        (b'"layout":', b'"extra":1,"layout":'),
        (b'"entries":[', b'"entries":[['),
    ],
)
def test_a_lying_index_makes_the_file_absent(honest: bytes, lie: bytes, cache: PackedCache) -> None:
    packed = write_small(cache)
    index = packed.path.read_bytes()[packed.payload_offset + packed.payload_size :]
    packed.path.write_bytes(forged(packed, index))
    assert cache.open(KEY) == packed
    assert index.count(honest) >= 1
    packed.path.write_bytes(forged(packed, index.replace(honest, lie)))
    assert cache.open(KEY) is None


def test_the_least_recently_used_files_are_pruned(cache: PackedCache) -> None:
    keys = [PackedKey(f"{number:02d}" * 32, "x") for number in range(3)]
    for age, key in enumerate(keys):
        path = write_small(cache, key).path
        os.utime(path, (1000 + age, 1000 + age))
    size = cache.listing()[0].size
    assert cache.open(keys[0]) is not None  # now the latest
    assert [summary.key for summary in cache.listing()] == [keys[0], keys[2], keys[1]]
    removed = cache.prune(2 * size)
    assert [path.name for path in removed] == [keys[1].file_name]
    assert cache.prune(2 * size) == ()
    assert len(cache.prune(0)) == 2


def test_an_unsound_file_is_listed_without_a_key_and_can_be_pruned(cache: PackedCache) -> None:
    packed = write_small(cache)
    packed.path.write_bytes(b"junk")
    assert [(summary.key, summary.size) for summary in cache.listing()] == [(None, 4)]
    assert len(cache.prune(0)) == 1


def test_deleting_a_checkpoint_deletes_every_layout_of_it(cache: PackedCache, tmp_path: Path) -> None:
    sizes = [write_small(cache, PackedKey(KEY.digest, layout)).path.stat().st_size for layout in ("x", "y")]
    kept = write_small(cache, PackedKey("cd" * 32, "x"))
    assert remove_checkpoint(tmp_path / "packed", KEY.digest) == sum(sizes)
    assert [summary.path for summary in cache.listing()] == [kept.path]


def test_a_folder_that_cannot_be_written_is_a_cache_error_and_reads_as_empty(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = cache_at(default_root(Settings(tmp_path / "file")))
    assert cache.open(KEY) is None
    assert cache.listing() == ()
    with pytest.raises(CacheError, match="cannot keep packed weights"), cache.writer(KEY) as writer:
        writer.append("a", b"1")


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
@pytest.mark.parametrize("size", [CHUNK_BYTES * 2, 999_000])
def test_a_full_disk_is_a_cache_error_and_leaves_nothing(size: int, cache: PackedCache, tmp_path: Path) -> None:
    with pytest.raises(CacheError), cache.writer(KEY) as writer:
        writer.append("a", bytes(size))
    assert list((tmp_path / "packed").iterdir()) == []


def test_a_killed_writer_shows_nothing_and_its_leftover_goes_with_the_next(cache: PackedCache, tmp_path: Path) -> None:
    code = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        from wayra.weights.packed_cache import PackedCache, PackedKey
        cache = PackedCache(Path(sys.argv[1]), hash_chunk=len, hash_name="len")
        with cache.writer(PackedKey("ab" * 32, "x")) as writer:
            writer.append("a", bytes(9 << 20))
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    folder = tmp_path / "packed"
    done = subprocess.run([sys.executable, "-c", code, str(folder)], check=False)
    assert done.returncode == -signal.SIGKILL
    (leftover,) = folder.iterdir()
    assert cache.listing() == ()
    packed = write_small(cache)
    assert not leftover.exists()
    assert list(folder.iterdir()) == [packed.path]


def test_room_on_the_disk_is_required_before_anything_is_written(cache: PackedCache, tmp_path: Path) -> None:
    cache.require_free(1)
    with pytest.raises(CacheError, match=r"packed weights are kept only beside 1000000000\.0 GB"):
        cache.require_free(10**18)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CacheError, match="cannot keep packed weights"):
        cache_at(tmp_path / "file" / "packed").require_free(1)


def test_a_live_writer_is_not_taken_for_a_leftover(cache: PackedCache) -> None:
    other = PackedKey("cd" * 32, "x")
    with cache.writer(other) as slow:
        write_small(cache)
        slow.append("late", b"1")
    assert {summary.key for summary in cache.listing()} == {KEY, other}
