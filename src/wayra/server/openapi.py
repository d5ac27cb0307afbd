"""GET /openapi.json: what this server takes and answers, as an OpenAPI 3.1 document.

Schemas come from the structs that requests are decoded into and answers are encoded from, so that they cannot say
anything else. The table of operations is held against the table of routes by a test.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from wayra import __version__
from wayra.server.anthropic.messages import MessageAnswer, Tokens
from wayra.server.anthropic.wire import CountRequest, MessagesRequest
from wayra.server.door import OPEN_PATHS
from wayra.server.errors import AnthropicError, OllamaError, OpenAIError
from wayra.server.ollama import answers as ollama_answers
from wayra.server.ollama import embed as ollama_embed
from wayra.server.ollama import models as ollama_models
from wayra.server.ollama import wire as ollama_wire
from wayra.server.openai import chat, completions, embeddings, models, tokenizer_info, wire
from wayra.server.openai.responses import answers as responses_answers
from wayra.server.openai.responses import route as responses_route
from wayra.server.openai.responses import wire as responses_wire
from wayra.server.planner import routes as planner

Api = Literal["openai", "responses", "anthropic", "ollama", "wayra"]
Schema = dict[str, Any]

EVENTS = "text/event-stream"
LINES = "application/x-ndjson"
JSON = "application/json"
TEXT = "text/plain"

ERROR_OF_API: dict[Api, type] = {
    "openai": OpenAIError,
    "responses": OpenAIError,
    "anthropic": AnthropicError,
    "ollama": OllamaError,
    "wayra": OpenAIError,
}
MEANING: dict[int, str] = {
    400: "Something in the request is wrong or not supported; the message says what",
    401: "The API key is missing or wrong",
    403: "A web page of another origin asks",
    404: "There is no such model, or no such path",
    408: "The request came too slowly",
    413: "The body is too large",
    415: "The body is not said to be JSON, or is compressed",
    421: "The Host header is not one of this server's names",
    429: "The queue is full, or the API key is at a limit; retry-after-ms says when to come again",
    431: "The headers are too long",
    500: "Our fault; the log says why",
    503: "The server is shutting down, or its engine is not well",
    505: "Another HTTP version than 1.0 and 1.1",
}
STATUSES_WITH_BODY = frozenset({404, 408, 413, 415, 429})


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. answer: a struct, or the media type of a text.

    body: what a POST sends. stream: the media type of the answer where `stream` asks for one.
    """

    method: Literal["get", "post"]
    path: str
    summary: str
    api: Api
    answer: type | str
    body: type | None = None
    stream: str | None = None


OPERATIONS: tuple[Operation, ...] = (
    Operation("post", "/v1/chat/completions", "Answer a conversation", "openai",
              chat.ChatAnswer, wire.ChatRequest, EVENTS),
    Operation("post", "/v1/completions", "Continue texts or token ids, or score them", "openai",
              completions.CompletionAnswer, wire.CompletionRequest, EVENTS),
    Operation("post", "/v1/embeddings", "Vectors of texts", "openai",
              embeddings.EmbeddingAnswer, embeddings.EmbeddingRequest),
    Operation("post", "/v1/responses", "Answer a conversation, in items; nothing is stored", "responses",
              responses_answers.ResponseAnswer, responses_wire.ResponsesRequest, EVENTS),
    Operation("post", "/v1/responses/input_tokens", "Count the tokens of a conversation", "responses",
              responses_route.InputTokens, responses_wire.CountRequest),
    Operation("post", "/v1/messages", "Answer a conversation, as Anthropic's API", "anthropic",
              MessageAnswer, MessagesRequest, EVENTS),
    Operation("post", "/v1/messages/count_tokens", "Count the tokens of a conversation", "anthropic",
              Tokens, CountRequest),
    Operation("get", "/v1/models", "What is served", "openai", models.ModelList),
    Operation("get", "/v1/models/{name}", "One model; its name may hold slashes", "openai", models.ModelCard),
    Operation("post", "/api/chat", "Answer a conversation, as Ollama's API; streamed unless told otherwise", "ollama",
              ollama_answers.ChatAnswer, ollama_wire.ChatRequest, LINES),
    Operation("post", "/api/generate", "Answer one prompt; streamed unless told otherwise", "ollama",
              ollama_answers.GenerateAnswer, ollama_wire.GenerateRequest, LINES),
    Operation("post", "/api/embed", "Vectors of texts", "ollama",
              ollama_embed.EmbedAnswer, ollama_embed.EmbedRequest),
    Operation("get", "/api/tags", "What is served", "ollama", ollama_models.Tags),
    Operation("get", "/api/ps", "What is loaded", "ollama", ollama_models.Processes),
    Operation("post", "/api/show", "What a model is", "ollama", ollama_models.Shown, ollama_wire.ShowRequest),
    Operation("get", "/api/version", "The server's version", "ollama", ollama_models.Version),
    Operation("post", "/tokenize", "A text or a conversation to token ids", "openai",
              models.Tokens, wire.TokenizeRequest),
    Operation("post", "/detokenize", "Token ids to text", "openai", models.Text, wire.DetokenizeRequest),
    Operation("get", "/tokenizer_info", "Control tokens and chat template", "openai", tokenizer_info.TokenizerInfo),
    Operation("get", "/health", "200 after a real step of every engine", "wayra", TEXT),
    Operation("get", "/ready", "200 while requests are accepted", "wayra", TEXT),
    Operation("get", "/metrics", "Prometheus' text format", "wayra", TEXT),
    Operation("get", "/openapi.json", "This document", "wayra", JSON),
    Operation("get", "/", "A chat page", "wayra", "text/html"),
    Operation("get", "/plan", "The planner's page", "wayra", "text/html"),
    Operation("get", "/plan/facts", "What a plan may choose from", "wayra", JSON),
    Operation("post", "/plan/weigh", "Weigh models, hardware and APIs for a workload", "wayra", JSON,
              planner.WeighRequest),
    Operation("post", "/plan/explain", "One option's numbers with their reasons", "wayra", JSON,
              planner.ExplainRequest),
)  # fmt: skip


