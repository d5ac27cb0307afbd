"""Meta's tokenizer.model: the real files of Llama 3 and Llama 4, and small files that are wrong."""

import base64
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest
from text_samples import difficult_texts, llama_models_folder

from wayra.base.errors import FileFormatError, UnsupportedModel
from wayra.text.from_tiktoken import TiktokenLayout, parse_ranks, tokenizer_from_tiktoken
from wayra.text.tokenizer import Tokenizer

BYTES = [bytes((byte,)) for byte in range(256)]


def tiktoken_file(pieces: list[bytes]) -> bytes:
    return b"".join(base64.b64encode(piece) + b" %d\n" % rank for rank, piece in enumerate(pieces))


def merge_by_rank(word: bytes, ranks: Mapping[bytes, int]) -> list[int]:
    """The algorithm of tiktoken, plainly: a whole word if it is a token, else join the lowest-ranked neighbours."""
    if word in ranks:
        return [ranks[word]]
    parts = [word[i : i + 1] for i in range(len(word))]
    while True:
        joins = [(ranks[a + b], i) for i, (a, b) in enumerate(pairwise(parts)) if a + b in ranks]
        if not joins:
            return [ranks[part] for part in parts]
        at = min(joins)[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


@pytest.fixture(scope="module")
def llama3_path() -> Path:
    return llama_models_folder() / "llama_models" / "llama3" / "tokenizer.model"


@pytest.fixture(scope="module")
def llama3(llama3_path: Path) -> Tokenizer:
    return tokenizer_from_tiktoken(llama3_path)


def test_llama3_special_tokens_have_their_published_ids(llama3: Tokenizer) -> None:
    assert llama3.vocab_size == 128_256
    published = {
        "<|begin_of_text|>": 128_000,
        "<|end_of_text|>": 128_001,
        "<|reserved_special_token_1|>": 128_003,
        "<|finetune_right_pad_id|>": 128_004,
        "<|start_header_id|>": 128_006,
        "<|eom_id|>": 128_008,
        "<|eot_id|>": 128_009,
        "<|python_tag|>": 128_010,
        "<|reserved_special_token_2|>": 128_012,
        "<|reserved_special_token_245|>": 128_255,
    }
    assert {text: llama3.special_id(text) for text in published} == published
    assert (llama3.bos_id, llama3.eos_ids, llama3.add_bos) == (128_000, {128_001, 128_008, 128_009}, True)


def test_llama3_encodes_like_its_reference(llama3: Tokenizer) -> None:
    assert llama3.encode("This is a test sentence.") == [128000, 2028, 374, 264, 1296, 11914, 13]
    assert llama3.encode("Hello world! It's 12345 day's Việt  \n\n\t x", add_bos=False) == [
        *(9906, 1917, 0, 1102, 596, 220, 4513, 1774, 1938, 596, 101798, 19124, 197, 865)
    ]
    assert llama3.encode("<|eot_id|>", add_bos=False, parse_special=True) == [128009]
    assert llama3.encode("<|eot_id|>", add_bos=False) == [27, 91, 68, 354, 851, 91, 29]


def test_llama3_words_merge_by_rank(llama3: Tokenizer, llama3_path: Path) -> None:
    ranks = parse_ranks(llama3_path.read_bytes(), "llama3")
    for text in difficult_texts(300, seed=4):
        word = "".join(char for char in text if char.isalpha())
        if word:
            assert llama3.encode(word, add_bos=False) == merge_by_rank(word.encode(), ranks)


def test_llama3_round_trips_everything(llama3: Tokenizer) -> None:
    for text in difficult_texts(300, seed=5):
        assert llama3.decode(llama3.encode(text)) == text


def test_llama3_from_its_serialised_form_is_the_same(llama3: Tokenizer) -> None:
    cached = Tokenizer.from_bytes(llama3.to_bytes())
    for text in difficult_texts(100, seed=6):
        assert cached.encode(text) == llama3.encode(text)
    assert cached.eos_ids == llama3.eos_ids


def test_llama4_special_tokens_and_text() -> None:
    tokenizer = tokenizer_from_tiktoken(llama_models_folder() / "llama_models" / "llama4" / "tokenizer.model")
    assert (tokenizer.vocab_size, tokenizer.bos_id, tokenizer.eos_ids) == (
        202_048,
        200_000,
        {200_001, 200_007, 200_008},
    )
    assert tokenizer.special_id("<|header_start|>") == 200_005
    assert tokenizer.encode("Hello world! It's 12345", add_bos=False) == [19873, 3817, 13, 11680, 220, 7235, 2127]
    for text in difficult_texts(100, seed=7):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_small_vocabulary_merges_by_rank(tmp_path: Path) -> None:
    pieces = [*BYTES, b"ab", b"bc", b"abc", b"aa", b"aaa", b"aaaa", b"cab", b"bcab"]
    path = tmp_path / "tokenizer.model"
    path.write_bytes(tiktoken_file(pieces))
    tokenizer = tokenizer_from_tiktoken(path, TiktokenLayout(r"\w+|\W+", ["<s>"], bos="<s>"))
    ranks = {piece: rank for rank, piece in enumerate(pieces)}
    for word in ("abc", "abcab", "aaaaaaa", "bcabc", "cabcabcab", "aabcb"):
        assert tokenizer.encode(word, add_bos=False) == merge_by_rank(word.encode(), ranks)
    assert tokenizer.encode("") == [len(pieces)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lacks 256"),
        (b"IQ== 0\n", "lacks 255"),
        (b"!!!! 0\n", "line 1: expected a base64 piece"),
        (b"IQ==\n", "line 1: expected a base64 piece"),
        (b"IQ== x\n", "line 1: expected a base64 piece"),
        (b"IQ== 1\n", "line 1: expected a new piece of rank 0"),
        (b"IQ== 0\nIQ== 1\n", "line 2: expected a new piece of rank 1"),
        (b"IQ== 0 0\n", "line 1"),
        (b"IQ== " + b"9" * 5000 + b"\n", "line 1"),
        (tiktoken_file([*BYTES, b"x" * 2000]), "a piece of 2000 characters, limit is 1024"),
    ],
)
def test_malformed_rank_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=message):
        tokenizer_from_tiktoken(path, TiktokenLayout(r"\w+|\W+", []))


def test_a_sentencepiece_model_of_the_same_name_is_called_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02")
    with pytest.raises(UnsupportedModel, match="is a SentencePiece model"):
        tokenizer_from_tiktoken(path)


def test_unknown_number_of_ranks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(tiktoken_file(BYTES))
    with pytest.raises(UnsupportedModel, match="256 ranks, known are 128000"):
        tokenizer_from_tiktoken(path)
