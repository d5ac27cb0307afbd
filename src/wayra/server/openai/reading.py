"""From OpenAI's structs to the service's calls: messages as templates take them, sampling as the engine takes it."""

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar, cast

from msgspec import UNSET, UnsetType

from wayra.base.errors import InvalidParameter
from wayra.engine.request import SamplingParams
from wayra.server.bounds import MAX_PROMPTS
from wayra.server.calls import ChatCall, CompletionCall, Prompt, ToolUse
from wayra.server.errors import ApiError, not_supported
from wayra.server.openai.wire import (
    ChatRequest,
    CompletionRequest,
    Drawing,
    Message,
    Part,
    Prompts,
    ResponseFormat,
    Sampling,
    StructuredOutputs,
)
from wayra.text.structure import Choice, Grammar, GrammarSpec, JsonObject, JsonSchema, Regex
from wayra.text.tools import read_tool_choice, read_tools

T = TypeVar("T")

DEFAULT_COMPLETION_TOKENS = 16
"""What OpenAI's older endpoint generates when nothing is said."""
MAX_ARGUMENTS_CHARS = 1 << 20


def chat_call(wire: ChatRequest) -> ChatCall:
    """Raises ApiError 400 naming what is wrong or not supported."""
    if wire.max_tokens is not None and wire.max_completion_tokens not in (None, wire.max_tokens):
        raise ApiError(400, "max_tokens and max_completion_tokens disagree; send one of them", "max_tokens")
    if wire.top_logprobs is not None and not wire.logprobs:
        raise ApiError(400, "top_logprobs is given without logprobs: true", "top_logprobs")
    grammar, tool_use = grammar_spec(wire), _tool_use(wire)
    if grammar is not None and tool_use is not None and tool_use.choice.mode != "none":
        raise not_supported("response_format", "it cannot be combined with tools; leave one of them out")
    logprobs = (wire.top_logprobs or 0) if wire.logprobs else None
    if wire.max_completion_tokens is None:
        params = _sampling(wire, wire.max_tokens, logprobs)
    else:
        with limit_called("max_completion_tokens"):
            params = _sampling(wire, wire.max_completion_tokens, logprobs)
    return ChatCall(
        model=wire.model,
        messages=plain_messages(wire.messages),
        params=params,
        n=wire.n or 1,
        streams=bool(wire.stream),
        grammar=grammar,
        tool_use=tool_use,
    )


def completion_call(wire: CompletionRequest) -> CompletionCall:
    """Raises as `chat_call`."""
    n = wire.n or 1
    if wire.best_of not in (None, n):
        raise not_supported("best_of", "send n alone")
    params = _sampling(wire, DEFAULT_COMPLETION_TOKENS if wire.max_tokens is None else wire.max_tokens, wire.logprobs)
    if wire.echo and wire.logprobs is not None:
        if wire.stream:
            raise not_supported("stream", "the scores of a prompt come whole; ask for echo and logprobs without it")
        params = scoring(params)
    return CompletionCall(
        wire.model, read_prompts(wire.prompt, "prompt"), params, n, bool(wire.stream), grammar_spec(wire)
    )


def scoring(params: SamplingParams) -> SamplingParams:
    """The same with log-probabilities of the prompt.

    Who asks for one token beside them (as evaluation harnesses do, because 0 was refused elsewhere) counts on getting
    one: the end of the text is then a token like others.
    """
    asked_for_one = params.max_tokens == 1
    return replace(
        params,
        prompt_logprobs=True,
        prompt_top_logprobs=params.logprobs or 0,
        ignore_eos=params.ignore_eos or asked_for_one,
    )


def grammar_spec(wire: Sampling) -> GrammarSpec | None:
    """What the answer must look like. Raises ApiError 400 naming the field at fault."""
    return one_form(_response_format(wire.response_format), wire.structured_outputs)


def one_form(found: Sequence[GrammarSpec], structured: StructuredOutputs | None) -> GrammarSpec | None:
    """What was found and what the extension asks for, which may be one thing together. Raises as `grammar_spec`."""
    found = [*found, *_structured(structured)]
    if len(found) > 1:
        raise ApiError(400, "the answer can have one form only; send one constraint", "structured_outputs")
    return found[0] if found else None


def _response_format(given: ResponseFormat | None) -> list[GrammarSpec]:
    if given is None or given.type == "text":
        return []
    if given.type == "json_object":
        return [JsonObject()]
    schema = UNSET if given.json_schema is None else given.json_schema.schema
    if isinstance(schema, UnsetType):
        raise ApiError(400, "response_format has no schema", "response_format.json_schema.schema")
    return [named("response_format.json_schema.schema", lambda: JsonSchema(schema))]


def _structured(given: StructuredOutputs | None) -> list[GrammarSpec]:
    if given is None:
        return []
    at = "structured_outputs"
    found: list[GrammarSpec] = []
    if given.json is not None:
        schema = given.json
        found.append(named(f"{at}.json", lambda: JsonSchema(schema)))
    if given.json_object:
        found.append(JsonObject())
    if given.regex is not None:
        pattern = given.regex
        found.append(named(f"{at}.regex", lambda: Regex(pattern)))
    if given.grammar is not None:
        lark = given.grammar
        found.append(named(f"{at}.grammar", lambda: Grammar(lark)))
    if given.choice is not None:
        options = tuple(given.choice)
        found.append(named(f"{at}.choice", lambda: Choice(options)))
    return found


