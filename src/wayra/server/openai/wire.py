"""What OpenAI's clients send: structs that name every field, those not supported included, so that none is ignored.

A field of type None may only be null, anything else is refused by its name. What is accepted without effect is said so.
"""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from wayra.server.bounds import (
    MAX_MESSAGES,
    Alternatives,
    AnyInt32,
    Biases,
    Count,
    MaxTokens,
    Penalty,
    Probability,
    RepetitionPenalty,
    Seed,
    Stop,
    Stops,
    StopTokenIds,
    Temperature,
    TokenId,
    TopKOrOff,
)

Prompts = str | list[TokenId | str | list[TokenId]]
"""One or several texts, token ids, or several lists of them; which of them a list holds is checked when it is read."""


class Part(Struct):
    """A part of a message. Its other fields are looked at when it is used; text and refusal are texts."""

    type: str
    text: str | None = None
    refusal: str | None = None


class FunctionCall(Struct, forbid_unknown_fields=True):
    """parsed_arguments: what OpenAI's own client adds to the calls it parses, and sends back; not used."""

    name: str
    arguments: str
    parsed_arguments: object = None


class ToolCall(Struct, forbid_unknown_fields=True):
    id: str
    function: FunctionCall
    type: Literal["function"] = "function"
    index: AnyInt32 | None = None


class Message(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """annotations, parsed: what answers carry, as clients have them; accepted when one is sent back, and not used."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    annotations: list[dict[str, object]] | None = None
    parsed: object = None
    audio: None = None
    function_call: None = None


class StreamOptions(Struct, forbid_unknown_fields=True):
    """include_obfuscation: accepted without effect; nothing is padded here.

    continuous_usage_stats: vLLM's extension, the counts so far in every chunk, beside include_usage.
    """

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None
    include_obfuscation: bool | None = None


class SchemaFormat(Struct, forbid_unknown_fields=True):
    name: str
    schema: dict[str, object] | bool | UnsetType = UNSET
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(Struct, forbid_unknown_fields=True):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: SchemaFormat | None = None


class StructuredOutputs(Struct, forbid_unknown_fields=True):
    """vLLM's extension: exactly one of them. grammar: in llguidance's Lark dialect."""

    json: dict[str, object] | bool | str | None = None
    json_object: bool | None = None
    regex: str | None = None
    grammar: str | None = None
    choice: list[str] | None = None


class Drawing(Struct, forbid_unknown_fields=True, kw_only=True):
    """How tokens are drawn, by whatever endpoint. After `top_p`: extensions, in some of them."""

    temperature: Temperature | None = None
    top_p: Probability | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: Seed | None = None
    stop: Stop | Stops | None = None
    logit_bias: Biases | None = None
    top_k: TopKOrOff | None = None
    min_p: Probability | None = None
    repetition_penalty: RepetitionPenalty | None = None
    min_tokens: MaxTokens | None = None
    ignore_eos: bool | None = None
    stop_token_ids: StopTokenIds | None = None
    structured_outputs: StructuredOutputs | None = None


class Sampling(Drawing, kw_only=True):
    """What chats and completions share. From `user` on: accepted without effect."""

    model: str = ""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Count | None = None
    max_tokens: MaxTokens | None = None
    response_format: ResponseFormat | None = None
    return_token_ids: bool | None = None
    return_tokens_as_token_ids: bool | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    store: Literal[False] | None = None
    service_tier: Literal["auto", "default"] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None


class ChatRequest(Sampling, kw_only=True):
    messages: Annotated[list[Message], Meta(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: MaxTokens | None = None
    logprobs: bool | None = None
    top_logprobs: Alternatives | None = None
    tools: list[dict[str, object]] | None = None
    tool_choice: str | dict[str, object] | None = None
    parallel_tool_calls: bool | None = None
    modalities: list[Literal["text"]] | None = None
    audio: None = None
    prediction: None = None
    functions: None = None
    function_call: None = None
    reasoning_effort: None = None
    verbosity: None = None
    web_search_options: None = None


class CompletionRequest(Sampling, kw_only=True):
    prompt: Prompts
    echo: bool | None = None
    logprobs: Alternatives | None = None
    best_of: Count | None = None
    suffix: None = None


class TokenizeRequest(Struct, forbid_unknown_fields=True):
    """prompt or messages. add_special_tokens: begin with BOS where the model wants one."""

    model: str = ""
    prompt: str | None = None
    messages: list[Message] | None = None
    add_special_tokens: bool = True
    return_token_strs: bool | None = None


class DetokenizeRequest(Struct, forbid_unknown_fields=True):
    tokens: list[TokenId]
    model: str = ""
