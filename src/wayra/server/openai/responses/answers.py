"""What clients of /v1/responses receive, as structs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from msgspec import Struct

from wayra.engine.request import SamplingParams
from wayra.server.generation import Totals
from wayra.server.openai.answers import ChatLogprob
from wayra.server.openai.responses.wire import (
    AnyObject,
    FormSchema,
    NamedTool,
    PlainText,
    ResponsesRequest,
    Status,
)


class OutputText(Struct, tag_field="type", tag="output_text"):
    text: str
    logprobs: Sequence[ChatLogprob] = ()
    annotations: tuple[()] = ()


class MessageItem(Struct, tag_field="type", tag="message"):
    id: str
    status: Status
    content: list[OutputText]
    role: Literal["assistant"] = "assistant"


class CallItem(Struct, tag_field="type", tag="function_call"):
    id: str
    call_id: str
    name: str
    arguments: str
    status: Status


OutputItem = MessageItem | CallItem


class InputDetails(Struct):
    """cache_write_tokens: those paid for, of which there are none."""

    cached_tokens: int
    cache_write_tokens: int = 0


class OutputDetails(Struct):
    reasoning_tokens: int = 0


class ResponseUsage(Struct):
    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: InputDetails
    output_tokens_details: OutputDetails


class Failure(Struct):
    code: str
    message: str


class Incomplete(Struct):
    reason: Literal["max_output_tokens"] = "max_output_tokens"


class ToolAnswer(Struct, tag_field="type", tag="function"):
    name: str
    parameters: Mapping[str, object] | None
    strict: bool
    description: str | None


class TextAnswer(Struct):
    format: PlainText | AnyObject | FormSchema


class NoReasoning(Struct, frozen=True):
    effort: None = None
    summary: None = None


class ResponseAnswer(Struct, kw_only=True):
    """A response: what was asked, and what has come of it so far. store: nothing is ever kept here."""

    id: str
    created_at: int
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    model: str
    output: list[OutputItem]
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    parallel_tool_calls: bool
    prompt_cache_key: str | None
    safety_identifier: str | None
    temperature: float
    text: TextAnswer
    tool_choice: str | NamedTool
    tools: list[ToolAnswer]
    top_logprobs: int
    top_p: float
    user: str | None
    object: Literal["response"] = "response"
    error: Failure | None = None
    incomplete_details: Incomplete | None = None
    usage: ResponseUsage | None = None
    completed_at: int | None = None
    background: bool = False
    conversation: None = None
    max_tool_calls: None = None
    previous_response_id: None = None
    reasoning: NoReasoning = NoReasoning()
    service_tier: str = "default"
    store: bool = False
    truncation: str = "disabled"


@dataclass(frozen=True, slots=True)
class Identity:
    """Of a response: its id, when it was asked for, and the model that answers."""

    id: str
    created: int
    model: str


def begun(identity: Identity, wire: ResponsesRequest, params: SamplingParams) -> ResponseAnswer:
    """The response before anything has come. params: what the request became."""
    form = None if wire.text is None else wire.text.format
    return ResponseAnswer(
        id=identity.id,
        created_at=identity.created,
        status="in_progress",
        model=identity.model,
        output=[],
        instructions=wire.instructions,
        max_output_tokens=wire.max_output_tokens,
        metadata=wire.metadata or {},
        parallel_tool_calls=wire.parallel_tool_calls is not False,
        prompt_cache_key=wire.prompt_cache_key,
        safety_identifier=wire.safety_identifier,
        temperature=params.temperature,
        text=TextAnswer(form or PlainText()),
        tool_choice=wire.tool_choice or "auto",
        tools=[ToolAnswer(t.name, t.parameters, bool(t.strict), t.description) for t in wire.tools or ()],
        top_logprobs=wire.top_logprobs or 0,
        top_p=params.top_p,
        user=wire.user,
    )


def usage_of(totals: Totals) -> ResponseUsage:
    """The API's counts."""
    return ResponseUsage(
        totals.prompt_tokens,
        totals.completion_tokens,
        totals.prompt_tokens + totals.completion_tokens,
        InputDetails(totals.cached_tokens),
        OutputDetails(),
    )
