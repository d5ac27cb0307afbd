"""Packed weights: read from the packed cache, or packed from the model's file and kept there; or mapped from it."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wayra.backends.native import _native
from wayra.base import formats
from wayra.base.errors import BackendError, CacheError, IntegrityError, OutOfMemory
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
    try:
        arena = _native.Arena(size, True)
    except MemoryError:
        raise OutOfMemory(f"no room for {size / 1e6:,.0f} MB of packed weights; take a smaller model") from None
    if cache_root is None:
        _pack(arena, spans, threads)
        return arena
    cache = PackedCache(cache_root, hash_chunk=_hash_chunk, hash_name=HASH_NAME)
    key = PackedKey(weights.digest, LAYOUT)
    packed = cache.open(key)
    if packed is not None and _matches(packed, spans, size):
        problem = arena.read(
            str(packed.path), packed.payload_offset, size, packed.chunk_bytes, list(packed.chunk_hashes), threads
        )
        if not problem:
            return arena
        log.warning("packing the weights again: %s", problem)
        cache.discard(key)
    _pack(arena, spans, threads)
    _keep(cache, key, arena, spans)
    return arena


def map_arena(
    weights: ModelWeights, spans: Mapping[str, Span], size: int, cache_root: Path | None, threads: int
) -> _native.Arena:
    """Every span where the packed cache has it on disk, packed there first, matrix by matrix, when it is not.

    Raises CacheError when it cannot be kept on disk, BackendError without a cache.
    """
    if cache_root is None:
        raise BackendError("weights can only be mapped from the packed cache; leave it on, or load them into memory")
    cache = PackedCache(cache_root, hash_chunk=_hash_chunk, hash_name=HASH_NAME)
    key = PackedKey(weights.digest, LAYOUT)
    packed = cache.open(key)
    if packed is not None and _matches(packed, spans, size):
        try:
            packed.check_payload(_hash_chunk)
            return _native.Arena.mapped(str(packed.path), packed.payload_offset, size)
        except (IntegrityError, RuntimeError) as error:
            log.warning("packing the weights again: %s", error)
            cache.discard(key)
    # The file is all there will be: only its own size must fit.
    cache.require_free(size + size // 64)
    with cache.writer(key) as writer:
        for name, span in spans.items():
            room = np.empty(span.size, np.uint8)
            _pack_span(span, room, threads)
            writer.append(name, room.data)
    cache.prune(MAX_CACHE_BYTES)
    packed = cache.open(key)
    if packed is None or not _matches(packed, spans, size):
        raise CacheError(f"the packed weights cannot be read back from {cache_root}; check the disk")
    try:
        return _native.Arena.mapped(str(packed.path), packed.payload_offset, size)
    except RuntimeError as error:
        raise CacheError(f"the packed weights cannot be mapped: {error}") from error


def _hash_chunk(chunk: memoryview) -> int:
    return _native.hash64(np.frombuffer(chunk, np.uint8))


def _matches(packed: PackedFile, spans: Mapping[str, Span], size: int) -> bool:
    """Whether the file holds exactly these spans at these places."""
    if packed.payload_size != size or packed.entries.keys() != spans.keys():
        return False
    found = packed.entries
    return all((found[name].offset, found[name].size) == (s.offset, s.size) for name, s in spans.items())


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
