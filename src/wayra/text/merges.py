"""Recovers the merges of a BPE from files that only rank or score whole pieces.

Two neighbours may merge whenever their concatenation is a piece; the better the piece, the earlier the merge.
"""

from collections.abc import Mapping, Sequence

from wayra.base.errors import FileFormatError

MAX_PIECE_LEN = 1024
"""Characters or bytes of a piece. Real ones stay below 300; splitting a piece in every way costs its length squared."""


def merges_from_scores(pieces: Mapping[str, int], scores: Sequence[float], parts: Mapping[str, int]) -> list[int]:
    """Merges of a SentencePiece model, flat ids, best first.

    pieces: what a merge may produce, with ids. parts: what it may join. scores: by id, higher is better.
    Pieces of equal score merge in the order of the converter of transformers: longer left part, then longer right part.
    """
    found: list[tuple[float, int, int, int, int]] = []
    for piece, token_id in pieces.items():
        _check_length(len(piece))
        rank = -scores[token_id]
        for border in range(1, len(piece)):
            left = parts.get(piece[:border])
            if left is not None and (right := parts.get(piece[border:])) is not None:
                found.append((rank, -border, border - len(piece), left, right))
    found.sort(key=lambda merge: merge[:3])
    return [token_id for merge in found for token_id in merge[3:]]


def merges_from_ranks(ranks: Mapping[bytes, int]) -> list[int]:
    """Merges of a tiktoken vocabulary, flat ids, best first. ranks: lower merges earlier; the rank is the id."""
    found: list[tuple[int, int, int]] = []
    lookup = ranks.get
    for piece, rank in ranks.items():
        _check_length(len(piece))
        for border in range(1, len(piece)):
            left = lookup(piece[:border])
            if left is not None and (right := lookup(piece[border:])) is not None:
                found.append((rank, left, right))
    found.sort()
    return [token_id for merge in found for token_id in merge[1:]]


def _check_length(length: int) -> None:
    if length > MAX_PIECE_LEN:
        raise FileFormatError(
            f"the vocabulary has a piece of {length} characters, limit is {MAX_PIECE_LEN}; fetch the model again"
        )
