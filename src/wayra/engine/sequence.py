"""A request under way: its tokens, how far they are computed, and the KV blocks that hold them."""

from collections.abc import Sequence as SequenceOf

import numpy as np
from numpy.typing import NDArray

from wayra.backends.api import KV_BLOCK_LEN
from wayra.engine.pool import Pool
from wayra.engine.prefix_cache import prompt_digests, root_digest
from wayra.engine.request import Constraint, Request, SamplingParams
from wayra.engine.settings import Limits, blocks_for


class TokenHistory:
    """The distinct tokens of a sequence and how often each was generated, kept up to date token by token."""

    def __init__(self, prompt_ids: SequenceOf[int]) -> None:
        distinct = np.unique(np.array(prompt_ids, dtype=np.int32))
        self._len = len(distinct)
        self._ids = np.zeros(max(64, 2 * self._len), dtype=np.int32)
        self._ids[: self._len] = distinct
        self._counts = np.zeros_like(self._ids)
        self._index_of = {int(token_id): i for i, token_id in enumerate(distinct)}

    def add(self, token_id: int) -> None:
        """Count a generated token."""
        index = self._index_of.get(token_id)
        if index is None:
            index = self._len
            if index == len(self._ids):
                self._ids = np.concatenate([self._ids, np.zeros_like(self._ids)])
                self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)])
            self._ids[index] = token_id
            self._index_of[token_id] = index
            self._len += 1
        self._counts[index] += 1

    def ids(self) -> NDArray[np.int32]:
        """int32 [distinct], in order of appearance after the prompt's; a view until the next `add`."""
        return self._ids[: self._len]

    def counts(self) -> NDArray[np.int32]:
        """int32 [distinct], times generated; a view until the next `add`."""
        return self._counts[: self._len]

    def after(self, token_ids: SequenceOf[int]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """(ids, counts) as they would be had these tokens been generated; changes nothing."""
        if not token_ids:
            return self.ids(), self.counts()
        counts = self.counts().copy()
        new: dict[int, int] = {}
        for token_id in token_ids:
            index = self._index_of.get(token_id)
            if index is None:
                new[token_id] = new.get(token_id, 0) + 1
            else:
                counts[index] += 1
        ids = np.concatenate([self.ids(), np.array(list(new), dtype=np.int32)])
        return ids, np.concatenate([counts, np.array(list(new.values()), dtype=np.int32)])


class Sequence:
    """Mutable state of one request; the engine and the KV cache are its only writers.

    token_ids: prompt, then generated. num_computed: leading tokens whose keys and values are stored.
    max_len: tokens at which it ends with "length". max_blocks: KV blocks it may come to hold.
    blocks: its block table; slot: the row of the shared table array, -1 while waiting.
    digests: one a full block known so far; num_published: leading blocks offered to the prefix cache.
    num_stored: leading published blocks that are on disk or on their way there.
    num_promised: leading digests that were promised when it was admitted. admitted_s: when that was.
    mask: uint32 tokens allowed next, or None; set before each step that samples.
    pool: gathers the vector of a request that wants one.
    """

    __slots__ = (
        "admitted_s", "blocks", "cached_tokens", "constraint", "digests", "has_answered", "history", "id", "mask",
        "max_blocks", "max_len", "min_len", "num_computed", "num_promised", "num_published", "num_stored", "params",
        "pool", "prompt_len", "prompt_logprobs", "prompt_top", "root", "seed", "share", "slot", "stop_ids",
        "token_ids", "wants_logprobs",
    )  # fmt: skip

    def __init__(self, request: Request, seed: int, limits: Limits, eos_ids: frozenset[int]) -> None:
        params = request.params
        self.id = request.id
        self.params: SamplingParams = params
        self.share = request.share
        self.constraint: Constraint | None = request.constraint
        self.token_ids = list(request.prompt_ids)
        self.prompt_len = len(self.token_ids)
        answer_len = limits.max_context if params.max_tokens is None else params.max_tokens
        self.max_len = min(self.prompt_len + answer_len, limits.max_context)
        self.min_len = self.prompt_len + params.min_tokens
        # The last token of an answer is never read back, so its keys need no room.
        self.max_blocks = blocks_for(max(self.prompt_len, self.max_len - 1))
        self.num_computed = 0
        self.blocks: list[int] = []
        self.slot = -1
        self.root = root_digest(request.salt)
        self.digests = prompt_digests(request.salt, self.token_ids) if limits.prefix_cache else []
        self.num_published = 0
        self.num_promised = 0
        self.num_stored = 0
        self.cached_tokens = 0
        self.admitted_s: float | None = None
        self.prompt_logprobs: list[float] | None = [] if params.prompt_logprobs else None
        self.prompt_top: list[tuple[tuple[int, float], ...]] | None = [] if params.prompt_top_logprobs else None
        self.wants_logprobs = params.logprobs is not None
        self.seed = seed
        self.stop_ids = params.all_stop_ids(eos_ids)
        self.history = TokenHistory(self.token_ids) if params.has_penalties else None
        self.mask: NDArray[np.uint32] | None = None
        self.has_answered = False
        self.pool = None if request.pooling is None else Pool(request.pooling)

    @property
    def needs_mask(self) -> bool:
        """Whether some tokens may not come next."""
        return self.constraint is not None or (len(self.token_ids) < self.min_len and bool(self.stop_ids))

    def shareable_digests(self) -> list[bytes]:
        """The blocks of the prompt that it may take from others."""
        # Prompt log-probabilities need the logits of every prompt token, and an answer those of the last one.
        # A mean needs the vectors of all of them.
        if self.prompt_logprobs is not None or (self.pool is not None and self.pool.takes_all):
            return []
        return self.digests[: (self.prompt_len - 1) // KV_BLOCK_LEN]

    def append(self, token_id: int) -> None:
        """Take a generated token."""
        self.token_ids.append(token_id)
        if self.history is not None:
            self.history.add(token_id)
