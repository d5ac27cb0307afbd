"""Folders as Hugging Face lays them out; the tokenizers library, reading the same file, is the oracle."""

import json
from pathlib import Path

import pytest
import tokenizers
from text_samples import byte_level_metadata, difficult_texts, sentencepiece_metadata
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers

from wayra.base.errors import FileFormatError, UnsupportedModel
from wayra.text.from_gguf import recipe_from_gguf
from wayra.text.from_json import tokenizer_from_folder
from wayra.text.recipe import build_backend

CORPUS = ["The quick brown fox's tail, 12345 times.", "naïve café 漢字 漢字 😀", "  spaces\n\nand\tlines "] * 4


@pytest.fixture(scope="module")
def oracle() -> tokenizers.Tokenizer:
    trained = tokenizers.Tokenizer(models.BPE())
    trained.normalizer = normalizers.NFC()
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    trained.train_from_iterator(CORPUS, trainer)
    trained.add_special_tokens(["<s>", "</s>", "<|im_end|>"])
    trained.add_tokens(
        [
            AddedToken("<think>", normalized=False),
            AddedToken("[mask]", lstrip=True, rstrip=True, normalized=False),
            AddedToken("whole", single_word=True, normalized=False),
            AddedToken("<think>more", normalized=False),
        ]
    )
    trained.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", trained.token_to_id("<s>"))]
    )
    return trained


@pytest.fixture
def folder(oracle: tokenizers.Tokenizer, tmp_path: Path) -> Path:
    oracle.save(str(tmp_path / "tokenizer.json"))
    config = {"bos_token": {"content": "<s>", "special": True}, "eos_token": "</s>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    return tmp_path


def test_encoding_equals_the_library_reading_the_same_file(folder: Path, oracle: tokenizers.Tokenizer) -> None:
    tokenizer = tokenizer_from_folder(folder)
    texts = [
        "a <think>more</s> b",
        "x  [mask]  y",
        "whole wholes a_whole whole",
        "<s><s>",
        "e\u0301 [mask]",
        "  [mask]<s>",
    ]
    for text in [*texts, *difficult_texts(200, seed=1)]:
        assert (
            tokenizer.encode(text, add_bos=False, parse_special=True)
            == oracle.encode(text, add_special_tokens=False).ids
        )
        assert tokenizer.encode(text, parse_special=True) == oracle.encode(text).ids


def test_bytes_of_every_token_equal_what_the_library_decodes(folder: Path, oracle: tokenizers.Tokenizer) -> None:
    tokenizer = tokenizer_from_folder(folder)
    assert tokenizer.vocab_size == oracle.get_vocab_size()
    for token_id in range(tokenizer.vocab_size):
        expected = oracle.decode([token_id], skip_special_tokens=False)
        assert tokenizer.decode([token_id], skip_special=False) == expected


def test_specials_and_ends_come_from_all_four_files(folder: Path) -> None:
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [5, 7]}))
    (folder / "config.json").write_text(json.dumps({"eos_token_id": 9, "vocab_size": 1000}))
    tokenizer = tokenizer_from_folder(folder)
    named = {tokenizer.special_id("</s>"), tokenizer.special_id("<|im_end|>")}
    assert tokenizer.eos_ids == named | {5, 7, 9}
    assert tokenizer.bos_id == tokenizer.special_id("<s>")
    assert tokenizer.add_bos
    assert not tokenizer.is_special(tokenizer.special_id("<think>") or 0)


def test_add_bos_token_of_the_config_wins_over_the_post_processor(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "add_bos_token": False}))
    assert not tokenizer_from_folder(folder).add_bos


def test_sentencepiece_folder_decodes_like_the_library(tmp_path: Path) -> None:
    backend = build_backend(recipe_from_gguf(sentencepiece_metadata()), "test")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = tokenizer_from_folder(tmp_path)
    for text in ["hello world", "  hello", "漢 hello 🎉", "", " ", *difficult_texts(100, seed=2)]:
        ids = backend.encode(text, add_special_tokens=False).ids
        assert tokenizer.encode(text) == ids
        assert tokenizer.decode(ids) == backend.decode(ids)
    assert tokenizer.decode(tokenizer.encode("  hello 漢")) == "  hello 漢"


def test_folder_with_only_a_tiktoken_file_is_read_as_such(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"not base64 at all\n")
    with pytest.raises(FileFormatError, match=r"tokenizer\.model, line 1"):
        tokenizer_from_folder(tmp_path)


def test_empty_folder_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"neither tokenizer\.json nor tokenizer\.model"):
        tokenizer_from_folder(tmp_path)


def test_other_algorithms_and_decoders_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"model": {"type": "Unigram", "vocab": [["a", 0.0]]}}))
    with pytest.raises(UnsupportedModel, match="Unigram"):
        tokenizer_from_folder(tmp_path)
    path.write_text(
        json.dumps({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "decoder": {"type": "WordPiece"}})
    )
    with pytest.raises(UnsupportedModel, match="WordPiece"):
        tokenizer_from_folder(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        '{"model": {}}',
        '{"model": {"vocab": {"a": -1}, "merges": []}, "decoder": {"type": "ByteLevel"}}',
        '{"model": {"vocab": {"a": 999999999999}, "merges": []}, "decoder": {"type": "ByteLevel"}}',
        '{"model": {"vocab": {"a": 0, "b": 0}, "merges": []}, "decoder": {"type": "ByteLevel"}}',
        '{"model": {"vocab": {"a": 0}, "merges": ["a b"]}, "decoder": {"type": "ByteLevel"}}',
        '{"model": {"vocab": {"a": 0}, "merges": ["a"]}, "decoder": {"type": "ByteLevel"}}',
        '{"model": {"vocab": {"a": 0}, "merges": []}, "normalizer": {"type": "?"}, "decoder": {"type": "ByteLevel"}}',
        '{"model": {"vocab": {}, "merges": []}, "decoder": {"type": "ByteLevel"}}',
        "[" * 100_000,
    ],
)
def test_malformed_tokenizer_json_is_one_typed_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(FileFormatError):
        tokenizer_from_folder(tmp_path)


def test_malformed_side_files_are_typed_errors(folder: Path) -> None:
    for name, content in (
        ("config.json", '{"eos_token_id": "x"}'),
        ("generation_config.json", "[]"),
        ("tokenizer_config.json", '{"eos_token": 3}'),
    ):
        (folder / name).write_text(content)
        with pytest.raises(FileFormatError, match=r"eos_token|expected a JSON object"):
            tokenizer_from_folder(folder)
        (folder / name).write_text("{}")


def test_gguf_and_folder_of_the_same_vocabulary_agree(tmp_path: Path) -> None:
    recipe = recipe_from_gguf(byte_level_metadata("llama-bpe"))
    backend = build_backend(recipe, "test")
    backend.decoder = decoders.ByteLevel()
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = tokenizer_from_folder(tmp_path)
    for text in difficult_texts(100, seed=3):
        assert tokenizer.encode(text) == backend.encode(text).ids
        assert tokenizer.decode(tokenizer.encode(text)) == text
