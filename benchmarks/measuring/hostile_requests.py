"""Requests that want to hurt: without end, deep, compressed, half-sent, or cheap to send and dear to answer."""

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from measuring.http_wire import CHAT, request_bytes

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CHUNK = b"x" * 65536
HELLO = [{"role": "user", "content": "Hello"}]


@dataclass(frozen=True, slots=True)
class Attack:
    """parts: of what is sent, made as they are wanted. ends: whether the client closes its side after that.

    statuses: of which the answer must have one; 0 is a connection that is closed without one. Any 4xx when empty.
    """

    parts: Callable[[], Iterator[bytes]]
    ends: bool = False
    statuses: frozenset[int] = frozenset()

    def is_met_by(self, status: int) -> bool:
        if self.statuses:
            return status in self.statuses
        return status == 0 or 400 <= status < 500


def _raw(*parts: bytes, ends: bool = False) -> Attack:
    return Attack(lambda: iter(parts), ends)


def _posted(body: object, path: str = CHAT) -> Attack:
    request = request_bytes("POST", path, body)
    return Attack(lambda: iter((request,)), statuses=frozenset(range(400, 500)))


def _asked(**fields: Any) -> Attack:
    return _posted({"messages": HELLO, "max_tokens": 8, **fields})


def _repeated(first: bytes, part: bytes, size_bytes: int) -> Attack:
    def parts() -> Iterator[bytes]:
        yield first
        for _ in range(size_bytes // len(part)):
            yield part

    return Attack(parts)


def _schema(schema: Mapping[str, Any]) -> Attack:
    form = {"type": "json_schema", "json_schema": {"name": "bomb", "schema": schema, "strict": True}}
    return _may_be_taken(response_format=form)


def _may_be_taken(**fields: Any) -> Attack:
    """What need not be refused: it may also be answered, within its limits."""
    request = request_bytes("POST", CHAT, {"messages": HELLO, "max_tokens": 8, **fields})
    return Attack(lambda: iter((request,)), statuses=frozenset({200, *range(400, 500)}))


def _compressed(size_mb: int) -> Attack:
    packed = gzip.compress(b" " * (size_mb << 20))
    head = HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    return Attack(lambda: iter((head, packed)), statuses=frozenset({415}))


def _nested(open_with: str, close_with: str, depth: int) -> bytes:
    return (open_with * depth + "1" + close_with * depth).encode()


def _deep_schema(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


def _wide_schema() -> dict[str, Any]:
    """Alternatives of alternatives, which multiply when somebody writes them out."""
    definitions: dict[str, Any] = {"d0": {"type": "integer"}}
    for level in range(1, 30):
        definitions[f"d{level}"] = {"anyOf": [{"type": "array", "items": {"$ref": f"#/$defs/d{level - 1}"}}] * 4}
    return {"$defs": definitions, "type": "object", "properties": {"a": {"$ref": "#/$defs/d29"}}, "required": ["a"]}


def attacks() -> dict[str, Attack]:
    """By name."""
    return _malformed() | _huge() | _costly()


def _malformed() -> dict[str, Attack]:
    return {
        "header of 256 MB": _repeated(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Bomb: ", CHUNK, 256 << 20),
        "256 MB of headers": _repeated(b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"X-Bomb: 1\r\n" * 5000, 256 << 20),
        "request line of 16 MB": _repeated(b"GET /", CHUNK, 16 << 20),
        "body of 256 MB": _repeated(HEAD + b"Content-Length: 268435456\r\n\r\n", CHUNK, 256 << 20),
        "chunked body without end": _repeated(
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + CHUNK + b"\r\n", 256 << 20),
        "chunks of one byte": _repeated(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 10_000, 16 << 20),
        "gzip bomb of 1 GB": _compressed(1024),
        "half a request line": _raw(b"POST /v1/cha", ends=True),
        "half of the headers": _raw(HEAD[:60], ends=True),
        "half a body": _raw(HEAD + b"Content-Length: 1000\r\n\r\n{\"messages\": [", ends=True),
        "no HTTP": _raw(bytes(range(256)) * 64, ends=True),
        "both lengths": _raw(HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ends=True),
        "a length below 0": _raw(HEAD + b"Content-Length: -1\r\n\r\n", ends=True),
        "lists 100,000 deep": _posted(_nested("[", "]", 100_000)),
        "objects 100,000 deep": _posted(_nested('{"a":', "}", 100_000)),
        "deep inside a message": _posted(b'{"messages":' + _nested("[", "]", 10_000) + b"}"),
        "an integer of a million digits": _posted(b'{"messages":[],"seed":' + b"9" * 1_000_000 + b"}"),
        "a float of a million digits": _posted(b'{"messages":[],"temperature":0.' + b"9" * 1_000_000 + b"}"),
        "a million empty messages": _posted(b'{"messages":[' + b",".join([b"{}"] * 1_000_000) + b"]}"),
    }  # fmt: skip


def _huge() -> dict[str, Attack]:
    many = [{"role": "user" if i % 2 == 0 else "assistant", "content": "{{ 1 }}{% for x in y %}"} for i in range(9_999)]
    return {
        "n of 1e9": _asked(n=10**9),
        "n of 1e300": _asked(n=1e300),
        "logprobs of 1e9": _asked(logprobs=True, top_logprobs=10**9),
        "max_tokens of 1e18": _asked(max_tokens=10**18),
        "token ids beyond the vocabulary": _posted({"prompt": [10**9] * 8, "max_tokens": 8}, "/v1/completions"),
        "token ids below 0": _posted({"prompt": [-1] * 8, "max_tokens": 8}, "/v1/completions"),
        "a million token ids": _posted({"prompt": [5] * 1_000_000, "max_tokens": 8}, "/v1/completions"),
        "a thousand prompts, n of 128": _posted({"prompt": ["a"] * 1000, "n": 128}, "/v1/completions"),
        "a prompt of 4 MB": _posted({"prompt": "a " * 2_090_000, "max_tokens": 8}, "/v1/completions"),
        "one word of 4 MB": _posted({"prompt": "a" * 4_180_000, "max_tokens": 8}, "/v1/completions"),
        "4 MB to tokenize": _posted({"prompt": "a " * 2_090_000}, "/tokenize"),
        "4 MB to count": _posted({"model": "", "messages": [{"role": "user", "content": "a " * 2_080_000}]},
            "/v1/messages/count_tokens"),
        "two million ids to tell as text": _posted(b'{"tokens":[5' + b",5" * 2_000_000 + b"]}", "/detokenize"),
        "4 MB to tokenize to embed": _posted({"input": "z" * 4_180_000}, "/v1/embeddings"),
        "logit_bias for 100,000": _asked(logit_bias={str(i): 1 for i in range(100_000)}),
        "100,000 stop strings": _asked(stop=["a"] * 100_000),
        "a stop string of 1 MB": _asked(stop=["a" * 1_000_000]),
        "10,000 messages of template text": _posted({"messages": many}),
        "a chat template of the client": _asked(chat_template="{% for i in range(10**9) %}x{% endfor %}"),
        "a tool of 3 MB": _asked(
            tools=[{"type": "function", "function": {"name": "f", "description": "x" * 3_000_000}}]),
        "an image by URL": _asked(messages=[{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}]}]),
    }  # fmt: skip


def _costly() -> dict[str, Attack]:
    """Grammars and schemas."""
    return {
        "a regex that counts": _may_be_taken(structured_outputs={"regex": "((a{1,1000}){1,1000}){1,1000}"}),
        "a regex of alternatives": _may_be_taken(
            structured_outputs={"regex": "(" + "|".join(["a?" * 50] * 500) + ")*"}),
        "a regex that looks far back": _may_be_taken(structured_outputs={"regex": "(a|b)*a(a|b){30}"}),
        "a grammar that is ambiguous": _may_be_taken(
            structured_outputs={"grammar": 'start: x\nx: x x x | "a" | ""'}),
        "a grammar that refers in circles": _may_be_taken(structured_outputs={"grammar": "start: a\na: b\nb: a"}),
        "a grammar of 200,000 characters": _may_be_taken(
            structured_outputs={"grammar": "start: " + " | ".join(f'"w{i}"' for i in range(18_000))}),
        "10,000 choices": _may_be_taken(structured_outputs={"choice": [f"choice {i}" for i in range(10_000)]}),
        "a schema 10,000 deep": _posted(_deep_schema_body(10_000)),
        "a schema 100 deep": _schema(_deep_schema(100)),
        "a schema of alternatives of alternatives": _schema(_wide_schema()),
        "a schema that refers to itself": _schema({"$ref": "#"}),
        "a schema with a huge array": _schema({"type": "array", "minItems": 10**6, "items": {"type": "integer"}}),
        "a schema with a bad pattern": _schema({"type": "string", "pattern": "(x+x+)+y{100000}"}),
    }  # fmt: skip


def _deep_schema_body(depth: int) -> bytes:
    schema = b'{"type":"array","items":' * depth + b"{}" + b"}" * depth
    start = json.dumps({"messages": HELLO, "max_tokens": 8})[:-1].encode()
    return start + b',"response_format":{"type":"json_schema","json_schema":{"name":"d","schema":' + schema + b"}}}"
