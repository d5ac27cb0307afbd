"""Whatever the ids and wherever a stream is cut, its parts join to the text of the whole."""

from collections.abc import Sequence
from functools import cache
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st
from text_samples import byte_level_metadata, sentencepiece_metadata

from wayra.text.detokenize import StreamDecoder
from wayra.text.from_gguf import tokenizer_from_gguf
from wayra.text.stop import StopMatcher
from wayra.text.tokenizer import Tokenizer

T = TypeVar("T", bound=Sequence[object])
KINDS = ("llama-bpe", "smollm", "tekken", "llama4", "sentencepiece")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@cache
def tokenizer_of(kind: str) -> Tokenizer:
    return tokenizer_from_gguf(sentencepiece_metadata() if kind == "sentencepiece" else byte_level_metadata(kind))


@given(kind=st.sampled_from(KINDS[:-1]), text=TEXTS, parse_special=st.booleans())
def test_byte_level_round_trip_gives_the_text_back(kind: str, text: str, parse_special: bool) -> None:
    tokenizer = tokenizer_of(kind)
    assert tokenizer.decode(tokenizer.encode(text, parse_special=parse_special), skip_special=False) == text


@given(text=TEXTS)
def test_sentencepiece_round_trip_gives_the_text_back(text: str) -> None:
    tokenizer = tokenizer_of("sentencepiece")
    # U+2581 is how this vocabulary writes a space: it cannot tell the two apart.
    assert tokenizer.decode(tokenizer.encode(text)) == text.replace("▁", " ")


@given(kind=st.sampled_from(KINDS), data=st.data(), skip_special=st.booleans(), is_continuation=st.booleans())
def test_streamed_parts_join_to_the_decoded_whole(
    kind: str, data: st.DataObject, skip_special: bool, is_continuation: bool
) -> None:
    tokenizer = tokenizer_of(kind)
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size + 3), max_size=40))
    decoder = StreamDecoder(tokenizer, skip_special=skip_special, is_continuation=is_continuation)
    parts = [decoder.push(piece) for piece in _pieces(data, ids)]
    whole = tokenizer.decode(ids, skip_special=skip_special, is_continuation=is_continuation)
    assert "".join(parts) + decoder.flush() == whole


@given(data=st.data(), text=TEXTS)
def test_streamed_text_never_shows_a_replaced_character(data: st.DataObject, text: str) -> None:
    tokenizer = tokenizer_of("llama-bpe")
    decoder = StreamDecoder(tokenizer)
    shown = ""
    for piece in _pieces(data, tokenizer.encode(text)):
        shown += decoder.push(piece)
        assert text.startswith(shown)


@given(
    stops=st.lists(st.text("abc", min_size=1, max_size=4), max_size=4),
    text=st.text("abc", max_size=30),
    data=st.data(),
)
def test_stop_strings_cut_where_a_search_of_the_whole_text_would(
    stops: list[str], text: str, data: st.DataObject
) -> None:
    ends = [(end, -len(stop), stop) for stop in stops for end in range(len(text) + 1) if text[:end].endswith(stop)]
    expected = text
    if ends:
        end, length, _ = min(ends)
        expected = text[: end + length]
    matcher = StopMatcher(stops)
    shown = ""
    for piece in _pieces(data, text):
        part, stopped = matcher.push(piece)
        shown += part
        assert expected.startswith(shown)
        if stopped:
            break
    assert shown + matcher.flush() == expected
    assert (matcher.matched is not None) == bool(ends)


@given(stops=st.lists(st.text("ab", min_size=1, max_size=5), min_size=1, max_size=3), text=st.text("abc", max_size=20))
def test_no_more_is_held_back_than_may_become_a_stop_string(stops: list[str], text: str) -> None:
    matcher = StopMatcher(stops)
    shown, stopped = matcher.push(text)
    held = text[len(shown) :]
    assert stopped or not held or any(stop.startswith(held) for stop in stops)


def _pieces(data: st.DataObject, whole: T) -> list[T]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    return [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]  # type: ignore[misc]
