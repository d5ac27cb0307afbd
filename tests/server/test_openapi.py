"""The OpenAPI document: valid, complete, bounded, and true of what the server takes and answers."""

import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from jsonschema import Draft202012Validator
from live_server import LiveServer
from openapi_spec_validator import validate

from wayra.server.app import routes_of
from wayra.server.openapi import OPERATIONS, Operation, document
from wayra.server.service import Service
from wayra.server.settings import ServerSettings

HELLO = [{"role": "user", "content": "Hello"}]
FEW: dict[str, Any] = {"max_tokens": 2}
PLANNED = {
    "traffic": {"input_tokens": 800, "output_tokens": 200, "requests_per_month": 1e5},
    "choice": {"models": ["gpt-4o"]},
}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": HELLO, "logprobs": True, "top_logprobs": 1, **FEW},
    "/v1/completions": {"prompt": "Hello", "logprobs": 1, "echo": True, **FEW},
    "/v1/embeddings": {"input": ["Hello", "you"]},
    "/v1/responses": {"input": "Hello", "max_output_tokens": 2},
    "/v1/responses/input_tokens": {"input": "Hello"},
    "/v1/messages": {"messages": HELLO, **FEW},
    "/v1/messages/count_tokens": {"messages": HELLO},
    "/api/chat": {"messages": HELLO, "stream": False, "options": {"num_predict": 2}},
    "/api/generate": {"prompt": "Hello", "stream": False, "logprobs": True, "options": {"num_predict": 2}},
    "/api/embed": {"input": "Hello"},
    "/api/show": {},
    "/plan/weigh": {"workload": PLANNED},
    "/plan/explain": {"workload": PLANNED, "option": "o0"},
    "/tokenize": {"prompt": "Hello", "return_token_strs": True},
    "/detokenize": {"tokens": [1, 2]},
}
DOCUMENT = document(False)
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]


def described(operation: Operation) -> Any:
    return DOCUMENT["paths"][operation.path][operation.method]


def body_schema(path: str) -> Any:
    reference: str = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    return SCHEMAS[reference.rpartition("/")[2]]


def numbers(schema: Any, at: str) -> Iterator[tuple[str, Any]]:
    """Every schema of a number within a schema, with its place."""
    if isinstance(schema, list):
        for i, part in enumerate(schema):
            yield from numbers(part, f"{at}[{i}]")
    if isinstance(schema, dict):
        if schema.get("type") in ("integer", "number"):
            yield at, schema
        for name, part in schema.items():
            yield from numbers(part, f"{at}.{name}")


def request_schemas() -> dict[str, Any]:
    """The schemas of bodies and of what they refer to."""
    found: dict[str, Any] = {}
    waiting = [f"#/components/schemas/{name}" for name in SCHEMAS if SCHEMAS[name] in map(body_schema, BODIES)]
    while waiting:
        name = waiting.pop().rpartition("/")[2]
        if name not in found:
            found[name] = SCHEMAS[name]
            waiting += re.findall(r"#/components/schemas/[\w.]+", repr(SCHEMAS[name]))
    return found


def test_the_document_is_valid_openapi() -> None:
    validate(DOCUMENT)
    validate(document(True))


def test_every_route_is_described_and_nothing_else() -> None:
    service = cast(Service, SimpleNamespace(settings=ServerSettings(), planner=None))
    routes = {
        (method.lower(), route.path.replace(":path}", "}"))
        for route in routes_of(service)
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert routes == {(operation.method, operation.path) for operation in OPERATIONS}
    assert set(BODIES) == {operation.path for operation in OPERATIONS if operation.method == "post"}


def test_no_two_structs_of_an_api_share_a_name() -> None:
    assert [name for name in SCHEMAS if not re.fullmatch(r"[a-z]+\.[A-Za-z]+", name)] == []


def test_every_number_a_client_may_send_is_bounded_both_ways() -> None:
    found = dict(numbers(request_schemas(), ""))
    assert len(found) > 50
    assert [at for at, schema in found.items() if not {"minimum", "maximum"} <= set(schema)] == []


def test_the_server_tells_it_to_whom_it_answers(server: LiveServer) -> None:
    answer = server.get("/openapi.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json == DOCUMENT
    assert document(True)["security"] == [{"bearer": []}, {"key": []}]
    assert document(True)["paths"]["/health"]["get"]["security"] == []


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.path)
def test_answers_are_what_the_document_says(server: LiveServer, operation: Operation) -> None:
    if operation.method == "post":
        answer = server.post(operation.path, BODIES[operation.path])
    else:
        model = server.get("/v1/models").json["data"][-1]["id"]
        answer = server.get(operation.path.replace("{name}", model))
    assert answer.status == 200, answer.body
    contents = described(operation)["responses"]["200"]["content"]
    kind = answer.headers["content-type"].partition(";")[0]
    assert kind in contents
    if kind == "application/json":
        Draft202012Validator({**contents[kind]["schema"], "components": DOCUMENT["components"]}).validate(answer.json)


@pytest.mark.parametrize("path", BODIES)
def test_numbers_beyond_their_bounds_are_refused(server: LiveServer, path: str) -> None:
    properties = {(name,): schema for name, schema in body_schema(path)["properties"].items()}
    if "options" in body_schema(path)["properties"]:
        options = SCHEMAS["ollama.Options"]["properties"].items()
        properties |= {("options", name): schema for name, schema in options}
    for place, schema in properties.items():
        for at, number in numbers(schema, ""):
            if "items" in at or "additionalProperties" in at or "$ref" in at:
                continue
            step = 1 if number["type"] == "integer" else 0.001
            for value in (number["minimum"] - step, number["maximum"] + step):
                sent = {place[0]: value} if len(place) == 1 else {"options": {place[1]: value}}
                answer = server.post(path, {**BODIES[path], **sent})
                assert answer.status == 400, (sent, answer.body)


@pytest.mark.parametrize("path", BODIES)
def test_errors_are_what_the_document_says(server: LiveServer, path: str) -> None:
    responses = DOCUMENT["paths"][path]["post"]["responses"]
    for status, fields in ((400, {"frobnicate": 1}), (404, {"model": "nonesuch"})):
        if path.startswith("/plan/") and status == 404:
            continue  # there is no model in it
        answer = server.post(path, {**BODIES[path], **fields})
        assert answer.status == status
        described = DOCUMENT["components"]["responses"][responses[str(status)]["$ref"].rpartition("/")[2]]
        schema = described["content"]["application/json"]["schema"]
        Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(answer.json)
        assert set(answer.json) <= {"error", "type"}