class OpenApiRoute:
    """The endpoint. needs_key: whether clients must send an API key."""

    def __init__(self, needs_key: bool) -> None:
        self._needs_key = needs_key
        self._written = b""

    async def answer(self, request: Request) -> Response:
        """The document, made when it is first asked for."""
        self._written = self._written or msgspec.json.encode(document(self._needs_key))
        return Response(self._written, media_type=JSON)


def document(needs_key: bool) -> Schema:
    """The OpenAPI document as plain data. needs_key: as for OpenApiRoute."""
    schemas = Schemas()
    paths: dict[str, Schema] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation, schemas)
    keys: list[Schema] = [{"bearer": []}, {"key": []}]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "wayra",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "Llama-family models behind the APIs of OpenAI, Anthropic and Ollama. What a request holds "
            "and this server does not support is refused by its name. A request may bring an x-request-id; "
            "every answer carries one, and the log has it too.",
        },
        "servers": [{"url": "/"}],
        "security": keys if needs_key else [{}, *keys],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "responses": _errors(schemas),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


class Schemas:
    """The schemas of all structs, by API: different APIs have structs of the same name."""

    def __init__(self) -> None:
        self.components: Schema = {}
        self._references: dict[tuple[Api, type], Schema] = {}
        for api, error in ERROR_OF_API.items():
            ours = [operation for operation in OPERATIONS if operation.api == api]
            bodies = [operation.body for operation in ours if operation.body is not None]
            answers = [operation.answer for operation in ours if isinstance(operation.answer, type)]
            self._add(api, bodies, [*answers, error])

    def reference(self, api: Api, struct: type) -> Schema:
        """What stands for a struct."""
        return self._references[api, struct]

    def _add(self, api: Api, bodies: Sequence[type], answers: Sequence[type]) -> None:
        found, components = _generated(api, [*bodies, *answers])
        _, of_bodies = _generated(api, bodies)
        for name, schema in components.items():
            if name not in of_bodies and "properties" in schema:
                # What has a default is written all the same; what may be left out of an answer has none.
                schema["required"] = [n for n, p in schema["properties"].items()
                                      if n in schema["required"] or "default" in p]  # fmt: skip
            self.components[f"{api}.{name}"] = schema
        self._references.update(
            {(api, struct): schema for struct, schema in zip([*bodies, *answers], found, strict=True)}
        )


def _generated(api: Api, structs: Sequence[type]) -> tuple[Sequence[Schema], dict[str, Schema]]:
    template = f"#/components/schemas/{api}.{{name}}"
    made = msgspec.json.schema_components(structs, schema_hook=_any_json, ref_template=template)
    # Defaults are as Python has them, tuples for one.
    return msgspec.json.decode(msgspec.json.encode(made))


def _any_json(given: type) -> Schema:
    """Of `object`: what JSON there is, a tool's schema say, is checked by who reads it."""
    if given is object:
        return {"description": "Any JSON"}
    raise NotImplementedError  # msgspec's word for a type that a schema hook does not know: its own error follows


def _operation(operation: Operation, schemas: Schemas) -> Schema:
    has_body, has_name = operation.body is not None, "{name}" in operation.path
    statuses = [s for s in MEANING if has_body or s not in STATUSES_WITH_BODY or (s == 404 and has_name)]
    errors = {str(s): {"$ref": f"#/components/responses/{operation.api}.{s}"} for s in statuses}
    described: Schema = {
        "operationId": _operation_id(operation),
        "summary": operation.summary,
        "tags": [operation.api],
        "responses": {"200": _answer(operation, schemas), **errors},
    }
    if operation.body is not None:
        body = {JSON: {"schema": schemas.reference(operation.api, operation.body)}}
        described["requestBody"] = {"required": True, "content": body}
    if has_name:
        described["parameters"] = [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]
    if operation.path.encode() in OPEN_PATHS:
        described["security"] = []
    return described


def _operation_id(operation: Operation) -> str:
    words = re.sub(r"\W+", "_", operation.path).strip("_")
    return f"{operation.method}_{words or 'page'}"


def _answer(operation: Operation, schemas: Schemas) -> Schema:
    answer, content = operation.answer, dict[str, Schema]()
    if isinstance(answer, type):
        content[JSON] = {"schema": schemas.reference(operation.api, answer)}
    else:
        content[answer] = {"schema": {"type": "object" if answer == JSON else "string"}}
    if operation.stream is not None:
        what = "Server-sent events" if operation.stream == EVENTS else "An object a line"
        # A stream is no JSON value; of what type its parts are this version of OpenAPI cannot tell.
        content[operation.stream] = {"schema": {"description": f"{what}, as the API has them"}}
    return {"description": "The answer", "headers": _headers("x-request-id"), "content": content}


def _errors(schemas: Schemas) -> Schema:
    """What goes wrong, in the shape of each API."""
    errors: Schema = {}
    for api, shape in ERROR_OF_API.items():
        for status, meaning in MEANING.items():
            names = ["x-request-id", *(["retry-after-ms", "retry-after"] if status in (429, 503) else [])]
            errors[f"{api}.{status}"] = {
                "description": meaning,
                "headers": _headers(*names),
                "content": {JSON: {"schema": schemas.reference(api, shape)}},
            }
    return errors


def _headers(*names: str) -> Schema:
    return {name: {"schema": {"type": "string"}} for name in names}
