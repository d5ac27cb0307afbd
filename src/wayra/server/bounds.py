"""The numbers clients may send, with their ranges as the OpenAPI document shows them.

Where SamplingParams checks a range, it is only shown here: its refusal says what was seen, a decoder's does not. What
nothing else checks is bounded when it is decoded.
"""

from typing import Annotated

from msgspec import Meta

from wayra.engine.request import (
    MAX_BIASES,
    MAX_LOGPROBS,
    MAX_STOP_LEN,
    MAX_STOP_TOKEN_IDS,
    MAX_STOPS,
    MAX_TOKEN_ID,
    MAX_TOKENS_LIMIT,
    MAX_TOP_K,
)

MAX_MESSAGES = 10_000
MAX_ANSWERS = 128
MAX_PROMPTS = 1024

Count = Annotated[int, Meta(ge=1, le=MAX_ANSWERS)]
Alternatives = Annotated[int, Meta(ge=0, le=MAX_LOGPROBS)]
TokenId = Annotated[int, Meta(ge=0, le=MAX_TOKEN_ID)]
AnyInt32 = Annotated[int, Meta(ge=-(1 << 31), le=(1 << 31) - 1)]
AnyInt64 = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
AnyFloat = Annotated[float, Meta(ge=-1e9, le=1e9)]


def shown(least: float, most: float) -> Meta:
    """A range that is checked where SamplingParams are made."""
    return Meta(extra_json_schema={"minimum": least, "maximum": most})


Temperature = Annotated[float, shown(0, 100)]
Probability = Annotated[float, shown(0, 1)]
Penalty = Annotated[float, shown(-2, 2)]
RepetitionPenalty = Annotated[float, shown(0.01, 100)]
TopK = Annotated[int, shown(0, MAX_TOP_K)]
TopKOrOff = Annotated[int, shown(-1, MAX_TOP_K)]
"""-1 is how some clients say "off"."""
MaxTokens = Annotated[int, shown(0, MAX_TOKENS_LIMIT)]
SomeTokens = Annotated[int, Meta(ge=1, extra_json_schema={"maximum": MAX_TOKENS_LIMIT})]
Seed = Annotated[int, shown(-(1 << 63), (1 << 64) - 1)]
Stop = Annotated[str, Meta(extra_json_schema={"minLength": 1, "maxLength": MAX_STOP_LEN})]
Stops = Annotated[list[Stop], Meta(extra_json_schema={"maxItems": MAX_STOPS})]
StopTokenIds = Annotated[list[TokenId], Meta(extra_json_schema={"maxItems": MAX_STOP_TOKEN_IDS})]
Bias = Annotated[float, shown(-100, 100)]
Biases = Annotated[
    dict[str, Bias],
    Meta(extra_json_schema={"maxProperties": MAX_BIASES, "propertyNames": {"pattern": "^[0-9]{1,10}$"}}),
]
