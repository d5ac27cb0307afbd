"""How a vocabulary spells bytes: the byte-level alphabet of GPT-2 and the pieces of SentencePiece.

Knows nothing of merges, files or special tokens.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

PieceKind = Literal["byte_level", "sentencepiece"]

SPACE_MARK = "\u2581"
"""How SentencePiece writes a space."""

_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _alphabet() -> dict[str, int]:
    """Printable Latin-1 characters stand for themselves; the other bytes take the code points from 256 on, in order."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {chr(byte): byte for byte in plain}
    rest = (byte for byte in range(256) if chr(byte) not in letters)
    letters.update((chr(256 + rank), byte) for rank, byte in enumerate(rest))
    return letters


BYTE_OF_LETTER: Mapping[str, int] = MappingProxyType(_alphabet())
LETTER_OF_BYTE: tuple[str, ...] = tuple(sorted(BYTE_OF_LETTER, key=BYTE_OF_LETTER.__getitem__))


def spell_bytes(raw: bytes) -> str:
    """The byte-level piece that stands for `raw`."""
    return "".join([LETTER_OF_BYTE[byte] for byte in raw])


def piece_bytes(piece: str, kind: PieceKind) -> bytes:
    """The bytes a piece stands for. A byte-level piece with letters outside the alphabet stands for its own text."""
    if kind == "sentencepiece":
        if match := _BYTE_PIECE.fullmatch(piece):
            return bytes((int(match[1], 16),))
        return piece.replace(SPACE_MARK, " ").encode("utf-8", "replace")
    try:
        return bytes([BYTE_OF_LETTER[letter] for letter in piece])
    except KeyError:
        return piece.encode("utf-8", "replace")
