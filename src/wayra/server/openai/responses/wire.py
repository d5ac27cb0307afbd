"""What clients send to /v1/responses: structs that name every field, those not supported included, as in `openai.wire`.

A field of type None may only be null, anything else is refused by its name.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from wayra.server.bounds import MAX_MESSAGES, Alternatives, SomeTokens
from wayra.server.openai.wire import Drawing, Part

MAX_METADATA = 16

Status = Literal["in_progress", "completed", "incomplete"]


class Item(Struct, forbid_unknown_fields=True):
    """A message, a call the model made, or the result of one; which fields belong to which is checked when it is read.

    From `id` on: what answers carry; accepted when a client sends an answer back, and not used.
    """

    type: Literal["message", "function_call", "function_call_output"] = "message"
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: str | list[Part] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[Part] | None = None
    id: str | None = None
    status: Status | None = None
    phase: str | None = None
    caller: dict[str, object] | None = None
    namespace: None = None


class FunctionTool(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A function the model may call. Tools that the server would have to run itself are refused."""

    name: str
    type: Literal["function"]
    parameters: dict[str, object] | None = None
    description: str | None = None
    strict: bool | None = None
    defer_loading: Literal[False] | None = None
    output_schema: None = None
    allowed_callers: None = None


class NamedTool(Struct, forbid_unknown_fields=True):
    """Calls this function, whatever the model thinks."""

    name: str
    type: Literal["function"]


class PlainText(Struct, forbid_unknown_fields=True, tag_field="type", tag="text"):
    """Nothing is asked of the answer."""


class AnyObject(Struct, forbid_unknown_fields=True, tag_field="type", tag="json_object"):
    """The answer is a JSON object."""


class FormSchema(Struct, forbid_unknown_fields=True, omit_defaults=True, tag_field="type", tag="json_schema"):
    """The answer follows a schema. strict: accepted without effect, it always does."""

    name: str
    schema: dict[str, object]
    description: str | None = None
    strict: bool | None = None


class TextConfig(Struct, forbid_unknown_fields=True):
    format: PlainText | AnyObject | FormSchema | None = None
    verbosity: None = None


class Reasoning(Struct, forbid_unknown_fields=True):
    """None of it: no model here thinks apart from its answer."""

    effort: Literal["none"] | None = None
    summary: None = None
    generate_summary: None = None


class StreamOptions(Struct, forbid_unknown_fields=True):
    """include_obfuscation: accepted without effect; nothing is padded here."""

    include_obfuscation: bool | None = None


Items = Annotated[list[Item], Meta(min_length=1, max_length=MAX_MESSAGES)]
Choice = Literal["none", "auto", "required"] | NamedTool
Includable = Literal[
    "message.output_text.logprobs",
    "message.input_image.image_url",
    "reasoning.encrypted_content",
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
]
"""What else an answer may carry. Of these, only log-probabilities ever occur here."""


class CountRequest(Struct, forbid_unknown_fields=True, kw_only=True):
    """Of /v1/responses/input_tokens."""

    input: str | Items
    model: str = ""
    instructions: str | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    reasoning: Reasoning | None = None
    truncation: Literal["disabled"] | None = None
    previous_response_id: None = None
    conversation: None = None
    personality: None = None


class ResponsesRequest(Drawing, kw_only=True):
    """From `metadata` on: given back, without other effect. The last ones are not supported."""

    input: str | Items
    model: str = ""
    instructions: str | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    reasoning: Reasoning | None = None
    truncation: Literal["disabled"] | None = None
    max_output_tokens: SomeTokens | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    include: list[Includable] | None = None
    top_logprobs: Alternatives | None = None
    store: Literal[False] | None = None
    background: Literal[False] | None = None
    metadata: Annotated[dict[str, str], Meta(max_length=MAX_METADATA)] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    service_tier: Literal["auto", "default"] | None = None
    previous_response_id: None = None
    conversation: None = None
    personality: None = None
    prompt: None = None
    max_tool_calls: None = None
    context_management: None = None
    prompt_cache_retention: None = None
    prompt_cache_options: None = None
    moderation: None = None
    image: None = None
    access_programs: None = None
