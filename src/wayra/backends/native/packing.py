"""Packed weights: read or mapped from the packed cache, or packed from the model's file and kept there."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wayra.backends.native import _native
from wayra.base import formats
from wayra.base.errors import BackendError, CacheError, OutOfMemory
from wayra.base.formats import WeightFormat
from wayra.weights.packed_cache import PackedCache, PackedFile, PackedKey
from wayra.weights.row_scaled import scaled_rows
from wayra.weights.tensors import Matrix, ModelWeights

LAYOUT = "native 2: panels of 16 rows, groups of 32, pairs of words"
HASH_NAME = "wayra64-1"
ALIGN_BYTES = 64
FREE_DISK_FACTOR = 3
"""A packed file is kept only where the disk has this many times its size free."""
MAX_CACHE_BYTES = 64 << 30
"""Least recently used packed files beyond this go."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Span:
    """Where a packed matrix lies in the arena. offset, size: bytes."""

    matrix: Matrix
    offset: int
    size: int

    @property
    def format_id(self) -> int:
        return _packed_as(self.matrix).ggml_id


def plan_spans(weights: ModelWeights) -> tuple[dict[str, Span], int]:
    """Spans by name ("slot/part"), in the order of the slots, and the bytes they take together."""
    spans: dict[str, Span] = {}
    end = 0
    for slot, weight in weights.matrices.items():
        for number, part in enumerate(weight.parts):
            offset = -(-end // ALIGN_BYTES) * ALIGN_BYTES
            size = _native.packed_bytes(_packed_as(part).ggml_id, part.rows, part.cols)
            spans[span_name(slot, number)] = Span(part, offset, size)
            end = offset + size
    return spans, end


def _packed_as(matrix: Matrix) -> WeightFormat:
    return matrix.tensor.fmt if matrix.row_scale is None else formats.I8


def span_name(slot: str, part: int) -> str:
    return f"{slot}/{part}"


def fill_arena(
    weights: ModelWeights, spans: Mapping[str, Span], size: int, cache_root: Path | None, threads: int
) -> _native.Arena:
    """Memory holding every span. cache_root None neither reads nor writes the cache.

    A damaged cache file is packed again; a cache that cannot be written is a warning. Raises OutOfMemory.
    """
    return _filled(weights, spans, size, _cache(cache_root), threads)


def quick_arena(
    weights: ModelWeights, spans: Mapping[str, Span], size: int, cache_root: Path | None, threads: int
) -> _native.Arena:
    """As `fill_arena`, but what the cache has stays in its file, checked and mapped, until `Model.settle` moves it."""
    cache = _cache(cache_root)
    arena = None if cache is None else _checked(cache, weights.digest, spans, size, threads)
    return _filled(weights, spans, size, cache, threads) if arena is None else arena


def map_arena(
    weights: ModelWeights, spans: Mapping[str, Span], size: int, cache_root: Path | None, threads: int
) -> _native.Arena:
    """Every span where the packed cache has it on disk, packed there first, matrix by matrix, when it is not.

    Raises CacheError when it cannot be kept on disk, BackendError without a cache.
    """
    cache = _cache(cache_root)
    if cache is None:
        raise BackendError("weights can only be mapped from the packed cache; leave it on, or load them into memory")
    arena = _checked(cache, weights.digest, spans, size, threads)
    if arena is not None:
        return arena
    # The file is all there will be: only its own size must fit.
    cache.require_free(size + size // 64)
    with cache.writer(_key(weights.digest)) as writer:
        for name, span in spans.items():
            room = np.empty(span.size, np.uint8)
            _pack_span(span, room, threads)
            writer.append(name, room.data)
    cache.prune(MAX_CACHE_BYTES)
    # What was hashed as it was written is not read again: it may be larger than memory.
    packed = _found(cache, weights.digest, spans, size)
    if packed is None:
        raise CacheError(f"the packed weights cannot be read back from {cache_root}; check the disk")
    try:
        return _mapped(packed, size)
    except RuntimeError as error:
        raise CacheError(f"the packed weights cannot be mapped: {error}") from error


def _cache(root: Path | None) -> PackedCache | None:
    return None if root is None else PackedCache(root, hash_chunk=_hash_chunk, hash_name=HASH_NAME)


def _key(digest: str) -> PackedKey:
    return PackedKey(digest, LAYOUT)


def _filled(
    weights: ModelWeights, spans: Mapping[str, Span], size: int, cache: PackedCache | None, threads: int
) -> _native.Arena:
    try:
        arena = _native.Arena(size, True)
    except MemoryError:
        raise OutOfMemory(f"no room for {size / 1e6:,.0f} MB of packed weights; take a smaller model") from None
    if cache is None:
        _pack(arena, spans, threads)
        return arena
    packed = _found(cache, weights.digest, spans, size)
    if packed is not None:
        problem = arena.read(
            str(packed.path), packed.payload_offset, size, packed.chunk_bytes, list(packed.chunk_hashes), threads
        )
        if not problem:
            return arena
        _discard(cache, packed, problem)
    _pack(arena, spans, threads)
    _keep(cache, _key(weights.digest), arena, spans)
    return arena


def _checked(
    cache: PackedCache, digest: str, spans: Mapping[str, Span], size: int, threads: int
) -> _native.Arena | None:
    """The spans where the cache has them, mapped, read once and checked; None when it has them not, or damaged."""
    packed = _found(cache, digest, spans, size)
    if packed is None:
        return None
    try:
        arena = _mapped(packed, size)
        problem = arena.check(packed.chunk_bytes, list(packed.chunk_hashes), threads)
    except RuntimeError as error:
        problem = str(error)
    else:
        if not problem:
            return arena
    _discard(cache, packed, problem)
    return None


def _mapped(packed: PackedFile, size: int) -> _native.Arena:
    """Raises RuntimeError."""
    return _native.Arena.mapped(str(packed.path), packed.payload_offset, size)


def _discard(cache: PackedCache, packed: PackedFile, problem: str) -> None:
    log.warning("packing the weights again: %s: %s", packed.path, problem)
    cache.discard(packed.key)


def _hash_chunk(chunk: memoryview) -> int:
    return _native.hash64(np.frombuffer(chunk, np.uint8))


def _found(cache: PackedCache, digest: str, spans: Mapping[str, Span], size: int) -> PackedFile | None:
    """The file that holds exactly these spans at these places, if there is one."""
    packed = cache.open(_key(digest))
    if packed is None or packed.payload_size != size or packed.entries.keys() != spans.keys():
        return None
    found = packed.entries
    is_same = all((found[name].offset, found[name].size) == (s.offset, s.size) for name, s in spans.items())
    return packed if is_same else None


def _pack(arena: _native.Arena, spans: Mapping[str, Span], threads: int) -> None:
    for span in spans.values():
        _pack_span(span, arena.view(span.offset, span.size), threads)


def _pack_span(span: Span, out: NDArray[np.uint8], threads: int) -> None:
    matrix = span.matrix
    stored = matrix.tensor.data if matrix.row_scale is None else scaled_rows(matrix)
    _native.pack(span.format_id, matrix.rows, matrix.cols, stored, matrix.row_order, out, threads)


def _keep(cache: PackedCache, key: PackedKey, arena: _native.Arena, spans: Mapping[str, Span]) -> None:
    try:
        cache.require_free(FREE_DISK_FACTOR * arena.size)
        with cache.writer(key) as writer:
            for name, span in spans.items():
                writer.append(name, arena.view(span.offset, span.size).data)
        cache.prune(MAX_CACHE_BYTES)
    except CacheError as error:
        log.warning("%s; the next start will pack the weights again", error)
