"""Which full KV block holds which tokens: a chain of hashes from the first token on, salted by tenant.

Equal digests mean equal salt and equal tokens from position 0, which is exactly when keys and values are equal.
BLAKE2b with 256 bits, because a collision would answer one user with another's conversation.
"""

import hashlib
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wayra.backends.api import KV_BLOCK_LEN
from wayra.base.errors import IntegrityError

_DIGEST_BYTES = 32


def root_digest(salt: str) -> bytes:
    """Where the chain of a tenant starts."""
    encoded = salt.encode("utf-8", "surrogatepass")
    # The person tag keeps a salt from being mistaken for a parent digest with tokens.
    return hashlib.blake2b(encoded, digest_size=_DIGEST_BYTES, person=b"wayra-salt").digest()


def chain_digest(parent: bytes, token_ids: Sequence[int]) -> bytes:
    """The digest of a block of tokens that follows the blocks `parent` stands for."""
    return hashlib.blake2b(parent + array("i", token_ids).tobytes(), digest_size=_DIGEST_BYTES).digest()


def prompt_digests(salt: str, token_ids: Sequence[int]) -> list[bytes]:
    """One digest a full block of the tokens."""
    digests: list[bytes] = []
    digest = root_digest(salt)
    for start in range(0, len(token_ids) - KV_BLOCK_LEN + 1, KV_BLOCK_LEN):
        digest = chain_digest(digest, token_ids[start : start + KV_BLOCK_LEN])
        digests.append(digest)
    return digests


@dataclass(frozen=True, slots=True)
class _Entry:
    """Why a block may be shared: kept so that the digest can be checked against the tokens."""

    digest: bytes
    parent: bytes
    token_ids: tuple[int, ...]


class PrefixCache:
    """Digest -> block, and the digests that some running sequence is about to compute."""

    def __init__(self) -> None:
        self._block_of: dict[bytes, int] = {}
        self._entries: dict[int, _Entry] = {}
        self._promised: dict[bytes, int] = {}

    def match(self, digests: Iterable[bytes]) -> list[int]:
        """The blocks of the longest cached beginning of a chain."""
        blocks: list[int] = []
        for digest in digests:
            block = self._block_of.get(digest)
            if block is None:
                break
            blocks.append(block)
        return blocks

    def block_of(self, digest: bytes) -> int | None:
        return self._block_of.get(digest)

    def cached_blocks(self) -> Iterable[int]:
        return self._entries.keys()

    def publish(self, digest: bytes, parent: bytes, token_ids: Sequence[int], block: int) -> None:
        """Offer a fully computed block. Neither the digest nor the block may be published already."""
        self._block_of[digest] = block
        self._entries[block] = _Entry(digest, parent, tuple(token_ids))

    def forget(self, block: int) -> None:
        """The block is about to be overwritten."""
        del self._block_of[self._entries.pop(block).digest]

    def promise(self, digests: Iterable[bytes]) -> None:
        """A running sequence will publish these, so that an equal prompt had better wait for them."""
        for digest in digests:
            self._promised[digest] = self._promised.get(digest, 0) + 1

    def withdraw(self, digests: Iterable[bytes]) -> None:
        """Promises kept, or given up."""
        for digest in digests:
            count = self._promised[digest] - 1
            if count:
                self._promised[digest] = count
            else:
                del self._promised[digest]

    def is_promised(self, digest: bytes) -> bool:
        return digest in self._promised

    def check(self, promised: Mapping[bytes, int]) -> None:
        """Raises IntegrityError unless each digest follows from its tokens and the promises are those given."""
        if len(self._block_of) != len(self._entries):
            raise IntegrityError("the prefix cache has two blocks for one digest")
        for block, entry in self._entries.items():
            if self._block_of.get(entry.digest) != block:
                raise IntegrityError(f"the prefix cache lost track of KV block {block}")
            if len(entry.token_ids) != KV_BLOCK_LEN or chain_digest(entry.parent, entry.token_ids) != entry.digest:
                raise IntegrityError(f"the digest of KV block {block} does not follow from its tokens")
        if self._promised != promised:
            raise IntegrityError("the prefix cache's promises are not those of the running sequences")
