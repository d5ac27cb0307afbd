"""The options of a load: checked when made, and the same for editors as for the program."""

import pytest

from wayra.base.errors import InvalidParameter
from wayra.llm.options import LLMOptions, OptionFields, options_from


def test_editors_are_told_of_exactly_the_options_there_are() -> None:
    assert list(OptionFields.__annotations__) == list(LLMOptions.__dataclass_fields__)


def test_an_unknown_option_is_named_with_those_there_are() -> None:
    with pytest.raises(InvalidParameter, match="no option 'contextlen'; it has backend, context_len"):
        options_from({"contextlen": 5})  # type: ignore[typeddict-unknown-key]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"backend": "cuda"}, "backend is 'cuda', expected one of native, numpy, null"),
        ({"kv_dtype": "int3"}, "kv_dtype is 'int3', expected one of int8, int16, bf16, f16, f32"),
        ({"context_len": 0}, "context_len is 0, expected a whole number from 1"),
        ({"context_len": 10.5}, "context_len is 10.5, expected a whole number"),
        ({"threads": -1}, "threads is -1"),
        ({"max_batch": True}, "max_batch is True"),
        ({"max_batch": 100_000}, "expected a whole number from 1 to 1024"),
        ({"score_rows": 0}, "score_rows is 0"),
        ({"speculate": "eagle"}, "speculate is 'eagle', expected one of off, lookup, draft"),
        ({"speculate": "draft"}, 'speculate is "draft" without a draft_model'),
        ({"speculate": "lookup", "draft_model": "x"}, 'speculate is "lookup", which needs no draft_model'),
        ({"map_weights": True, "backend": "numpy"}, r"map_weights \(--mmap\) is for the native backend"),
        ({"draft_tokens": 32}, "draft_tokens is 32, expected a whole number from 1 to 31"),
    ],
)
def test_an_option_out_of_range_says_what_was_seen_and_expected(fields: OptionFields, said: str) -> None:
    with pytest.raises(InvalidParameter, match=said):
        options_from(fields)


def test_a_draft_model_guesses_when_there_is_one_and_lookup_when_there_is_none() -> None:
    assert LLMOptions().speculation == "lookup"
    assert LLMOptions(draft_model="smollm2").speculation == "draft"
    assert LLMOptions(speculate="off").speculation == "off"
