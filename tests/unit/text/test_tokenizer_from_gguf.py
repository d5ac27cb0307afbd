"""GGUF metadata to tokens: the two kinds of vocabulary, special tokens, and everything that can be wrong with them."""

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import tokenizers
from text_samples import byte_level_metadata, sentencepiece_metadata

from wayra.base.errors import FileFormatError, InvalidParameter, UnsupportedModel
from wayra.text.from_gguf import tokenizer_from_gguf
from wayra.text.pretokenizers import PRE_RULES, pre_rule
from wayra.text.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def byte_level() -> Tokenizer:
    return tokenizer_from_gguf(byte_level_metadata())


@pytest.fixture(scope="module")
def sentencepiece() -> Tokenizer:
    return tokenizer_from_gguf(sentencepiece_metadata())


def pieces_of(tokenizer: Tokenizer, text: str) -> list[bytes]:
    return [tokenizer.token_bytes(i) for i in tokenizer.encode(text, add_bos=False)]


def test_byte_level_merges_apply_in_order(byte_level: Tokenizer) -> None:
    assert pieces_of(byte_level, "hello world") == [b"hello", b" world"]
    assert pieces_of(byte_level, "é") == ["é".encode()]


def test_user_text_never_becomes_a_control_token(byte_level: Tokenizer) -> None:
    end = byte_level.special_id("<|im_end|>")
    assert end is not None
    assert end not in byte_level.encode("a<|im_end|>b")
    assert byte_level.encode("a<|im_end|>b", parse_special=True).count(end) == 1
    assert byte_level.decode(byte_level.encode("a<|im_end|>b")) == "a<|im_end|>b"


def test_user_defined_tokens_are_always_recognised_and_shown(byte_level: Tokenizer) -> None:
    tool = byte_level.special_id("<tool>")
    assert tool in byte_level.encode("a<tool>b")
    assert byte_level.decode(byte_level.encode("a<tool>b")) == "a<tool>b"
    assert tool is not None
    assert not byte_level.is_special(tool)


def test_control_tokens_are_hidden_unless_asked_for(byte_level: Tokenizer) -> None:
    ids = byte_level.encode("<|im_start|>hello<|im_end|>", parse_special=True)
    assert byte_level.decode(ids) == "hello"
    assert byte_level.decode(ids, skip_special=False) == "<|im_start|>hello<|im_end|>"


def test_bos_is_added_as_the_file_says_unless_told() -> None:
    metadata = byte_level_metadata() | {"tokenizer.ggml.add_bos_token": True}
    tokenizer = tokenizer_from_gguf(metadata)
    bos = metadata["tokenizer.ggml.bos_token_id"]
    assert tokenizer.encode("")[:1] == [bos]
    assert tokenizer.encode("", add_bos=False) == []
    assert tokenizer_from_gguf(byte_level_metadata()).encode("", add_bos=True) == [bos]


def test_turn_ends_are_found_by_name_beside_eos(byte_level: Tokenizer) -> None:
    assert {byte_level.token_bytes(i) for i in byte_level.eos_ids} == {b"<|end_of_text|>", b"<|im_end|>"}


def test_turn_end_typed_as_ordinary_token_is_still_a_control_token() -> None:
    metadata = byte_level_metadata()
    eos = metadata["tokenizer.ggml.eos_token_id"]
    types = list(metadata["tokenizer.ggml.token_type"])  # type: ignore[call-overload]
    types[eos] = 1
    tokenizer = tokenizer_from_gguf(metadata | {"tokenizer.ggml.token_type": types})
    assert tokenizer.is_special(eos)
    assert tokenizer.decode([eos]) == ""


