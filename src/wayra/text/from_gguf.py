"""Makes a tokenizer from the metadata of a GGUF file: byte-level BPE ("gpt2") and SentencePiece BPE ("llama").

`tokenizer.ggml.add_eos_token` is not honoured: it is meant for training; a prompt that ends with it ends the answer.
"""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wayra.base.errors import FileFormatError, UnsupportedModel
from wayra.text.merges import merges_from_scores
from wayra.text.metadata import (
    read_flag,
    read_floats,
    read_integers,
    read_string,
    read_strings,
    read_token_id,
)
from wayra.text.pieces import SPACE_MARK
from wayra.text.pretokenizers import pre_rule
from wayra.text.recipe import MAX_VOCAB_SIZE, AddedToken, Recipe
from wayra.text.tokenizer import Tokenizer
from wayra.text.turn_ends import turn_end_ids

_WHAT = "the tokenizer of the GGUF file"
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE = 1, 2, 3, 4, 6


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    """tokens, types: by id. added: control and user-defined tokens. bos_id, eos_ids: as the file says."""

    tokens: Sequence[str]
    types: Sequence[int]
    added: list[AddedToken]
    eos_ids: list[int]


def tokenizer_from_gguf(metadata: Mapping[str, object], *, cached_json: bytes | None = None) -> Tokenizer:
    """The tokenizer a GGUF file describes.

    cached_json: what `Tokenizer.to_bytes` gave for the same file; the arrays are then not read. Ignored when damaged.
    Raises UnsupportedModel for another kind of tokenizer or an unknown `pre`, FileFormatError for malformed values.
    """
    if cached_json is not None:
        try:
            return Tokenizer.from_bytes(cached_json)
        except FileFormatError:
            # The cache is only a shortcut: the file itself still says everything.
            return Tokenizer(recipe_from_gguf(metadata), _WHAT)
    return Tokenizer(recipe_from_gguf(metadata), _WHAT)


def recipe_from_gguf(metadata: Mapping[str, object]) -> Recipe:
    """As `tokenizer_from_gguf`, before anything is built."""
    model = read_string(metadata, "tokenizer.ggml.model")
    if model == "gpt2":
        return _byte_level_recipe(metadata)
    if model == "llama":
        return _sentencepiece_recipe(metadata)
    if model is None:
        raise FileFormatError("tokenizer.ggml.model is missing; the file holds no tokenizer, use one that does")
    raise UnsupportedModel(
        f"tokenizer.ggml.model is {model[:80]!r}, supported are 'gpt2' and 'llama'; use another model"
    )


def _byte_level_recipe(metadata: Mapping[str, object]) -> Recipe:
    name = read_string(metadata, "tokenizer.ggml.pre")
    rule = pre_rule(name if name is not None else "missing")
    vocabulary = _read_vocabulary(metadata)
    add_bos = read_flag(metadata, "tokenizer.ggml.add_bos_token")
    hidden = {token.id for token in vocabulary.added if token.is_special}
    return Recipe(
        kind="byte_level",
        pieces=[None if i in hidden or not token else token for i, token in enumerate(vocabulary.tokens)],
        merges=_read_merges(metadata, vocabulary.tokens, hidden),
        added=vocabulary.added,
        normalizer=dict(rule.normalizer) if rule.normalizer else None,
        pre_tokenizer=dict(rule.pre_tokenizer),
        ignore_merges=rule.ignore_merges,
        bos_id=read_token_id(metadata, "tokenizer.ggml.bos_token_id", len(vocabulary.tokens)),
        eos_ids=vocabulary.eos_ids,
        add_bos=rule.add_bos if add_bos is None else add_bos,
    )


