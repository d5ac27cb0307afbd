"""SamplingParams refuse what no backend should ever see, and say what they saw."""

import math
from typing import Any

import numpy as np
import pytest

from wayra.base.errors import InvalidParameter
from wayra.engine.request import SamplingParams


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("temperature", -0.1, "temperature is -0.1, expected 0 to 100"),
        ("temperature", math.nan, "temperature is nan, expected 0 to 100"),
        ("temperature", math.inf, "temperature is inf, expected 0 to 100"),
        ("temperature", True, "temperature is True, expected a number from 0 to 100"),
        ("temperature", "hot", "temperature is 'hot', expected a number from 0 to 100"),
        pytest.param("temperature", 10**5000, "temperature is an integer of 16,610 bits, expected 0 to 100", id="huge"),
        ("top_k", -1, "top_k is -1, expected 0 to 1,000,000"),
        ("top_k", 1.0, "top_k is 1.0, expected an integer"),
        ("top_k", True, "top_k is True, expected an integer"),
        ("top_p", 1.01, "top_p is 1.01, expected 0 to 1"),
        ("min_p", -1, "min_p is -1, expected 0 to 1"),
        ("repetition_penalty", 0.0, "repetition_penalty is 0.0, expected 0.01 to 100"),
        ("presence_penalty", 2.5, "presence_penalty is 2.5, expected -2 to 2"),
        ("frequency_penalty", -math.inf, "frequency_penalty is -inf, expected -2 to 2"),
        ("seed", 1 << 64, "seed is 18446744073709551616, expected"),
        ("seed", True, "seed is True, expected an integer"),
        ("max_tokens", -5, "max_tokens is -5, expected 0 to 16,777,216"),
        pytest.param("max_tokens", 10**4400, "max_tokens is an integer of 14,617 bits, expected 0 to", id="long"),
        ("min_tokens", -1, "min_tokens is -1, expected 0 to 16,777,216"),
        ("logprobs", 21, "logprobs is 21, expected 0 to 20"),
        ("logprobs", True, "logprobs is True, expected an integer"),
        ("ignore_eos", 1, "ignore_eos is 1, expected true or false"),
        ("prompt_logprobs", None, "prompt_logprobs is None, expected true or false"),
        ("stop", ("",), "a stop is '', expected a string of 1 to 1,024 characters"),
        ("stop", ("x" * 1025,), "expected a string of 1 to 1,024 characters"),
        ("stop", (7,), "a stop is 7, expected a string"),
        ("stop", 7, "stop is 7, expected a list"),
        ("stop", ("x",) * 65, "stop has 65 entries, at most 64 are taken"),
        ("stop_token_ids", (-1,), "a stop token id is -1, expected 0 to"),
        ("stop_token_ids", (True,), "a stop token id is True, expected an integer"),
        ("stop_token_ids", (1,) * 1025, "stop_token_ids has 1,025 entries, at most 1,024 are taken"),
        ("logit_bias", {5: math.nan}, "a logit bias is nan, expected -100 to 100"),
        ("logit_bias", {"5": 1.0}, "a logit_bias token id is '5', expected an integer"),
        ("logit_bias", [5], r"logit_bias is \[5\], expected a mapping"),
        ("logit_bias", dict.fromkeys(range(4097), 1.0), "logit_bias has 4,097 entries, at most 4,096 are taken"),
    ],
)
def test_values_out_of_range_are_refused_with_what_was_seen(name: str, value: Any, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        SamplingParams(**{name: value})


def test_more_min_than_max_tokens_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="min_tokens is 9, more than max_tokens, 8; lower it"):
        SamplingParams(min_tokens=9, max_tokens=8)


def test_the_ends_of_each_range_are_accepted() -> None:
    params = SamplingParams(temperature=0, top_p=0.0, min_p=1, top_k=1_000_000, seed=-(1 << 63), max_tokens=0)
    assert params.is_greedy
    assert SamplingParams(seed=(1 << 64) - 1, logprobs=20).seed == (1 << 64) - 1


def test_numpy_numbers_are_numbers() -> None:
    params = SamplingParams(temperature=np.float32(0.5), max_tokens=np.int64(3), stop_token_ids=(np.int32(7),))  # type: ignore[arg-type]
    assert (params.temperature, params.max_tokens, params.stop_token_ids) == (0.5, 3, (7,))


def test_lists_are_copied_so_that_a_request_under_way_cannot_change() -> None:
    stops, bias = ["a"], {3: 1.0}
    params = SamplingParams(stop=stops, logit_bias=bias)  # type: ignore[arg-type]
    stops.append("b")
    bias[4] = 2.0
    assert params.stop == ("a",)
    assert params.logit_bias == {3: 1.0}


def test_a_single_stop_string_is_one_stop() -> None:
    assert SamplingParams(stop="end").stop == ("end",)  # type: ignore[arg-type]
