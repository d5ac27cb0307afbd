"""What every tokenizer file boils down to: pieces, merges, rules. Read it, write it fast, build the BPE from it.

All loaders produce a `Recipe`; a `Tokenizer` is made from nothing else. The serialised form is what a cache keeps: it
loads faster than the file it came from, because pieces and merges need no further checks or derivation.
"""

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, cast

import msgspec
import tokenizers
from tokenizers import models

from wayra.base.errors import FileFormatError, WayraError
from wayra.text.pieces import PieceKind

MAX_VOCAB_SIZE = 4_000_000
"""More entries than any real vocabulary; a file that claims more lies."""


class AddedToken(msgspec.Struct, frozen=True):
    """A token found in the text before BPE sees it.

    is_special: a control token, recognised only on request and hidden by default when decoding.
    takes_left, takes_right: white space beside it belongs to it. whole_word: only between non-word characters.
    """

    id: int
    text: str
    is_special: bool
    takes_left: bool = False
    takes_right: bool = False
    whole_word: bool = False


class Recipe(msgspec.Struct, frozen=True):
    """A complete tokenizer.

    pieces: by token id; None where an id has no piece of its own (holes, control tokens, which `added` holds).
    merges: flat, left id then right id of each merge, best first.
    normalizer, pre_tokenizer: components in the JSON form of the `tokenizers` library.
    unknown_id: the piece for what cannot be spelt, or None.
    strip_space: the encoder prepends a space that decoding removes again.
    """

    kind: PieceKind
    pieces: list[str | None]
    merges: list[int]
    added: list[AddedToken]
    normalizer: dict[str, Any] | None = None
    pre_tokenizer: dict[str, Any] | None = None
    unknown_id: int | None = None
    byte_fallback: bool = False
    fuse_unknown: bool = False
    ignore_merges: bool = False
    strip_space: bool = False
    bos_id: int | None = None
    eos_ids: list[int] = []
    add_bos: bool = False
    format: Literal["wayra-tokenizer-1"] = "wayra-tokenizer-1"


@contextmanager
def library_errors(what: str) -> Generator[None, None, None]:
    """Turn whatever the tokenizers library raises, its panics included, into FileFormatError."""
    try:
        yield
    except WayraError:
        raise
    except BaseException as error:
        # A Rust panic derives from BaseException and its class cannot be imported.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        detail = " ".join(str(error).split())[:200] or type(error).__name__
        raise FileFormatError(f"{what} is malformed: {detail}; fetch the model again") from error


def encode_recipe(recipe: Recipe) -> bytes:
    """Serialise; `decode_recipe` reads it back."""
    return msgspec.json.encode(recipe)


def decode_recipe(encoded: bytes) -> Recipe:
    """Read a serialised recipe, which is to be checked. Raises FileFormatError on what is no recipe."""
    try:
        return msgspec.json.decode(encoded, type=Recipe)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FileFormatError(f"the cached tokenizer is malformed: {error}; delete it and start again") from error


def check_recipe(recipe: Recipe, what: str) -> None:
    """Every id must point into the vocabulary. Raises FileFormatError naming `what`."""
    size = len(recipe.pieces)
    ids = [*recipe.eos_ids, *(token.id for token in recipe.added)]
    ids += [token_id for token_id in (recipe.bos_id, recipe.unknown_id) if token_id is not None]
    for name, values in (("token", ids), ("merge", recipe.merges)):
        if values and not (min(values) >= 0 and max(values) < size):
            raise FileFormatError(f"{what} names a {name} id outside its vocabulary of {size} entries")
    if len(recipe.merges) % 2 or size > MAX_VOCAB_SIZE:
        raise FileFormatError(f"{what} has {len(recipe.merges)} merge parts and {size} entries; both cannot be right")


def build_backend(recipe: Recipe, what: str) -> tokenizers.Tokenizer:
    """The BPE of the recipe, without special tokens. Raises FileFormatError naming `what`."""
    # From the last to the first: the first of two equal pieces encodes; both decode.
    ids = dict(zip(reversed(recipe.pieces), range(len(recipe.pieces) - 1, -1, -1), strict=True))
    ids.pop(None, None)
    vocab = cast(dict[str, int], ids)
    unknown = None if recipe.unknown_id is None else recipe.pieces[recipe.unknown_id]
    shell: dict[str, object] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": recipe.normalizer,
        "pre_tokenizer": recipe.pre_tokenizer,
        "post_processor": None,
        "decoder": None,
        "model": {"type": "BPE", "vocab": {}, "merges": []},
    }
    with library_errors(what):
        backend = tokenizers.Tokenizer.from_str(json.dumps(shell))
        backend.model = models.BPE(
            vocab,
            _merge_pairs(recipe.pieces, recipe.merges, what),
            unk_token=unknown,
            fuse_unk=recipe.fuse_unknown,
            byte_fallback=recipe.byte_fallback,
            ignore_merges=recipe.ignore_merges,
        )
    return backend


def _merge_pairs(pieces: Sequence[str | None], merges: Sequence[int], what: str) -> list[tuple[str, str]]:
    parts = list(map(pieces.__getitem__, merges))
    if None in parts:
        raise FileFormatError(f"{what} has a merge of a token without a piece; fetch the model again")
    texts = iter(cast(list[str], parts))
    return list(zip(texts, texts, strict=True))
