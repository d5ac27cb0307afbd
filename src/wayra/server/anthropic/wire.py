"""What Anthropic's clients send: structs that name every field, those not supported included, so that none is ignored.

A field of type None may only be null, anything else is refused by its name. cache_control and what stands at the end of
`MessagesRequest` is accepted without effect: prefixes of prompts are always cached.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from wayra.server.bounds import MAX_MESSAGES, Probability, SomeTokens, Stops, Temperature, TopK


class TextBlock(Struct, tag_field="type", tag="text", forbid_unknown_fields=True):
    text: str
    cache_control: dict[str, object] | None = None
    citations: None = None


class SystemText(Struct, forbid_unknown_fields=True):
    """A text block where there is no other kind. The tag of a lone struct could be left out; here it may not."""

    text: str
    type: Literal["text"]
    cache_control: dict[str, object] | None = None
    citations: None = None


class ToolUseBlock(Struct, tag_field="type", tag="tool_use", forbid_unknown_fields=True):
    """A call the model made in an earlier answer. caller: what newer answers carry; not used."""

    id: str
    name: str
    input: dict[str, object]
    cache_control: dict[str, object] | None = None
    caller: dict[str, object] | None = None


class ImageBlock(Struct, tag_field="type", tag="image"):
    """Refused when it is read: this API has it, this server has not."""


class DocumentBlock(Struct, tag_field="type", tag="document"):
    """Refused as an image is."""


class ThinkingBlock(Struct, tag_field="type", tag="thinking"):
    """Refused as an image is."""


class ToolResultBlock(Struct, tag_field="type", tag="tool_result", forbid_unknown_fields=True):
    tool_use_id: str
    content: str | list[TextBlock | ImageBlock | DocumentBlock] | None = None
    is_error: bool | None = None
    cache_control: dict[str, object] | None = None


Block = TextBlock | ToolUseBlock | ToolResultBlock | ImageBlock | DocumentBlock | ThinkingBlock


class Message(Struct, forbid_unknown_fields=True):
    role: Literal["user", "assistant"]
    content: str | list[Block]


class Tool(Struct, forbid_unknown_fields=True):
    name: str
    input_schema: dict[str, object]
    description: str | None = None
    type: Literal["custom"] | None = None
    strict: bool | None = None
    cache_control: dict[str, object] | None = None


class Choice(Struct, forbid_unknown_fields=True):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(Struct, forbid_unknown_fields=True):
    type: Literal["disabled"]


class AnswerFormat(Struct, forbid_unknown_fields=True):
    type: Literal["json_schema"]
    schema: dict[str, object]


class OutputConfig(Struct, forbid_unknown_fields=True):
    format: AnswerFormat | None = None
    effort: None = None


class Metadata(Struct, forbid_unknown_fields=True):
    user_id: str | None = None


class Conversation(Struct, forbid_unknown_fields=True, kw_only=True):
    """What a request for an answer and one for its count of tokens share."""

    messages: Annotated[list[Message], Meta(min_length=1, max_length=MAX_MESSAGES)]
    model: str = ""
    system: str | list[SystemText] | None = None
    tools: list[Tool] | None = None
    tool_choice: Choice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    context_management: None = None
    mcp_servers: None = None
    output_format: None = None
    diagnostics: None = None
    speed: Literal["standard"] | None = None
    user_profile_id: None = None
    workspace_id: None = None
    cache_control: dict[str, object] | None = None


class CountRequest(Conversation, kw_only=True):
    """Of /v1/messages/count_tokens."""


class MessagesRequest(Conversation, kw_only=True):
    """Of /v1/messages."""

    max_tokens: SomeTokens
    stop_sequences: Stops | None = None
    stream: bool | None = None
    temperature: Temperature | None = None
    top_p: Probability | None = None
    top_k: TopK | None = None
    container: None = None
    inference_geo: None = None
    metadata: Metadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
