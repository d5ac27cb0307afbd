"""Who holds which KV block: reference counts, a free list, and an LRU of free blocks whose content is still useful.

It knows block numbers only; what a block contains is the prefix cache's business.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from wayra.base.errors import IntegrityError


class BlockPool:
    """A fixed set of blocks 0 .. num_blocks - 1, each held by any number of sequences.

    on_evict is called with a cached block when its content is about to be overwritten.
    """

    def __init__(self, num_blocks: int, on_evict: Callable[[int], None]) -> None:
        self.num_blocks = num_blocks
        self._on_evict = on_evict
        self._refcounts = [0] * num_blocks
        self._is_cached = [False] * num_blocks
        self._free = list(range(num_blocks - 1, -1, -1))
        self._evictable: OrderedDict[int, None] = OrderedDict()

    def free_blocks(self) -> int:
        """Blocks that can be allocated now, cached ones included."""
        return len(self._free) + len(self._evictable)

    def cached_blocks(self) -> int:
        """Free blocks that still hold shareable content."""
        return len(self._evictable)

    def refcount(self, block: int) -> int:
        return self._refcounts[block]

    def allocate(self) -> int:
        """A block of reference count 1. Takes the least recently used cached block when no other is free."""
        if self._free:
            block = self._free.pop()
        elif self._evictable:
            block, _ = self._evictable.popitem(last=False)
            self._is_cached[block] = False
            self._on_evict(block)
        else:
            raise IntegrityError("the KV pool has no free block although one was reserved; this is a bug in wayra")
        self._refcounts[block] = 1
        return block

    def retain(self, block: int) -> None:
        """One more holder of a held or cached block."""
        if self._refcounts[block] == 0:
            if block not in self._evictable:
                raise IntegrityError(f"KV block {block} was retained while free; this is a bug in wayra")
            del self._evictable[block]
        self._refcounts[block] += 1

    def release(self, block: int) -> None:
        """One holder less; the last one frees the block, which stays evictable when it is cached."""
        if self._refcounts[block] <= 0:
            raise IntegrityError(f"KV block {block} was released twice; this is a bug in wayra")
        self._refcounts[block] -= 1
        if self._refcounts[block] == 0:
            if self._is_cached[block]:
                self._evictable[block] = None
            else:
                self._free.append(block)

    def mark_cached(self, block: int) -> None:
        """Keep the content of a held block after its last holder has gone."""
        self._is_cached[block] = True

    def exclusive_count(self, blocks: Sequence[int]) -> int:
        """How many blocks of a table have this holder only.

        Only leading blocks are ever shared (a chain of prefixes), so the border is found by bisection.
        """
        low, high = 0, len(blocks)
        while low < high:
            middle = (low + high) // 2
            if self._refcounts[blocks[middle]] > 1:
                low = middle + 1
            else:
                high = middle
        return len(blocks) - low

    def check(self, tables: Iterable[Sequence[int]], cached: Iterable[int]) -> None:
        """Raises IntegrityError unless counts, lists and the prefix cache's blocks agree with the tables."""
        held = [0] * self.num_blocks
        for table in tables:
            if len(set(table)) != len(table):
                raise IntegrityError("a sequence holds the same KV block twice")
            for block in table:
                held[block] += 1
        if held != self._refcounts:
            wrong = next(b for b in range(self.num_blocks) if held[b] != self._refcounts[b])
            raise IntegrityError(
                f"KV block {wrong} has reference count {self._refcounts[wrong]}, but {held[wrong]} tables hold it"
            )
        free = set(self._free)
        if len(free) != len(self._free) or free & self._evictable.keys():
            raise IntegrityError("a KV block is on the free list twice")
        if free | self._evictable.keys() != {b for b, count in enumerate(held) if count == 0}:
            raise IntegrityError("a KV block leaked: neither held nor free")
        if set(cached) != {b for b, flag in enumerate(self._is_cached) if flag}:
            raise IntegrityError("the prefix cache and the KV pool disagree on which blocks are cached")
        if any(self._is_cached[b] for b in free) or not all(self._is_cached[b] for b in self._evictable):
            raise IntegrityError("a cached KV block is on the wrong free list")
