"""What is written to the server: prompts, sampling and structures in the words of OpenAI's API and its extensions.

A field is sent only where it says something, so that servers without the extensions can be asked too.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import msgspec

from wayra.base.errors import InvalidParameter
from wayra.engine.request import SamplingParams
from wayra.llm.host import Ask
from wayra.llm.prompts import Conversation, Prompt, is_conversation
from wayra.text.structure import Choice, Grammar, GrammarSpec, JsonObject, JsonSchema, Regex

NEUTRAL = SamplingParams()
TOLD_AS_IS = (
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "min_tokens",
    "stop",
    "stop_token_ids",
    "ignore_eos",
)


@dataclass(frozen=True, slots=True)
class RemoteWork:
    """A request ready to be sent. is_scoring: log-probabilities of the prompt are wanted, and no text."""

    id: str
    path: str
    body: bytes
    params: SamplingParams
    is_scoring: bool = False


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a server knows. model: the name it calls the model by. context_len: None when it does not tell.

    tells_ids: it says which tokens an answer has (vLLM's extension, wayra has it too). is_wayra: it is one of ours.
    """

    model: str
    context_len: int | None
    tells_ids: bool
    is_wayra: bool


def work_of(request_id: str, ask: Ask, dialect: Dialect) -> RemoteWork:
    """Raises InvalidParameter for what this server cannot be asked."""
    params = ask.params
    body: dict[str, object] = {"model": dialect.model, **_sampling(params)}
    if dialect.tells_ids:
        body["return_token_ids"] = True
    elif params.logprobs is not None or params.prompt_logprobs:
        raise InvalidParameter("logprobs need a server that tells token ids, as wayra and vLLM do; leave them out")
    if ask.structure is not None:
        body |= _structure(ask.structure)
    if params.prompt_logprobs:
        return _scoring_work(request_id, ask, body)
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    if is_conversation(ask.prompt):
        body["messages"] = ask.prompt
        if params.logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": params.logprobs, "return_tokens_as_token_ids": True}
        return RemoteWork(request_id, "/chat/completions", encoded(body), params)
    body["prompt"] = checked_prompt(ask.prompt)
    if params.max_tokens is None:
        body["max_tokens"] = _whole_context(dialect)
    if params.logprobs is not None:
        body |= {"logprobs": params.logprobs, "return_tokens_as_token_ids": True}
    return RemoteWork(request_id, "/completions", encoded(body), params)


def _scoring_work(request_id: str, ask: Ask, body: dict[str, object]) -> RemoteWork:
    params = ask.params
    if is_conversation(ask.prompt):
        raise InvalidParameter(
            "prompt_logprobs of a conversation cannot be asked of a server; take the ids that prompt_ids gives for it"
        )
    if params.max_tokens != 0:
        raise InvalidParameter("prompt_logprobs come alone from a server; set max_tokens to 0")
    body |= {"prompt": checked_prompt(ask.prompt), "echo": True, "logprobs": params.prompt_top_logprobs}
    body["return_tokens_as_token_ids"] = True
    return RemoteWork(request_id, "/completions", encoded(body), params, is_scoring=True)


def _sampling(params: SamplingParams) -> dict[str, object]:
    body: dict[str, object] = {"temperature": params.temperature}
    for name in TOLD_AS_IS:
        value = getattr(params, name)
        if value != getattr(NEUTRAL, name):
            body[name] = value
    if params.logit_bias:
        body["logit_bias"] = {str(token_id): bias for token_id, bias in params.logit_bias.items()}
    if params.max_tokens is not None:
        body["max_tokens"] = params.max_tokens
    return body


def _whole_context(dialect: Dialect) -> int:
    """max_tokens that never end an answer: where nothing is said, the API's completions end after 16 tokens."""
    if dialect.context_len is None or not dialect.is_wayra:
        raise InvalidParameter("max_tokens is None, which this server's completions do not know; give a number")
    return dialect.context_len


def _structure(spec: GrammarSpec) -> dict[str, object]:
    if isinstance(spec, JsonObject):
        return {"response_format": {"type": "json_object"}}
    if isinstance(spec, JsonSchema):
        schema = {"name": "answer", "strict": True, "schema": json.loads(spec.text)}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    if isinstance(spec, Regex):
        return {"structured_outputs": {"regex": spec.pattern}}
    if isinstance(spec, Choice):
        return {"structured_outputs": {"choice": spec.options}}
    return {"structured_outputs": {"grammar": _lark(spec)}}


def _lark(spec: Grammar) -> str:
    if spec.schemas:
        raise InvalidParameter("a grammar with schemas beside it cannot be sent to a server; write it as one grammar")
    return spec.lark


def checked_prompt(prompt: Prompt | Conversation) -> str | list[int]:
    """Text or token ids. Raises InvalidParameter for anything else, and for no tokens."""
    if isinstance(prompt, str):
        return prompt
    given = cast(object, prompt)
    if not isinstance(given, Sequence) or isinstance(given, bytes | bytearray):
        raise InvalidParameter(f"a prompt is a {type(given).__name__}, expected text, token ids or messages")
    for token in cast(Sequence[object], given):
        if not isinstance(token, int) or isinstance(token, bool):
            raise InvalidParameter(f"a prompt holds a {type(token).__name__}, expected text, token ids or messages")
    if not given:
        raise InvalidParameter("the prompt has no tokens; give at least one")
    return list(cast(Sequence[int], given))


def encoded(body: Mapping[str, object]) -> bytes:
    """As JSON. Raises InvalidParameter when messages hold what JSON has not."""
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidParameter(f"the request cannot be written as JSON: {error!s:.200}") from error