def _sentencepiece_recipe(metadata: Mapping[str, object]) -> Recipe:
    vocabulary = _read_vocabulary(metadata)
    tokens, types, size = vocabulary.tokens, vocabulary.types, len(vocabulary.tokens)
    scores = read_floats(metadata, "tokenizer.ggml.scores", size)
    hidden = {token.id for token in vocabulary.added if token.is_special}
    joinable = {
        token: i for i, token in enumerate(tokens) if token and types[i] not in (_BYTE, _UNKNOWN) and i not in hidden
    }
    unknown_id = _token_id_or(metadata, "tokenizer.ggml.unknown_token_id", 0, size)
    prefix = read_flag(metadata, "tokenizer.ggml.add_space_prefix")
    add_bos = read_flag(metadata, "tokenizer.ggml.add_bos_token")
    has_bytes = sum(kind == _BYTE for kind in types) >= 256
    return Recipe(
        kind="sentencepiece",
        pieces=[None if (i in hidden and i != unknown_id) or not token else token for i, token in enumerate(tokens)],
        merges=merges_from_scores(joinable, scores, joinable),
        added=vocabulary.added,
        normalizer=space_normalizer(prepend=prefix is not False),
        unknown_id=unknown_id if tokens and tokens[unknown_id] else None,
        byte_fallback=has_bytes,
        fuse_unknown=True,
        strip_space=prefix is not False,
        bos_id=_token_id_or(metadata, "tokenizer.ggml.bos_token_id", 1, size),
        eos_ids=vocabulary.eos_ids or ([2] if size > 2 else []),
        add_bos=True if add_bos is None else add_bos,
    )


def space_normalizer(*, prepend: bool) -> dict[str, object]:
    """Spaces become U+2581, one is put in front first if `prepend`; the library's JSON form."""
    steps: list[dict[str, object]] = [{"type": "Prepend", "prepend": SPACE_MARK}] if prepend else []
    steps.append({"type": "Replace", "pattern": {"String": " "}, "content": SPACE_MARK})
    return {"type": "Sequence", "normalizers": steps}


def _token_id_or(metadata: Mapping[str, object], key: str, default: int, vocab_size: int) -> int:
    token_id = read_token_id(metadata, key, vocab_size)
    return min(default, max(vocab_size - 1, 0)) if token_id is None else token_id


def _read_vocabulary(metadata: Mapping[str, object]) -> _Vocabulary:
    tokens = read_strings(metadata, "tokenizer.ggml.tokens")
    if not 0 < len(tokens) <= MAX_VOCAB_SIZE:
        raise FileFormatError(f"tokenizer.ggml.tokens has {len(tokens)} entries, expected 1 to {MAX_VOCAB_SIZE}")
    if metadata.get("tokenizer.ggml.token_type") is None:
        types = [_NORMAL] * len(tokens)
    else:
        types = read_integers(metadata, "tokenizer.ggml.token_type", len(tokens))
    named = (
        read_token_id(metadata, f"tokenizer.ggml.{name}_token_id", len(tokens)) for name in ("eos", "eot", "eom", "bos")
    )
    *end_ids, bos_id = named
    ends = [token_id for token_id in end_ids if token_id is not None]
    special = {i: tokens[i] for i, kind in enumerate(types) if kind in (_CONTROL, _UNKNOWN)}
    user_defined = {i: tokens[i] for i, kind in enumerate(types) if kind == _USER_DEFINED}
    eos_ids = sorted({*ends, *turn_end_ids(special | user_defined)})
    # Old converters typed turn ends and even BOS as ordinary or user-defined tokens; they are control tokens.
    special.update((i, tokens[i]) for i in (*eos_ids, *([] if bos_id is None else [bos_id])))
    added = [AddedToken(i, text, is_special=True) for i, text in special.items()]
    added += [AddedToken(i, text, is_special=False) for i, text in user_defined.items() if i not in special]
    return _Vocabulary(tokens, types, added, eos_ids)


def _read_merges(metadata: Mapping[str, object], tokens: Sequence[str], hidden: set[int]) -> list[int]:
    """The merges as flat ids, without those that make or use a control token."""
    lines = read_strings(metadata, "tokenizer.ggml.merges")
    if any(line.count(" ") != 1 for line in lines):
        raise FileFormatError("tokenizer.ggml.merges has an entry that is not two tokens; fetch the model again")
    parts = " ".join(lines).split(" ") if lines else []
    ids: dict[str, int] = {}
    for token_id, token in enumerate(tokens):
        ids.setdefault(token, token_id)
    try:
        merges = list(map(ids.__getitem__, parts))
        results = list(map(ids.__getitem__, map(operator.add, parts[0::2], parts[1::2])))
    except KeyError as error:
        raise FileFormatError(
            f"tokenizer.ggml.merges needs the token {str(error.args[0])[:80]!r}, which is not in the vocabulary; "
            "fetch the model again"
        ) from error
    if hidden.isdisjoint(merges) and hidden.isdisjoint(results):
        return merges
    triples = zip(merges[0::2], merges[1::2], results, strict=True)
    return [part for triple in triples if hidden.isdisjoint(triple) for part in triple[:2]]
