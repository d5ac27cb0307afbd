"""From a request to /v1/responses to the service's call: items become messages as chat templates take them."""

from collections.abc import Sequence
from typing import cast

from wayra.base.errors import InvalidParameter
from wayra.engine.request import SamplingParams
from wayra.server.calls import ChatCall, ToolUse
from wayra.server.errors import ApiError, not_supported
from wayra.server.openai.reading import call_arguments, limit_called, named, one_form, part_text, sampling_params
from wayra.server.openai.responses.wire import (
    AnyObject,
    CountRequest,
    FormSchema,
    FunctionTool,
    Item,
    NamedTool,
    ResponsesRequest,
    TextConfig,
)
from wayra.server.openai.wire import Part
from wayra.text.structure import GrammarSpec, JsonObject, JsonSchema
from wayra.text.tools import read_tool_choice, read_tools

LOGPROBS = "message.output_text.logprobs"

Message = dict[str, object]


def chat_call(wire: ResponsesRequest) -> ChatCall:
    """Raises ApiError 400 naming what is wrong or not supported, InvalidParameter."""
    if wire.stream_options is not None and not wire.stream:
        raise ApiError(400, "stream_options is given without stream: true", "stream_options")
    wants_logprobs = LOGPROBS in (wire.include or ())
    if wire.top_logprobs and not wants_logprobs:
        raise ApiError(400, f"top_logprobs is given without include: [{LOGPROBS!r}]", "top_logprobs")
    grammar, use = one_form(_forms(wire.text), wire.structured_outputs), tool_use(wire)
    if use is not None and use.choice.mode != "none":
        if grammar is not None:
            raise not_supported("text.format", "it cannot be combined with tools; leave one of them out")
        if wants_logprobs:
            raise not_supported("include", "log-probabilities cannot be combined with tools; leave one of them out")
    logprobs = (wire.top_logprobs or 0) if wants_logprobs else None
    return ChatCall(
        model=wire.model,
        messages=plain_messages(wire),
        params=_sampling(wire, logprobs),
        streams=bool(wire.stream),
        grammar=grammar,
        tool_use=use,
    )


def _sampling(wire: ResponsesRequest, logprobs: int | None) -> SamplingParams:
    with limit_called("max_output_tokens"):
        return sampling_params(wire, wire.max_output_tokens, logprobs)


def _forms(text: TextConfig | None) -> list[GrammarSpec]:
    form = None if text is None else text.format
    if isinstance(form, AnyObject):
        return [JsonObject()]
    if isinstance(form, FormSchema):
        schema = form.schema
        return [named("text.format.schema", lambda: JsonSchema(schema))]
    return []


def tool_use(wire: ResponsesRequest | CountRequest) -> ToolUse | None:
    """The tools and what may be called. Raises ApiError 400."""
    try:
        tools = read_tools([_nested(tool) for tool in wire.tools or ()])
    except InvalidParameter as error:
        # Here a tool's fields are its own, not those of a function within it.
        raise ApiError(400, str(error).replace(".function.", "."), "tools") from None
    given = wire.tool_choice
    wished = {"type": "function", "name": given.name} if isinstance(given, NamedTool) else given
    choice = named("tool_choice", lambda: read_tool_choice(wished, tools))
    return ToolUse(tools, choice, parallel=wire.parallel_tool_calls is not False) if tools else None


def _nested(tool: FunctionTool) -> dict[str, object]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }
    return {"type": "function", "function": function}


def plain_messages(wire: ResponsesRequest | CountRequest) -> list[Message]:
    """The conversation as chat templates take it. Raises ApiError 400 naming the item at fault."""
    plain: list[Message] = []
    if wire.instructions:
        plain.append({"role": "system", "content": wire.instructions})
    if isinstance(wire.input, str):
        return [*plain, {"role": "user", "content": wire.input}]
    called: set[str] = set()
    for number, item in enumerate(wire.input):
        where = f"input[{number}]"
        _check_fields(item, where)
        if item.type == "function_call":
            _add_call(plain, item, where)
            called.add(item.call_id or "")
        elif item.type == "function_call_output":
            if item.call_id not in called:
                raise ApiError(
                    400, f"{where} is the output of a call {item.call_id!r:.60} that is not in the input before it; "
                    "nothing is stored here, send the whole conversation", f"{where}.call_id",
                )  # fmt: skip
            output = _text(item.output, f"{where}.output")
            plain.append({"role": "tool", "tool_call_id": item.call_id, "content": output})
        else:
            _add_message(plain, item, where)
    return plain


_FIELDS = {
    "message": ("role", "content"),
    "function_call": ("call_id", "name", "arguments"),
    "function_call_output": ("call_id", "output"),
}


def _check_fields(item: Item, where: str) -> None:
    """Raises ApiError 400 for a field that is missing, or that belongs to another kind of item."""
    wanted = _FIELDS[item.type]
    for field in ("role", "content", "call_id", "name", "arguments", "output"):
        given = getattr(item, field) is not None
        if field in wanted and not given:
            raise ApiError(400, f"{where} is a {item.type} without {field}", f"{where}.{field}")
        if given and field not in wanted:
            raise ApiError(400, f"{where} is a {item.type}, which has no {field}", f"{where}.{field}")


def _add_call(plain: list[Message], item: Item, where: str) -> None:
    """Calls belong into the assistant's message before them; those that follow each other into one."""
    arguments = call_arguments(item.arguments or "", f"{where}.arguments")
    function: Message = {"name": item.name, "arguments": arguments}
    call: Message = {"id": item.call_id, "type": "function", "function": function}
    if not plain or plain[-1]["role"] != "assistant":
        plain.append({"role": "assistant", "content": None})
    plain[-1]["tool_calls"] = [*cast(list[Message], plain[-1].get("tool_calls", [])), call]


def _add_message(plain: list[Message], item: Item, where: str) -> None:
    # "developer" is what newer clients call the system's messages; templates do not know it.
    role = "system" if item.role == "developer" else item.role
    text = _text(item.content, f"{where}.content")
    if role == "system" and plain and all(message["role"] == "system" for message in plain):
        # Many templates take one system message only: what leads the conversation is one, instructions included.
        plain[0]["content"] = f"{plain[0]['content']}\n\n{text}"
        return
    plain.append({"role": role, "content": text})


def _text(content: str | Sequence[Part] | None, where: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(part_text(part, f"{where}[{i}]") for i, part in enumerate(content))
