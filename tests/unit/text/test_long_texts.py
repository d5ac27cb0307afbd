"""Long texts go another way through the library, which must give the same ids and refuse the same."""

import random

import pytest
from text_samples import byte_level_metadata

from wayra.base.errors import InvalidParameter
from wayra.text import tokenizer as tokenizer_module
from wayra.text.from_gguf import tokenizer_from_gguf

PARTS = ["a", "b ", " ", "\n", "é", "🙂", "the ", "1", "\t", "漢", "<|im_end|>"]


def test_a_long_text_has_the_ids_that_the_short_way_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, rng = tokenizer_from_gguf(byte_level_metadata()), random.Random(0)
    texts = ["".join(rng.choices(PARTS, k=4000)) for _ in range(5)]
    found = [tokenizer.encode(text, parse_special=True) for text in texts]
    assert all(len(text) > tokenizer_module.LONG_TEXT_CHARS for text in texts)
    assert [tokenizer.decode(ids, skip_special=False) for ids in found] == texts
    monkeypatch.setattr(tokenizer_module, "LONG_TEXT_CHARS", 1 << 30)
    assert [tokenizer.encode(text, parse_special=True) for text in texts] == found


def test_a_long_text_that_is_none_is_refused_as_a_short_one() -> None:
    tokenizer = tokenizer_from_gguf(byte_level_metadata())
    for length in (1, 10_000):
        with pytest.raises(InvalidParameter, match="lone surrogate"):
            tokenizer.encode("x" * length + "\ud800")