@pytest.mark.parametrize(
    ("pre", "text", "words"),
    [
        ("smollm", "a 123", ["a", " ", "1", "2", "3"]),
        ("gpt-2", "a 123", ["a", " 123"]),
        ("llama-bpe", "a 12345", ["a", " ", "123", "45"]),
        ("qwen2", "a 123", ["a", " ", "1", "2", "3"]),
        ("tekken", "fooBar's", ["foo", "Bar", "'s"]),
        ("llama4", "fooBar's 1234", ["foo", "Bar's", " ", "123", "4"]),
        ("llama-bpe", "It'S\r\n\n x", ["It", "'S", "\r\n\n", " x"]),
        ("gpt-2", "It'S", ["It", "'", "S"]),
        ("llama-bpe", "a   b", ["a", "  ", " b"]),
        ("gpt-2", "a\n\n\nb", ["a", "\n\n", "\n", "b"]),
        ("llama-bpe", "漢字\uff01", ["漢字", "\uff01"]),
        ("llama-bpe", "e\u0301x", ["e", "\u0301x"]),
        ("tekken", "e\u0301x", ["e\u0301x"]),
        ("llama4", "path/to//", ["path", "/to", "//"]),
    ],
)
def test_each_pre_tokenizer_cuts_words_its_own_way(pre: str, text: str, words: list[str]) -> None:
    empty = {"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {}, "merges": []}}
    backend = tokenizers.Tokenizer.from_str(json.dumps(empty | {"pre_tokenizer": pre_rule(pre).pre_tokenizer}))
    assert [text[start:end] for _, (start, end) in backend.pre_tokenizer.pre_tokenize_str(text)] == words


def test_words_that_are_tokens_need_no_merges_where_the_model_says_so() -> None:
    for pre, expected in (("llama-bpe", [b"xyz"]), ("smaug-bpe", [b"x", b"y", b"z"])):
        metadata = byte_level_metadata(pre)
        tokens = ["xyz" if token == "Ã©" else token for token in metadata["tokenizer.ggml.tokens"]]  # type: ignore[attr-defined]
        merges = metadata["tokenizer.ggml.merges"][:-1]  # type: ignore[index]
        changed = metadata | {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.merges": merges}
        assert pieces_of(tokenizer_from_gguf(changed), "xyz") == expected


def test_qwen_text_is_composed_before_it_is_cut() -> None:
    tokenizer = tokenizer_from_gguf(byte_level_metadata("qwen2"))
    assert tokenizer.encode("e\u0301") == tokenizer.encode("é")


def test_unknown_pre_tokenizer_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnsupportedModel, match=r"'martian', known are .*llama-bpe.*smollm"):
        tokenizer_from_gguf(byte_level_metadata("martian"))
    metadata = byte_level_metadata()
    del metadata["tokenizer.ggml.pre"]
    with pytest.raises(UnsupportedModel, match="'missing'"):
        tokenizer_from_gguf(metadata)


@pytest.mark.parametrize("pre", sorted(PRE_RULES))
def test_every_known_pre_tokenizer_round_trips(pre: str) -> None:
    tokenizer = tokenizer_from_gguf(byte_level_metadata(pre))
    text = "Hello's 123\n\n  漢字 🎉 é\tx"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_another_kind_of_tokenizer_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedModel, match="'bert', supported are 'gpt2' and 'llama'"):
        tokenizer_from_gguf(byte_level_metadata() | {"tokenizer.ggml.model": "bert"})


def test_sentencepiece_prepends_a_space_and_decoding_removes_it(sentencepiece: Tokenizer) -> None:
    assert pieces_of(sentencepiece, "hello world") == [b" hello", b" world"]
    assert sentencepiece.decode(sentencepiece.encode("hello world")) == "hello world"
    assert sentencepiece.decode(sentencepiece.encode("  hello")) == "  hello"
    assert sentencepiece.decode(sentencepiece.encode("hello")[1:], is_continuation=True) == " hello"


def test_sentencepiece_without_prefix_keeps_the_text_as_it_is() -> None:
    tokenizer = tokenizer_from_gguf(sentencepiece_metadata() | {"tokenizer.ggml.add_space_prefix": False})
    assert pieces_of(tokenizer, "lo lo")[0] == b"lo"
    assert tokenizer.decode(tokenizer.encode(" lo")) == " lo"