def _tool_use(wire: ChatRequest) -> ToolUse | None:
    tools = named("tools", lambda: read_tools(wire.tools))
    choice = named("tool_choice", lambda: read_tool_choice(wire.tool_choice, tools))
    if not tools:
        return None
    return ToolUse(tools, choice, parallel=wire.parallel_tool_calls is not False)


def named(param: str, make: Callable[[], T]) -> T:
    """What `make` makes; its complaint is about `param`. Raises ApiError 400."""
    try:
        return make()
    except InvalidParameter as error:
        raise ApiError(400, str(error), param) from None


@contextmanager
def limit_called(name: str) -> Generator[None]:
    """Complaints about the limit of tokens call it so: the name the engine knows is not this API's."""
    try:
        yield
    except InvalidParameter as error:
        if "max_tokens" not in str(error):
            raise
        raise ApiError(400, str(error).replace("max_tokens", name), name) from None


def plain_messages(messages: Sequence[Message]) -> list[dict[str, object]]:
    """As chat templates take them. Raises ApiError 400 naming the part that is not supported."""
    return [_plain_message(message, f"messages[{number}]") for number, message in enumerate(messages)]


def _plain_message(message: Message, where: str) -> dict[str, object]:
    # "developer" is what newer clients call the system's messages; templates do not know it.
    plain: dict[str, object] = {"role": "system" if message.role == "developer" else message.role}
    content = message.content if message.content is not None else message.refusal
    if isinstance(content, list):
        plain["content"] = "\n".join(part_text(part, f"{where}.content[{i}]") for i, part in enumerate(content))
    elif content is not None:
        plain["content"] = content
    elif not message.tool_calls:
        raise ApiError(400, f"{where} has no content; give it a text", f"{where}.content")
    if message.name is not None:
        plain["name"] = message.name
    if message.tool_call_id is not None:
        plain["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        if message.role != "assistant":
            raise ApiError(400, f"{where} has tool calls, but only an assistant calls tools", f"{where}.tool_calls")
        plain.setdefault("content", None)
        plain["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.function.name,
                    "arguments": call_arguments(call.function.arguments, f"{where}.tool_calls[{i}].function.arguments"),
                },
            }
            for i, call in enumerate(message.tool_calls)
        ]
    return plain


def part_text(part: Part, where: str) -> str:
    """The text of a message's part. Raises ApiError 400 where it is none."""
    if part.type in ("text", "input_text", "output_text") and part.text is not None:
        return part.text
    if part.type == "refusal" and part.refusal is not None:
        return part.refusal
    if part.type in ("image_url", "input_image"):
        raise ApiError(400, f"{where} is an image; this model reads text only, and nothing is fetched by URL", where)
    raise ApiError(400, f"{where} has type {part.type!r:.60}; supported is 'text'", where)


def call_arguments(text: str, where: str) -> object:
    """A call's arguments: templates print them themselves, from the object. Raises ApiError 400."""
    try:
        found: object = json.loads(text or "{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ApiError(400, f"{where} is no JSON object", where)
    return cast(Mapping[str, object], found)


def read_prompts(given: Prompts, name: str) -> list[Prompt]:
    """One or several, as texts or token ids. name: of the field. Raises ApiError 400."""
    if isinstance(given, str):
        return [given]
    if not given:
        raise ApiError(400, f"{name} is an empty list; give at least one text or token id", name)
    kinds = {type(item) for item in given}
    if len(kinds) > 1:
        raise ApiError(400, f"{name} mixes texts, token ids and lists; give a list of one kind", name)
    if kinds == {int}:
        return [cast(list[int], given)]
    if len(given) > MAX_PROMPTS:
        raise ApiError(400, f"there are {len(given):,} prompts, limit is {MAX_PROMPTS:,}; send fewer at a time", name)
    return cast(list[Prompt], given)


def _sampling(wire: Sampling, max_tokens: int | None, logprobs: int | None) -> SamplingParams:
    """Raises InvalidParameter, ApiError 400."""
    if wire.stream_options is not None and not wire.stream:
        raise ApiError(400, "stream_options is given without stream: true", "stream_options")
    return sampling_params(wire, max_tokens, logprobs)


def sampling_params(wire: Drawing, max_tokens: int | None, logprobs: int | None) -> SamplingParams:
    """Raises InvalidParameter."""
    given = {
        "temperature": wire.temperature,
        "top_k": wire.top_k,
        "top_p": wire.top_p,
        "min_p": wire.min_p,
        "repetition_penalty": wire.repetition_penalty,
        "presence_penalty": wire.presence_penalty,
        "frequency_penalty": wire.frequency_penalty,
        "min_tokens": wire.min_tokens,
        "ignore_eos": wire.ignore_eos,
        "stop": wire.stop,
        "stop_token_ids": wire.stop_token_ids,
        "logit_bias": None if wire.logit_bias is None else _biases(wire.logit_bias),
        "seed": wire.seed,
        "max_tokens": max_tokens,
        "logprobs": logprobs,
    }
    # top_k -1 is how some clients say "off".
    if given["top_k"] == -1:
        given["top_k"] = 0
    return SamplingParams(**{name: value for name, value in given.items() if value is not None})


def _biases(given: Mapping[str, float]) -> dict[int, float]:
    biases: dict[int, float] = {}
    for key, bias in given.items():
        if not (key.isascii() and key.isdigit() and len(key) <= 10):
            raise InvalidParameter(f"logit_bias has the key {key!r:.40}, expected token ids")
        biases[int(key)] = bias
    return biases
