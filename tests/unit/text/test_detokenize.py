"""The stream shows no half character and no other text than decoding everything at once."""

from text_samples import byte_level_metadata, sentencepiece_metadata

from wayra.text.detokenize import StreamDecoder
from wayra.text.from_gguf import tokenizer_from_gguf


def test_unfinished_character_is_held_back_until_it_is_whole() -> None:
    tokenizer = tokenizer_from_gguf(byte_level_metadata())
    decoder = StreamDecoder(tokenizer)
    ids = tokenizer.encode("🎉")
    assert [decoder.push([i]) for i in ids] == ["", "", "", "🎉"]
    assert decoder.flush() == ""


def test_bytes_that_cannot_become_a_character_are_replaced_at_once() -> None:
    tokenizer = tokenizer_from_gguf(byte_level_metadata())
    first, *_ = tokenizer.encode("🎉")
    (letter,) = tokenizer.encode("a")
    decoder = StreamDecoder(tokenizer)
    assert decoder.push([first]) == ""
    assert decoder.push([letter]) == "\ufffda"
    assert decoder.push([first]) == ""
    assert decoder.flush() == "\ufffd"


def test_control_tokens_are_hidden_or_shown_as_asked() -> None:
    tokenizer = tokenizer_from_gguf(byte_level_metadata())
    ids = tokenizer.encode("hello<|im_end|>", parse_special=True)
    assert StreamDecoder(tokenizer).push(ids) == "hello"
    assert StreamDecoder(tokenizer, skip_special=False).push(ids) == "hello<|im_end|>"


def test_sentencepiece_leading_space_goes_only_at_the_start_of_a_text() -> None:
    tokenizer = tokenizer_from_gguf(sentencepiece_metadata())
    ids = tokenizer.encode("hello world")
    decoder = StreamDecoder(tokenizer)
    assert "".join(decoder.push([i]) for i in ids) == "hello world"
    assert StreamDecoder(tokenizer, is_continuation=True).push(ids) == " hello world"


def test_sentencepiece_bytes_join_to_characters() -> None:
    tokenizer = tokenizer_from_gguf(sentencepiece_metadata())
    decoder = StreamDecoder(tokenizer)
    parts = [decoder.push([i]) for i in tokenizer.encode("漢")]
    assert parts == ["", "", "", "", "漢"]
