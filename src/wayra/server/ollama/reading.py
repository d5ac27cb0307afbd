"""From Ollama's structs to the service's calls."""

import re
from collections.abc import Mapping
from dataclasses import replace

from wayra.base.errors import InvalidParameter
from wayra.engine.request import SamplingParams
from wayra.server.calls import ChatCall, CompletionCall, ToolUse
from wayra.server.errors import ApiError, not_supported
from wayra.server.ollama.wire import Asked, ChatRequest, GenerateRequest, Message, Options
from wayra.text.structure import GrammarSpec, JsonObject, JsonSchema
from wayra.text.tools import read_tool_choice, read_tools

UNIT_S: Mapping[str, float] = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
MAX_KEEP_S = 1e9

DEFAULT_TEMPERATURE = 0.8
DEFAULT_TOP_K = 40
DEFAULT_TOP_P = 0.9
"""What this API samples with when nothing is said."""


NAMES: Mapping[str, str] = {"max_tokens": "num_predict", "repetition_penalty": "repeat_penalty"}
"""What this API calls the engine's parameters, where it has another word."""
_ENGINE_NAME = re.compile("|".join(NAMES))


def model_name(given: str) -> str:
    """The name without the tag that says nothing."""
    return given.removesuffix(":latest")


def keep_alive_s(given: float | str | None) -> float | None:
    """How long a model is to stay loaded; None: until its memory is wanted."""
    if isinstance(given, str):
        text = given.lstrip("+-")
        parts = re.findall(r"([0-9]+(?:\.[0-9]*)?)(ns|us|ms|s|m|h)", text)
        seconds = sum(float(number) * UNIT_S[unit] for number, unit in parts) if parts else float(text)
        given = -seconds if given.startswith("-") else seconds
    return None if given is None or given < 0 else min(given, MAX_KEEP_S)


def chat_call(wire: ChatRequest, max_context: int) -> ChatCall:
    """Raises ApiError 400 naming what is wrong or not supported, InvalidParameter."""
    try:
        tools = read_tools(wire.tools)
    except InvalidParameter as error:
        raise ApiError(400, str(error), "tools") from None
    use = ToolUse(tools, read_tool_choice(None, tools)) if tools else None
    grammar = grammar_spec(wire)
    if grammar is not None and use is not None:
        raise not_supported("format", "it cannot be combined with tools; leave one of them out")
    messages = [_plain_message(message, f"messages[{i}]") for i, message in enumerate(wire.messages)]
    return ChatCall(wire.model, messages, asked_sampling(wire, max_context), 1, wire.stream is not False, grammar, use)


def generate_call(wire: GenerateRequest, max_context: int, has_template: bool) -> ChatCall | CompletionCall:
    """A chat of one turn, or with raw (and for models without a template) the text alone. Raises as `chat_call`."""
    params, streams, grammar = asked_sampling(wire, max_context), wire.stream is not False, grammar_spec(wire)
    prompt = wire.prompt or ""
    if wire.raw and wire.system:
        raise not_supported("system", "a raw prompt is the whole text; write it there")
    if wire.raw or not has_template:
        text = prompt if not wire.system else f"{wire.system}\n{prompt}"
        return CompletionCall(wire.model, [text], params, 1, streams, grammar)
    system = [{"role": "system", "content": wire.system}] if wire.system else []
    messages = [*system, {"role": "user", "content": prompt}]
    return ChatCall(wire.model, messages, params, 1, streams, grammar)


def grammar_spec(wire: Asked) -> GrammarSpec | None:
    """What the answer must look like."""
    if not wire.format:
        return None
    if isinstance(wire.format, str):
        return JsonObject()
    try:
        return JsonSchema(wire.format)
    except InvalidParameter as error:
        raise ApiError(400, str(error), "format") from None


def _check_context(options: Options, max_context: int) -> None:
    """Raises ApiError 400 for a longer context than the server runs with."""
    asked = options.num_ctx
    if asked is not None and asked > max_context:
        raise ApiError(
            400, f"options.num_ctx is {asked:,}, the server runs with {max_context:,}; start it with --context {asked}",
            "options.num_ctx",
        )  # fmt: skip


def asked_sampling(wire: Asked, max_context: int) -> SamplingParams:
    """Raises InvalidParameter, ApiError 400."""
    if wire.top_logprobs is not None and not wire.logprobs:
        raise ApiError(400, "top_logprobs is given without logprobs: true", "top_logprobs")
    return sampling(wire.options, max_context, (wire.top_logprobs or 0) if wire.logprobs else None)


def sampling(given: Options | None, max_context: int, logprobs: int | None = None) -> SamplingParams:
    """Raises InvalidParameter, ApiError 400."""
    options = given or Options()
    _check_context(options, max_context)
    for name in ("tfs_z", "typical_p"):
        if getattr(options, name) not in (None, 1.0):
            raise not_supported(f"options.{name}")
    limit = options.num_predict
    params = {
        "temperature": DEFAULT_TEMPERATURE if options.temperature is None else options.temperature,
        "top_k": DEFAULT_TOP_K if options.top_k is None else max(0, options.top_k),
        "top_p": DEFAULT_TOP_P if options.top_p is None else options.top_p,
        "min_p": options.min_p,
        # Negative ones ask for a new one each time.
        "seed": options.seed if options.seed is not None and options.seed >= 0 else None,
        "stop": (options.stop,) if isinstance(options.stop, str) else options.stop,
        "repetition_penalty": options.repeat_penalty,
        "presence_penalty": options.presence_penalty,
        "frequency_penalty": options.frequency_penalty,
        # 0 and negative ones set no limit.
        "max_tokens": limit if limit is not None and limit > 0 else None,
        "logprobs": logprobs,
    }
    try:
        found = SamplingParams(**{name: value for name, value in params.items() if value is not None})
    except InvalidParameter as error:
        raise InvalidParameter(_ENGINE_NAME.sub(lambda name: NAMES[name[0]], str(error))) from None
    if options.repeat_last_n == 0:
        return replace(found, repetition_penalty=1.0, presence_penalty=0.0, frequency_penalty=0.0)
    return found


def _plain_message(message: Message, where: str) -> dict[str, object]:
    plain: dict[str, object] = {"role": message.role}
    if message.content is None and not message.tool_calls:
        raise ApiError(400, f"{where} has no content; give it a text", f"{where}.content")
    plain["content"] = message.content
    if message.tool_name is not None:
        plain["name"] = message.tool_name
    if message.tool_call_id is not None:
        plain["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        if message.role != "assistant":
            raise ApiError(400, f"{where} has tool calls, but only an assistant calls tools", f"{where}.tool_calls")
        plain["tool_calls"] = [
            {
                "id": call.id or f"call_{i}",
                "type": "function",
                "function": {"name": call.function.name, "arguments": call.function.arguments},
            }
            for i, call in enumerate(message.tool_calls)
        ]
    return plain
