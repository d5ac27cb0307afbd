"""Text to token ids and back. One class for every kind of file; the loaders beside it make the recipe."""

import functools
import json
import operator
from collections.abc import Sequence
from typing import Any, cast

import tokenizers
from msgspec import structs

from wayra.base.errors import InvalidParameter, WayraError
from wayra.text.guard import ControlTextGuard, without_marks
from wayra.text.pieces import PieceKind, piece_bytes
from wayra.text.recipe import AddedToken, Recipe, build_backend, check_recipe, decode_recipe, encode_recipe
from wayra.text.specials import AddedTokenFinder

LONG_TEXT_CHARS = 2_000


class Tokenizer:
    """Immutable and thread-safe.

    vocab_size: one more than the highest token id. bos_id: None when the model has none.
    eos_ids: every id that ends a turn. add_bos: whether the model wants its texts to begin with bos_id.
    """

    def __init__(self, recipe: Recipe, what: str = "the tokenizer") -> None:
        """Build from a recipe. Raises FileFormatError, naming `what`, when the recipe contradicts itself."""
        check_recipe(recipe, what)
        self._backend = build_backend(recipe, what)
        self._kind: PieceKind = recipe.kind
        # The backend holds the bulk.
        self._rules = structs.replace(recipe, pieces=[], merges=[])
        self.vocab_size = len(recipe.pieces)
        self.bos_id = recipe.bos_id
        self.eos_ids = frozenset(recipe.eos_ids)
        self.add_bos = recipe.add_bos and recipe.bos_id is not None
        self.strips_space = recipe.strip_space
        self._added = {token.id: token for token in recipe.added}
        self._ids = {token.text: token.id for token in recipe.added}
        self._always = AddedTokenFinder([token for token in recipe.added if not token.is_special])
        self._everything = AddedTokenFinder(recipe.added)
        self._repeated = _repeated_pieces(recipe, self._backend)

    @classmethod
    def from_bytes(cls, encoded: bytes) -> "Tokenizer":
        """Read what `to_bytes` wrote. Raises FileFormatError on anything else."""
        return cls(decode_recipe(encoded), "the cached tokenizer")

    def to_bytes(self) -> bytes:
        """A serialised form for a cache; `from_bytes` loads it faster than the original file loads."""
        model = cast(dict[str, Any], json.loads(self._backend.to_str()))["model"]
        vocab = cast(dict[str, int], model["vocab"])
        pieces: list[str | None] = [None] * self.vocab_size
        for piece, token_id in vocab.items():
            pieces[token_id] = piece
        for token_id, piece in self._repeated.items():
            pieces[token_id] = piece
        merges = [vocab[part] for pair in model["merges"] for part in pair]
        return encode_recipe(structs.replace(self._rules, pieces=pieces, merges=merges))

    def encode(self, text: str, *, add_bos: bool | None = None, parse_special: bool = False) -> list[int]:
        """Token ids of `text`.

        add_bos: begin with bos_id; None does what the model file says.
        parse_special: turn the text of control tokens into those tokens. Leave it off for text from users.
        Raises InvalidParameter if the text cannot be encoded (a lone surrogate).
        """
        wants_bos = self.add_bos if add_bos is None else add_bos
        ids = [self.bos_id] if wants_bos and self.bos_id is not None else []
        finder = self._everything if parse_special else self._always
        for part in finder.cut(text):
            if isinstance(part, AddedToken):
                ids.append(part.id)
            else:
                ids.extend(self._encode_plain(part))
        return ids

    @functools.cached_property
    def guard(self) -> ControlTextGuard:
        """Marks what reads like this tokenizer's control tokens, for text from users; see `encode_guarded`."""
        return ControlTextGuard(token.text for token in self._added.values() if token.is_special)

    def encode_guarded(self, text: str, mark: str) -> list[int]:
        """Token ids of a rendered prompt, without BOS: control tokens are recognised but for those `guard` marked.

        mark: what `ControlTextGuard.protect` gave; "" when nothing was marked. Raises InvalidParameter as `encode`.
        """
        if not mark:
            return self.encode(text, add_bos=False, parse_special=True)
        ids: list[int] = []
        for part in self._everything.cut(text):
            if isinstance(part, AddedToken):
                ids.append(part.id)
            else:
                ids.extend(self._encode_plain(without_marks(part, mark)))
        return ids

    def decode(self, ids: Sequence[int], *, skip_special: bool = True, is_continuation: bool = False) -> str:
        """The text of `ids`; bytes that are not UTF-8 become U+FFFD.

        skip_special: leave control tokens out.
        is_continuation: the ids go on from other text, so a leading space belongs to them.
        Raises InvalidParameter for a negative id. Ids past the vocabulary have no text.
        """
        raw = b"".join([self.token_bytes(i) for i in ids if not (skip_special and self.is_special(i))])
        if self.strips_space and not is_continuation and raw.startswith(b" "):
            raw = raw[1:]
        return raw.decode("utf-8", "replace")

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes one token stands for; a control token stands for its name, an unknown id for nothing.

        Raises InvalidParameter for a negative id.
        """
        index = operator.index(token_id)
        if index < 0:
            raise InvalidParameter(f"token id {index} is negative; ids run from 0 to {self.vocab_size - 1}")
        if index >= self.vocab_size:
            return b""
        added = self._added.get(index)
        if added is not None:
            return added.text.encode("utf-8", "replace")
        piece = self._repeated.get(index) or self._backend.id_to_token(index)
        return piece_bytes(piece, self._kind) if piece else b""

    @functools.cached_property
    def longest_token_bytes(self) -> int:
        """So much text, at most, becomes one token."""
        return max((len(self.token_bytes(i)) for i in range(self.vocab_size)), default=1) or 1

    def is_special(self, token_id: int) -> bool:
        """Whether the id is a control token."""
        added = self._added.get(token_id)
        return added is not None and added.is_special

    def special_id(self, text: str) -> int | None:
        """The id of the control or user-defined token written `text`, None if there is none."""
        return self._ids.get(text)

    def _encode_plain(self, text: str) -> list[int]:
        try:
            if len(text) < LONG_TEXT_CHARS:
                return self._backend.encode(text, add_special_tokens=False).ids
            # Of the library's ways this one lets other threads run meanwhile: a megabyte takes a second.
            return self._backend.encode_batch_fast([text], add_special_tokens=False)[0].ids
        except WayraError:
            raise
        except BaseException as error:
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            if any("\ud800" <= char <= "\udfff" for char in text):
                problem = "holds a lone surrogate, which is not text; decode the input as UTF-8"
            else:
                problem = f"cannot be tokenized ({' '.join(str(error).split())[:200]}); shorten it"
            raise InvalidParameter(f"the text {problem}") from error


def _repeated_pieces(recipe: Recipe, backend: tokenizers.Tokenizer) -> dict[int, str]:
    """Ids whose piece another id encodes: they only decode."""
    held = len(recipe.pieces) - recipe.pieces.count(None)
    if held == backend.get_vocab_size(with_added_tokens=False):
        return {}
    first: dict[str, int] = {}
    repeated: dict[int, str] = {}
    for token_id, piece in enumerate(recipe.pieces):
        if piece is not None and first.setdefault(piece, token_id) != token_id:
            repeated[token_id] = piece
    return repeated
