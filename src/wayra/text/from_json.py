"""Makes a tokenizer from a folder as Hugging Face lays it out.

`tokenizer.json` holds the BPE, `tokenizer_config.json` names BOS and EOS, `generation_config.json` and `config.json`
list further ids that end a text. A folder with only Meta's `tokenizer.model` is read as tiktoken.
"""

import operator
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import msgspec

from wayra.base.errors import FileFormatError, UnsupportedModel
from wayra.text.files import read_bounded, read_optional_object
from wayra.text.from_tiktoken import tokenizer_from_tiktoken
from wayra.text.pieces import SPACE_MARK, PieceKind
from wayra.text.recipe import MAX_VOCAB_SIZE, AddedToken, Recipe
from wayra.text.tokenizer import Tokenizer
from wayra.text.turn_ends import turn_end_ids

MAX_TOKENIZER_BYTES = 256 << 20
MAX_CONFIG_BYTES = 16 << 20


class _Model(msgspec.Struct):
    vocab: dict[str, int]
    merges: list[str | tuple[str, str]]
    type: str = "BPE"
    unk_token: str | None = None
    byte_fallback: bool | None = None
    fuse_unk: bool | None = None
    ignore_merges: bool | None = None
    continuing_subword_prefix: str | None = None
    end_of_word_suffix: str | None = None
    dropout: float | None = None


class _Added(msgspec.Struct):
    id: int
    content: str
    special: bool = False
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False


class _File(msgspec.Struct):
    model: _Model
    added_tokens: list[_Added] = []
    normalizer: dict[str, Any] | None = None
    pre_tokenizer: dict[str, Any] | None = None
    post_processor: dict[str, Any] | None = None
    decoder: dict[str, Any] | None = None


class _ModelKind(msgspec.Struct):
    type: str | None = None


class _FileKind(msgspec.Struct):
    model: _ModelKind


def tokenizer_from_folder(folder: Path) -> Tokenizer:
    """The tokenizer of a model folder.

    Raises FileFormatError for missing or malformed files, UnsupportedModel for anything but BPE.
    """
    path = folder / "tokenizer.json"
    if path.exists():
        return Tokenizer(_recipe(path, folder), str(path))
    for tiktoken_path in (folder / "tokenizer.model", folder / "original" / "tokenizer.model"):
        if tiktoken_path.exists():
            return tokenizer_from_tiktoken(tiktoken_path)
    raise FileFormatError(f"{folder} has neither tokenizer.json nor tokenizer.model; fetch the whole model")


def _recipe(path: Path, folder: Path) -> Recipe:
    file = _parse(path)
    ids = _checked_vocabulary(file, path)
    size = 1 + max(max(ids.values(), default=-1), max((token.id for token in file.added_tokens), default=-1))
    if not 0 < size <= MAX_VOCAB_SIZE:
        raise FileFormatError(f"{path} has token ids up to {size - 1}, expected 0 to {MAX_VOCAB_SIZE - 1}")
    kind, strip_space = _decoding(file.decoder, path)
    config = read_optional_object(folder / "tokenizer_config.json", MAX_CONFIG_BYTES)
    added = [
        AddedToken(token.id, token.content, token.special, token.lstrip, token.rstrip, token.single_word)
        for token in file.added_tokens
    ]
    by_text = ids | {token.text: token.id for token in added}
    eos_ids = _eos_ids(folder, config, by_text, added, size)
    ends = {i for i in eos_ids if i not in {token.id for token in added}}
    added += [AddedToken(i, text, is_special=True) for text, i in ids.items() if i in ends]
    hidden = {token.id for token in added if token.is_special}
    unknown_id = None if file.model.unk_token is None else ids.get(file.model.unk_token)
    pieces: list[str | None] = [None] * size
    for piece, token_id in ids.items():
        if piece and (token_id not in hidden or token_id == unknown_id):
            pieces[token_id] = piece
    bos = token_text(config, "bos_token")
    return Recipe(
        kind=kind,
        pieces=pieces,
        merges=_merges(file.model, ids, hidden, path),
        added=added,
        normalizer=file.normalizer,
        pre_tokenizer=file.pre_tokenizer,
        unknown_id=unknown_id if unknown_id is not None and pieces[unknown_id] else None,
        byte_fallback=bool(file.model.byte_fallback),
        fuse_unknown=bool(file.model.fuse_unk),
        ignore_merges=bool(file.model.ignore_merges),
        strip_space=strip_space,
        bos_id=None if bos is None else by_text.get(bos),
        eos_ids=sorted(eos_ids),
        add_bos=_adds_bos(config, file.post_processor, bos),
    )


def token_text(config: Mapping[str, object], key: str) -> str | None:
    """A token that a tokenizer_config.json names, as a string or as an object with `content`."""
    value = config.get(key)
    if isinstance(value, Mapping):
        value = cast(Mapping[str, object], value).get("content")
    if value is not None and not isinstance(value, str):
        raise FileFormatError(f"{key} in tokenizer_config.json is {type(value).__name__}, expected a token's text")
    return value


