"""What Ollama's clients send: structs that name every field, those not supported included, so that none is ignored.

A field of type None may only be null, anything else is refused by its name. Options that
only say how a model is to be loaded are accepted without effect.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from wayra.engine.request import MAX_TOKENS_LIMIT, MAX_TOP_K
from wayra.server.bounds import (
    MAX_MESSAGES,
    Alternatives,
    AnyFloat,
    AnyInt32,
    AnyInt64,
    Penalty,
    Probability,
    RepetitionPenalty,
    Stop,
    Stops,
    Temperature,
)

MAX_CONTEXT_ASKED = 1 << 30

TopK = Annotated[int, Meta(ge=-(1 << 31), extra_json_schema={"maximum": MAX_TOP_K})]
"""Negative ones switch it off, as 0 does."""
NumPredict = Annotated[int, Meta(ge=-(1 << 31), extra_json_schema={"maximum": MAX_TOKENS_LIMIT})]
"""0 and negative ones set no limit."""
KeepAlive = (
    AnyFloat | Annotated[str, Meta(max_length=32, pattern=r"^[-+]?([0-9]+|([0-9]+(\.[0-9]*)?(ns|us|ms|s|m|h))+)$")]
)
"""Seconds, or a duration as in 5m or 1h30m; negative ones are without end. Without effect where one model is served."""
Nothing = Annotated[list[object], Meta(max_length=0)]


class Options(Struct, forbid_unknown_fields=True):
    """num_ctx: at most what the server runs with.

    repeat_last_n: -1 alone (penalties look at the whole text), or 0, which switches them off.
    From `num_keep` on: accepted without effect. The last ones: accepted where they change nothing.
    """

    num_ctx: Annotated[int, Meta(ge=1, le=MAX_CONTEXT_ASKED)] | None = None
    num_predict: NumPredict | None = None
    temperature: Temperature | None = None
    top_k: TopK | None = None
    top_p: Probability | None = None
    min_p: Probability | None = None
    seed: AnyInt64 | None = None
    stop: Stop | Stops | None = None
    repeat_penalty: RepetitionPenalty | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repeat_last_n: Literal[-1, 0] | None = None
    num_keep: AnyInt32 | None = None
    num_batch: AnyInt32 | None = None
    num_gpu: AnyInt32 | None = None
    main_gpu: AnyInt32 | None = None
    num_thread: AnyInt32 | None = None
    numa: bool | None = None
    low_vram: bool | None = None
    f16_kv: bool | None = None
    use_mmap: bool | None = None
    use_mlock: bool | None = None
    penalize_newline: Literal[True] | None = None
    mirostat: Literal[0] | None = None
    mirostat_tau: None = None
    mirostat_eta: None = None
    tfs_z: AnyFloat | None = None
    typical_p: AnyFloat | None = None
    logits_all: Literal[False] | None = None
    vocab_only: Literal[False] | None = None
    embedding_only: None = None


class Asked(Struct, forbid_unknown_fields=True, kw_only=True):
    """What requests for text share. format: "json", or a JSON schema."""

    model: str = ""
    stream: bool | None = None
    options: Options | None = None
    format: Literal["json", ""] | dict[str, object] | None = None
    keep_alive: KeepAlive | None = None
    think: Literal[False] | None = None
    logprobs: bool | None = None
    top_logprobs: Alternatives | None = None


class GenerateRequest(Asked, kw_only=True):
    """raw: the prompt is the whole text the model sees. An empty prompt only asks whether the model is there."""

    prompt: str | None = None
    system: str | None = None
    raw: bool | None = None
    suffix: Literal[""] | None = None
    template: Literal[""] | None = None
    context: Nothing | None = None
    images: Nothing | None = None
    width: None = None
    height: None = None
    steps: None = None


class FunctionCall(Struct, forbid_unknown_fields=True):
    name: str
    arguments: dict[str, object]
    index: AnyInt32 | None = None
    description: str | None = None


class ToolCall(Struct, forbid_unknown_fields=True):
    function: FunctionCall
    id: str | None = None
    type: Literal["function"] | None = None


class Message(Struct, forbid_unknown_fields=True):
    """thinking: what answers of other servers carry; it is not shown to the model."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None
    thinking: str | None = None
    images: Nothing | None = None


class ChatRequest(Asked, kw_only=True):
    messages: Annotated[list[Message], Meta(max_length=MAX_MESSAGES)] = []
    tools: list[dict[str, object]] | None = None


class ShowRequest(Struct, forbid_unknown_fields=True):
    """name: what older clients call the model."""

    model: str = ""
    name: str = ""
    verbose: bool | None = None