def test_sentencepiece_spells_unknown_characters_in_bytes(sentencepiece: Tokenizer) -> None:
    ids = sentencepiece.encode("漢", add_bos=False)
    assert [sentencepiece.token_bytes(i) for i in ids] == [b" ", b"\xe6", b"\xbc", b"\xa2"]
    assert sentencepiece.decode(ids) == "漢"


def test_sentencepiece_byte_and_control_tokens_are_not_reached_by_their_names(sentencepiece: Tokenizer) -> None:
    ids = sentencepiece.encode("</s><0x41>", add_bos=False)
    assert 2 not in ids
    assert 3 + 0x41 not in ids
    assert sentencepiece.decode(ids) == "</s><0x41>"


def test_sentencepiece_has_bos_and_defaults_of_llama2() -> None:
    metadata = sentencepiece_metadata()
    del metadata["tokenizer.ggml.bos_token_id"], metadata["tokenizer.ggml.eos_token_id"]
    tokenizer = tokenizer_from_gguf(metadata)
    assert (tokenizer.bos_id, tokenizer.eos_ids, tokenizer.add_bos) == (1, {2}, True)


def _spm_reference(text: str, pieces: list[str], scores: list[float]) -> list[str]:
    """The published algorithm, plainly: merge the best-scored neighbours, leftmost first, until none merge."""
    ids = {piece: i for i, piece in enumerate(pieces)}
    parts = list("▁" + text.replace(" ", "▁"))
    while True:
        joins = [(-scores[ids[a + b]], i) for i, (a, b) in enumerate(pairwise(parts)) if a + b in ids]
        if not joins:
            return parts
        at = min(joins)[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


@pytest.mark.parametrize("text", ["hello world", "ab c abc aabcc", "helllo  wor ld", "   ", "abcbcab lolo hel"])
def test_sentencepiece_merges_by_score_like_the_published_algorithm(sentencepiece: Tokenizer, text: str) -> None:
    metadata = sentencepiece_metadata()
    expected = _spm_reference(text, metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.scores"])  # type: ignore[arg-type]
    assert pieces_of(sentencepiece, text) == [part.replace("▁", " ").encode() for part in expected]


def test_serialised_tokenizer_is_the_same_tokenizer() -> None:
    for metadata in (byte_level_metadata("llama-bpe"), sentencepiece_metadata()):
        original = tokenizer_from_gguf(metadata)
        cached = tokenizer_from_gguf({}, cached_json=original.to_bytes())
        text = "hello <|im_end|> world</s> 漢字 12 <tool>"
        for parse_special in (False, True):
            assert cached.encode(text, parse_special=parse_special) == original.encode(
                text, parse_special=parse_special
            )
        for name in ("vocab_size", "bos_id", "eos_ids", "add_bos", "strips_space"):
            assert getattr(cached, name) == getattr(original, name)
        assert [cached.token_bytes(i) for i in range(cached.vocab_size)] == [
            original.token_bytes(i) for i in range(original.vocab_size)
        ]
        assert cached.to_bytes() == original.to_bytes()


def test_damaged_cache_is_ignored() -> None:
    tokenizer = tokenizer_from_gguf(byte_level_metadata(), cached_json=b'{"format": "wayra-tokenizer-1"')
    assert pieces_of(tokenizer, "hello") == [b"hello"]


def test_repeated_and_empty_pieces_decode_but_the_first_encodes() -> None:
    metadata = byte_level_metadata()
    tokens = [*metadata["tokenizer.ggml.tokens"], "hello", ""]  # type: ignore[misc]
    types = [*metadata["tokenizer.ggml.token_type"], 1, 1]  # type: ignore[misc]
    tokenizer = tokenizer_from_gguf(metadata | {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types})
    assert tokenizer.encode("hello") == [tokens.index("hello")]
    assert tokenizer.token_bytes(len(tokens) - 2) == b"hello"
    assert tokenizer.token_bytes(len(tokens) - 1) == b""
    assert Tokenizer.from_bytes(tokenizer.to_bytes()).token_bytes(len(tokens) - 2) == b"hello"


def test_ids_past_the_vocabulary_have_no_text_and_negative_ones_are_refused(byte_level: Tokenizer) -> None:
    assert byte_level.token_bytes(byte_level.vocab_size + 5) == b""
    assert byte_level.decode([10**6]) == ""
    with pytest.raises(InvalidParameter, match="negative"):
        byte_level.decode([-1])


def test_lone_surrogate_is_refused_in_one_sentence(byte_level: Tokenizer) -> None:
    with pytest.raises(InvalidParameter, match="lone surrogate"):
        byte_level.encode("a\ud800b")


class LazyArray:
    """What a parser may give for an array: it has a length and can be read in order, no more."""

    def __init__(self, values: list[object]) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[object]:
        return iter(self._values)


def test_lazy_arrays_are_read_like_lists() -> None:
    metadata = {
        key: LazyArray(value) if isinstance(value, list) else value for key, value in byte_level_metadata().items()
    }
    assert pieces_of(tokenizer_from_gguf(metadata), "hello") == [b"hello"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model", None, "tokenizer.ggml.model is missing"),
        ("model", 3, "tokenizer.ggml.model is int, expected a string"),
        ("tokens", None, "tokenizer.ggml.tokens is missing"),
        ("tokens", [], "has 0 entries"),
        ("tokens", "abc", "tokenizer.ggml.tokens is str, expected an array"),
        ("tokens", [b"a"], "something other than strings"),
        ("token_type", [1], "has 1 entries, the vocabulary has"),
        ("token_type", ["x"] * 274, "something other than integers"),
        ("merges", ["h e l"], "an entry that is not two tokens"),
        ("merges", ["he"], "an entry that is not two tokens"),
        ("merges", ["h zz"], "needs the token 'zz'"),
        ("merges", ["z z"], "needs the token 'zz'"),
        ("bos_token_id", 100_000, "tokenizer.ggml.bos_token_id is 100000, the vocabulary has"),
        ("eos_token_id", "x", "expected an integer"),
        ("add_bos_token", 1, "expected a boolean"),
    ],
)
def test_malformed_metadata_is_named(key: str, value: object, message: str) -> None:
    metadata = byte_level_metadata() | {f"tokenizer.ggml.{key}": value}
    with pytest.raises(FileFormatError, match=re.escape(message)):
        tokenizer_from_gguf(metadata)


@pytest.mark.parametrize("score", [None, float("nan"), float("inf"), "x"])
def test_malformed_scores_are_named(score: object) -> None:
    metadata = sentencepiece_metadata()
    num_tokens = len(metadata["tokenizer.ggml.tokens"])  # type: ignore[arg-type]
    scores = None if score is None else [score] * num_tokens
    with pytest.raises(FileFormatError, match=r"tokenizer\.ggml\.scores"):
        tokenizer_from_gguf(metadata | {"tokenizer.ggml.scores": scores})
    with pytest.raises(FileFormatError, match="has 1 entries"):
        tokenizer_from_gguf(metadata | {"tokenizer.ggml.scores": [0.0]})


def test_real_model_encodes_like_llama_cpp(smollm2_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    fields = gguf.GGUFReader(smollm2_path).fields
    metadata = {key: field.contents() for key, field in fields.items() if key.startswith("tokenizer.")}
    tokenizer = tokenizer_from_gguf(metadata)
    assert tokenizer.encode("Hello world! It's 12345 day's  \n\n\t x") == [
        *(19556, 905, 17, 657, 506, 216, 33, 34, 35, 36, 37, 1194, 506, 256, 14436, 1792)
    ]
    assert tokenizer.encode("<|im_start|>user\n", parse_special=True) == [1, 4093, 198]
    assert (tokenizer.vocab_size, tokenizer.bos_id, tokenizer.eos_ids) == (49152, 1, {0, 2})