def _parse(path: Path) -> _File:
    content = read_bounded(path, MAX_TOKENIZER_BYTES)
    try:
        kind = msgspec.json.decode(content, type=_FileKind).model.type
        if kind not in (None, "BPE"):
            raise UnsupportedModel(f"{path} is a {kind[:40]} tokenizer, supported is BPE; use another model")
        file = msgspec.json.decode(content, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FileFormatError(f"{path} is malformed: {error}; fetch the model again") from error
    model = file.model
    if model.continuing_subword_prefix or model.end_of_word_suffix or model.dropout:
        raise UnsupportedModel(f"{path} uses subword affixes or dropout, which are not supported; use another model")
    return file


def _checked_vocabulary(file: _File, path: Path) -> dict[str, int]:
    ids = file.model.vocab
    numbers = [*ids.values(), *(token.id for token in file.added_tokens)]
    if numbers and not 0 <= min(numbers) <= max(numbers) < MAX_VOCAB_SIZE:
        raise FileFormatError(f"{path} has token ids outside 0 to {MAX_VOCAB_SIZE - 1}; fetch the model again")
    if len(set(ids.values())) != len(ids):
        raise FileFormatError(f"{path} gives one id to several tokens; fetch the model again")
    return ids


def _merges(model: _Model, ids: Mapping[str, int], hidden: set[int], path: Path) -> list[int]:
    """Flat ids, without the merges that make or use a control token."""
    pairs = [tuple(merge.split(" ")) if isinstance(merge, str) else merge for merge in model.merges]
    if any(len(pair) != 2 for pair in pairs):
        raise FileFormatError(f"{path} has a merge that is not two tokens; fetch the model again")
    parts = [part for pair in pairs for part in pair]
    try:
        merges = [ids[part] for part in parts]
        results = [ids[text] for text in map(operator.add, parts[0::2], parts[1::2])]
    except KeyError as error:
        raise FileFormatError(
            f"{path} has merges that need the token {str(error.args[0])[:80]!r}, which is not in its vocabulary"
        ) from error
    triples = zip(merges[0::2], merges[1::2], results, strict=True)
    return [part for triple in triples if hidden.isdisjoint(triple) for part in triple[:2]]


def _steps(component: Mapping[str, Any] | None, key: str) -> list[Mapping[str, Any]]:
    """A component of the library, its sequences flattened one level."""
    if component is None:
        return []
    inner: object = component.get(key) if component.get("type") == "Sequence" else [component]
    if not isinstance(inner, list):
        return []
    return [cast(Mapping[str, Any], step) for step in cast(list[object], inner) if isinstance(step, Mapping)]


def _decoding(decoder: Mapping[str, Any] | None, path: Path) -> tuple[PieceKind, bool]:
    """How pieces spell text, and whether decoding takes a leading space away."""
    steps = _steps(decoder, "decoders")
    kinds = {str(step.get("type")) for step in steps}
    if kinds == {"ByteLevel"}:
        return "byte_level", False
    if "Metaspace" in kinds and kinds <= {"Metaspace", "ByteFallback", "Fuse"}:
        space = next(step for step in steps if step.get("type") == "Metaspace")
        strips = space.get("prepend_scheme", "always") != "never" and space.get("add_prefix_space", True) is not False
        if space.get("replacement", SPACE_MARK) == SPACE_MARK:
            return "sentencepiece", strips
    if "Replace" in kinds and kinds <= {"Replace", "ByteFallback", "Fuse", "Strip"}:
        replaces = [step for step in steps if step.get("type") == "Replace"]
        marks = [step.get("pattern") == {"String": SPACE_MARK} and step.get("content") == " " for step in replaces]
        strip = next((step for step in steps if step.get("type") == "Strip"), None)
        if all(marks) and (strip is None or (strip.get("content") == " " and strip.get("start") in (0, 1))):
            return "sentencepiece", strip is not None and strip.get("start") == 1
    raise UnsupportedModel(
        f"{path} decodes by {', '.join(sorted(kinds)) or 'nothing'}, supported are byte-level and "
        "SentencePiece vocabularies; use another model"
    )


def _adds_bos(config: Mapping[str, object], post_processor: Mapping[str, Any] | None, bos: str | None) -> bool:
    """add_bos_token where it is given; otherwise whether the post-processor puts BOS first."""
    flag = config.get("add_bos_token")
    if isinstance(flag, bool):
        return flag
    for step in _steps(post_processor, "processors"):
        single: object = step.get("single")
        if step.get("type") == "TemplateProcessing" and isinstance(single, list) and single:
            first = cast(list[object], single)[0]
            special: object = cast(Mapping[str, Any], first).get("SpecialToken") if isinstance(first, Mapping) else None
            return isinstance(special, Mapping) and bos is not None and cast(Any, special).get("id") == bos
    return False


def _eos_ids(
    folder: Path,
    config: Mapping[str, object],
    by_text: Mapping[str, int],
    added: Iterable[AddedToken],
    size: int,
) -> set[int]:
    ids = turn_end_ids({token.id: token.text for token in added})
    eos = token_text(config, "eos_token")
    if eos is not None and eos in by_text:
        ids.add(by_text[eos])
    for name in ("generation_config.json", "config.json"):
        value = read_optional_object(folder / name, MAX_CONFIG_BYTES).get("eos_token_id")
        listed: list[object] = cast(list[object], value) if isinstance(value, list) else [value]
        for token_id in listed:
            if token_id is None:
                continue
            if type(token_id) is not int:
                raise FileFormatError(f"eos_token_id in {folder / name} is {token_id!r:.40}, expected token ids")
            # A vocabulary padded for speed has ids without tokens; they never end anything.
            if 0 <= token_id < size:
                ids.add(token_id)
    return ids
