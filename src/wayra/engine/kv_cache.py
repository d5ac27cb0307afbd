"""The KV blocks of the running sequences: admission, growth, sharing and release, without a preemption ever.

The policy is the banker's. Sequences stand in the order of their admission, and a block is handed out only if
afterwards each of them can still reach its full length once those before it have ended. So many sequences of unlimited
length share a pool that has room for few full ones; the oldest always proceeds; one that cannot grow pauses with its
blocks kept, and nothing is ever computed twice. The invariant: what a sequence may still need is at most what is free
plus what the sequences before it give back.
"""

from collections.abc import Collection, Mapping
from collections.abc import Sequence as SequenceOf
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wayra.backends.api import KV_BLOCK_LEN
from wayra.base.errors import IntegrityError
from wayra.engine.kv_blocks import BlockPool
from wayra.engine.prefix_cache import PrefixCache, chain_digest
from wayra.engine.sequence import Sequence
from wayra.engine.settings import Limits, blocks_for

if TYPE_CHECKING:
    from wayra.engine.stored_prefixes import StoredPrefixes


class KvCache:
    """tables: int32 [max_running, blocks of a full context], one row a running sequence, -1 where unused.

    stored: where blocks that are not in memory may be found, and are kept for later; None: nowhere.
    """

    def __init__(self, limits: Limits, stored: "StoredPrefixes | None" = None) -> None:
        self._limits = limits
        self._stored = stored if limits.prefix_cache else None
        self._prefix = PrefixCache()
        self._pool = BlockPool(limits.kv_blocks, self._prefix.forget)
        self.tables: NDArray[np.int32] = np.full((limits.max_running, blocks_for(limits.max_context)), -1, np.int32)
        self._free_slots = list(range(limits.max_running - 1, -1, -1))

    def free_blocks(self) -> int:
        """Blocks no running sequence holds."""
        return self._pool.free_blocks()

    def cached_blocks(self) -> int:
        """Of the free blocks, those whose content a later prompt may still use."""
        return self._pool.cached_blocks()

    def is_under_way(self, seq: Sequence) -> bool:
        """Whether a running sequence is about to compute the next block this one could share."""
        digests = seq.shareable_digests()
        num_hits = len(self._prefix.match(digests))
        return num_hits < len(digests) and self._prefix.is_promised(digests[num_hits])

    def admit(self, seq: Sequence, running: SequenceOf[Sequence]) -> bool:
        """Give a waiting sequence the blocks of its whole prompt, or nothing at all when that is not safe yet."""
        digests = seq.shareable_digests()
        hits = self._prefix.match(digests)
        for block in hits:
            self._pool.retain(block)
        num_new = blocks_for(seq.prompt_len) - len(hits)
        num_later = seq.max_blocks - len(hits) - num_new
        if not self._is_safe(running, num_new, num_later):
            self._release_blocks(hits)
            return False
        seq.blocks = hits + [self._pool.allocate() for _ in range(num_new)]
        seq.slot = self._free_slots.pop()
        self.tables[seq.slot, : len(seq.blocks)] = seq.blocks
        seq.num_published = len(hits)
        seq.num_computed = seq.cached_tokens = len(hits) * KV_BLOCK_LEN
        seq.num_promised = len(seq.digests)
        self._prefix.promise(seq.digests[len(hits) :])
        self._load(seq, digests[len(hits) :])
        return True

    def grow(self, seq: Sequence, older: SequenceOf[Sequence]) -> bool:
        """Make room for the sequence's last token; False when that would endanger an older sequence."""
        if len(seq.token_ids) <= len(seq.blocks) * KV_BLOCK_LEN:
            return True
        if not self._is_safe(older, 1, 0):
            return False
        self._take_block(seq)
        return True

    def room_for_drafts(self, seq: Sequence, older: SequenceOf[Sequence], wanted: int) -> int:
        """How many of `wanted` tokens after its last one there is room for; takes at most one block more, if safe."""
        num_free = len(seq.blocks) * KV_BLOCK_LEN - len(seq.token_ids)
        if wanted > num_free and len(seq.blocks) < seq.max_blocks and self._is_safe(older, 1, 0):
            self._take_block(seq)
            num_free += KV_BLOCK_LEN
        return min(wanted, num_free)

    def publish(self, seq: Sequence) -> None:
        """Offer the blocks that have become full, or take over the equal block another sequence was first to offer."""
        if not self._limits.prefix_cache:
            return
        for index in range(seq.num_published, seq.num_computed // KV_BLOCK_LEN):
            token_ids = seq.token_ids[index * KV_BLOCK_LEN : (index + 1) * KV_BLOCK_LEN]
            parent = seq.digests[index - 1] if index else seq.root
            if index == len(seq.digests):
                seq.digests.append(chain_digest(parent, token_ids))
            digest, block = seq.digests[index], seq.blocks[index]
            other = self._prefix.block_of(digest)
            if other is None:
                self._prefix.publish(digest, parent, token_ids, block)
                self._pool.mark_cached(block)
            else:
                self._replace(seq, index, other)
            if index < seq.num_promised:
                self._prefix.withdraw((digest,))
            seq.num_published = index + 1
        if self._stored is not None:
            self._stored.offer(seq)

    def release(self, seq: Sequence) -> None:
        """Give back all blocks of a running sequence; published ones stay cached."""
        if self._stored is not None:
            self._stored.offer(seq, is_over=True)
        self._prefix.withdraw(seq.digests[seq.num_published : seq.num_promised])
        self._release_blocks(seq.blocks)
        self.tables[seq.slot, : len(seq.blocks)] = -1
        self._free_slots.append(seq.slot)
        seq.blocks = []
        seq.slot = -1

    def check(self, running: SequenceOf[Sequence], waiting: Collection[Sequence]) -> None:
        """Raises IntegrityError naming the first invariant that does not hold."""
        if any(seq.blocks or seq.slot != -1 for seq in waiting):
            raise IntegrityError("a waiting sequence holds KV blocks")
        self._pool.check((seq.blocks for seq in running), self._prefix.cached_blocks())
        promised: dict[bytes, int] = {}
        for seq in running:
            self._check_sequence(seq)
            for digest in seq.digests[seq.num_published : seq.num_promised]:
                promised[digest] = promised.get(digest, 0) + 1
        self._prefix.check(promised)
        slots = [seq.slot for seq in running] + self._free_slots
        if sorted(slots) != list(range(self._limits.max_running)):
            raise IntegrityError("the rows of the block table array are not one a running sequence")
        if any((self.tables[slot] != -1).any() for slot in self._free_slots):
            raise IntegrityError("a block table row is in use without a sequence")
        self._check_banker(running)

    def _is_safe(self, older: SequenceOf[Sequence], num_new: int, num_later: int) -> bool:
        """Whether the older sequences, and then this one, can end after `num_new` more blocks are handed out.

        Shared blocks are not counted as coming back, which errs on the safe side.
        """
        num_free = self._pool.free_blocks() - num_new
        if num_free < 0:
            return False
        for seq in older:
            if seq.max_blocks - len(seq.blocks) > num_free:
                return False
            num_free += self._pool.exclusive_count(seq.blocks)
        return num_later <= num_free

    def _load(self, seq: Sequence, digests: SequenceOf[bytes]) -> None:
        """Fill the sequence's next blocks from the disk instead of computing them, as far as they are there."""
        if self._stored is None or not (num_stored := self._stored.count(digests)):
            return
        start = seq.num_published
        blocks = seq.blocks[start : start + num_stored]
        num_loaded = self._stored.load(digests[:num_stored], blocks)
        seq.num_computed = seq.cached_tokens = (start + num_loaded) * KV_BLOCK_LEN
        self.publish(seq)

    def _take_block(self, seq: Sequence) -> None:
        block = self._pool.allocate()
        self.tables[seq.slot, len(seq.blocks)] = block
        seq.blocks.append(block)

    def _replace(self, seq: Sequence, index: int, block: int) -> None:
        # Besides saving memory this keeps shared blocks at the front of every table.
        self._pool.retain(block)
        self._pool.release(seq.blocks[index])
        seq.blocks[index] = block
        self.tables[seq.slot, index] = block

    def _release_blocks(self, blocks: SequenceOf[int]) -> None:
        # The end first, so that the end of a chain is evicted before the beginning it depends on.
        for block in reversed(blocks):
            self._pool.release(block)

    def _check_sequence(self, seq: Sequence) -> None:
        row = self.tables[seq.slot]
        if row[: len(seq.blocks)].tolist() != seq.blocks or (row[len(seq.blocks) :] != -1).any():
            raise IntegrityError(f"the block table of request {seq.id!r} is not what it holds")
        if not seq.num_computed < len(seq.token_ids) <= seq.max_len or len(seq.blocks) > seq.max_blocks:
            raise IntegrityError(f"request {seq.id!r} has outgrown its limits")
        if seq.num_computed > len(seq.blocks) * KV_BLOCK_LEN:
            raise IntegrityError(f"request {seq.id!r} has computed tokens without a KV block")
        if self._limits.prefix_cache and seq.num_published != seq.num_computed // KV_BLOCK_LEN:
            raise IntegrityError(f"request {seq.id!r} has full KV blocks that were not published")
        parent = seq.root
        for index in range(seq.num_published):
            parent = chain_digest(parent, seq.token_ids[index * KV_BLOCK_LEN : (index + 1) * KV_BLOCK_LEN])
            if seq.digests[index] != parent or self._prefix.block_of(parent) != seq.blocks[index]:
                raise IntegrityError(f"KV block {seq.blocks[index]} of request {seq.id!r} is cached under other tokens")
        for block in seq.blocks[seq.num_published :]:
            if self._pool.refcount(block) != 1:
                raise IntegrityError(f"KV block {block} is shared although it is still being written")

    def _check_banker(self, running: SequenceOf[Sequence]) -> None:
        last_holder: Mapping[int, int] = {block: i for i, seq in enumerate(running) for block in seq.blocks}
        num_free = self._pool.free_blocks()
        for i, seq in enumerate(running):
            if seq.max_blocks - len(seq.blocks) > num_free:
                raise IntegrityError(f"request {seq.id!r} can no longer be sure of its full length")
            num_free += sum(last_holder[block] == i for block in seq.blocks)
