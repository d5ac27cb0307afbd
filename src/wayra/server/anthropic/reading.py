"""From Anthropic's structs to the service's calls."""

from collections.abc import Sequence

from wayra.base.errors import InvalidParameter
from wayra.engine.request import SamplingParams
from wayra.server.anthropic.wire import (
    Choice,
    Conversation,
    DocumentBlock,
    ImageBlock,
    Message,
    MessagesRequest,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from wayra.server.calls import ChatCall, ToolUse
from wayra.server.errors import ApiError, not_supported
from wayra.text.structure import GrammarSpec, JsonSchema
from wayra.text.tools import ToolChoice, read_tools


def chat_call(wire: MessagesRequest) -> ChatCall:
    """Raises ApiError 400 naming what is wrong or not supported, InvalidParameter."""
    use, grammar = tool_use(wire), _grammar(wire)
    if grammar is not None and use is not None and use.choice.mode != "none":
        raise not_supported("output_config.format", "it cannot be combined with tools; leave one of them out")
    given = {"temperature": wire.temperature, "top_p": wire.top_p, "top_k": wire.top_k, "stop": wire.stop_sequences}
    params = SamplingParams(**{k: v for k, v in given.items() if v is not None}, max_tokens=wire.max_tokens)
    return ChatCall(wire.model, plain_messages(wire), params, 1, bool(wire.stream), grammar, use)


def plain_messages(wire: Conversation) -> list[dict[str, object]]:
    """The conversation as templates take it: results of tools are messages of their own."""
    plain: list[dict[str, object]] = []
    if wire.system:
        system = wire.system if isinstance(wire.system, str) else "\n".join(block.text for block in wire.system)
        plain.append({"role": "system", "content": system})
    for number, message in enumerate(wire.messages):
        plain += _plain_message(message, f"messages[{number}]")
    if wire.messages[-1].role == "assistant":
        raise ApiError(
            400, "the last message is the assistant's, and a begun answer cannot be continued here; "
            "end with a message of the user", f"messages[{len(wire.messages) - 1}].role",
        )  # fmt: skip
    return plain


def tool_use(wire: Conversation) -> ToolUse | None:
    """The tools and what may be called. Raises ApiError 400."""
    entries = [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.input_schema,
                "strict": tool.strict,
            },
        }
        for tool in wire.tools or ()
    ]
    try:
        tools = read_tools(entries)
    except InvalidParameter as error:
        raise ApiError(400, str(error).replace(".function.parameters", ".input_schema"), "tools") from None
    choice = wire.tool_choice
    if not tools:
        if choice is not None and choice.type in ("any", "tool"):
            raise ApiError(400, f"tool_choice is {choice.type!r}, but there are no tools; give some", "tool_choice")
        return None
    is_parallel = choice is None or not choice.disable_parallel_tool_use
    return ToolUse(tools, _choice(choice, [tool.name for tool in tools]), is_parallel)


def _choice(given: Choice | None, names: Sequence[str]) -> ToolChoice:
    if given is None or given.type == "auto":
        return ToolChoice("auto")
    if given.type == "any":
        return ToolChoice("required")
    if given.type == "none":
        return ToolChoice("none")
    if given.name not in names:
        raise ApiError(400, f"tool_choice names {given.name!r:.60}, which is not among the tools", "tool_choice.name")
    return ToolChoice("named", given.name)


def _grammar(wire: Conversation) -> GrammarSpec | None:
    if wire.output_config is None or wire.output_config.format is None:
        return None
    try:
        return JsonSchema(wire.output_config.format.schema)
    except InvalidParameter as error:
        raise ApiError(400, str(error), "output_config.format.schema") from None


def _plain_message(message: Message, where: str) -> list[dict[str, object]]:
    """One message, or several where it holds results of tools."""
    if isinstance(message.content, str):
        return [{"role": message.role, "content": message.content}]
    texts: list[str] = []
    calls: list[dict[str, object]] = []
    results: list[dict[str, object]] = []
    for i, block in enumerate(message.content):
        at = f"{where}.content[{i}]"
        if isinstance(block, TextBlock):
            texts.append(block.text)
        elif isinstance(block, ToolUseBlock):
            if message.role != "assistant":
                raise ApiError(400, f"{at} is a tool_use, but only an assistant calls tools", at)
            function = {"name": block.name, "arguments": block.input}
            calls.append({"id": block.id, "type": "function", "function": function})
        elif isinstance(block, ToolResultBlock):
            if message.role != "user":
                raise ApiError(400, f"{at} is a tool_result, which belongs into a message of the user", at)
            results.append({"role": "tool", "tool_call_id": block.tool_use_id, "content": _result(block, at)})
        else:
            raise _refused(block, at)
    if not message.content:
        raise ApiError(400, f"{where} has no content; give it a text", f"{where}.content")
    if calls:
        return [{"role": "assistant", "content": "\n".join(texts) or None, "tool_calls": calls}]
    return [*results, {"role": message.role, "content": "\n".join(texts)}] if texts else results


def _result(block: ToolResultBlock, where: str) -> str:
    """The text of a tool's result; that it failed is said before it."""
    content = block.content or ""
    texts: list[str] = [content] if isinstance(content, str) else []
    for i, part in enumerate(content if isinstance(content, list) else ()):
        if not isinstance(part, TextBlock):
            raise _refused(part, f"{where}.content[{i}]")
        texts.append(part.text)
    text = "\n".join(texts)
    return f"Error: {text}" if block.is_error else text


def _refused(block: object, where: str) -> ApiError:
    if isinstance(block, ImageBlock):
        return ApiError(400, f"{where} is an image; this model reads text only, and nothing is fetched by URL", where)
    kind = "a document" if isinstance(block, DocumentBlock) else "a thought"
    return ApiError(400, f"{where} is {kind}; this server reads text and tool calls only", where)
