"""Between the KV cache and the disk: which blocks of a sequence are worth storing, and putting stored ones back.

Copies are made on the engine's thread, between steps, a few blocks at a time: the model may overwrite them later. What
finds no room in the writer's queue is offered again after the next step.
"""

from collections.abc import Sequence as SequenceOf

import numpy as np

from wayra.backends.api import Model
from wayra.engine.prefix_files import MAX_FILE_BLOCKS
from wayra.engine.prefix_store import PrefixStore
from wayra.engine.sequence import Sequence

MIN_BLOCKS = 4
"""Shorter runs take about as long to find and read as to compute, and would be many small files."""
BATCH_BLOCKS = 16
"""Blocks to wait for while a sequence goes on, so that files are large; at its end MIN_BLOCKS are enough."""
MAX_FILE_BYTES = 16 << 20


class StoredPrefixes:
    """The store of one loaded model. Belongs to the engine's thread."""

    def __init__(self, model: Model, store: PrefixStore) -> None:
        self._model = model
        self._store = store
        self._file_blocks = max(1, min(MAX_FILE_BLOCKS, MAX_FILE_BYTES // max(1, store.block_bytes)))
        self.loaded_blocks = 0

    @property
    def read_bytes(self) -> int:
        return self._store.read_bytes

    @property
    def written_bytes(self) -> int:
        return self._store.written_bytes

    def count(self, digests: SequenceOf[bytes]) -> int:
        """How many of these blocks, from the first on, are stored and worth reading."""
        if len(digests) < MIN_BLOCKS:
            return 0
        found = self._store.count(digests)
        return found if found >= MIN_BLOCKS else 0

    def load(self, digests: SequenceOf[bytes], blocks: SequenceOf[int]) -> int:
        """Put stored content into these blocks; how many were filled before something was missing or damaged."""
        done = 0
        while done < len(digests):
            data = self._store.read(digests[done:])
            if not len(data):
                break
            self._model.write_kv(np.array(blocks[done : done + len(data)], np.int32), data)
            done += len(data)
        self.loaded_blocks += done
        return done

    def offer(self, seq: Sequence, is_over: bool = False) -> None:
        """Copy published blocks that are not stored yet, if they are enough to be worth it."""
        least = min(MIN_BLOCKS if is_over else BATCH_BLOCKS, self._file_blocks)
        while True:
            while seq.num_stored < seq.num_published and self._store.holds(seq.digests[seq.num_stored]):
                seq.num_stored += 1
            start = seq.num_stored
            end = min(seq.num_published, start + self._file_blocks)
            if end - start < least or not self._store.has_room(end - start):
                return
            data = self._model.read_kv(np.array(seq.blocks[start:end], np.int32))
            self._store.write(seq.digests[start:end], data)
            seq.num_stored = end

    def close(self) -> None:
        """Store what was copied, waiting a little."""
        self._store.close()
