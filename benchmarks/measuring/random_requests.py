"""Requests of every kind the server takes, drawn at random, with what must come of each."""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from measuring.chat_load import WORDS
from measuring.http_wire import CHAT, request_bytes

DONE = b"data: [DONE]\n\n"
GOOD = frozenset({200})
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "sizes": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["name", "sizes"],
    "additionalProperties": False,
}
BAD_BODIES: tuple[object, ...] = (
    b"{", b"[" * 5000, {}, {"messages": []}, {"messages": [{"role": "user", "content": "x"}], "n": 10**9},
    {"messages": [{"role": "user", "content": "x"}], "temperature": -1}, {"messages": "x"},
    {"messages": [{"role": "user", "content": "x"}], "nonesuch": 1},
    {"messages": [{"role": "user", "content": "x " * 20_000}]},
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request. statuses: of which its answer must have one; ending: what a 200 holds when it is whole.

    leaves_after_s: when its client goes away without waiting for the end; None: it waits.
    """

    kind: str
    request: bytes
    ending: bytes
    statuses: frozenset[int] = GOOD
    leaves_after_s: float | None = None


def draw(rng: random.Random) -> Wanted:
    """One request; a third of those that compute are left in the middle."""
    kind = rng.choices(list(KINDS), [weight for weight, _ in KINDS.values()])[0]
    wanted = KINDS[kind][1](rng)
    if wanted.statuses == GOOD and rng.random() < 1 / 3:
        request, after_s = wanted.request, rng.choice([0.0, 0.002, rng.random() * 0.1, rng.random() * 2])
        if rng.random() < 0.2:
            request = request[: rng.randrange(1, len(request))]
        return Wanted(kind, request, wanted.ending, wanted.statuses, after_s)
    return wanted


def _words(rng: random.Random, most: int) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(1, most)))


def _sampling(rng: random.Random) -> dict[str, Any]:
    fields: dict[str, Any] = {"max_tokens": rng.randint(1, 48), "temperature": rng.choice([0, 0.7, 1.5])}
    if rng.random() < 0.3:
        fields["seed"] = rng.randrange(1 << 31)
    if rng.random() < 0.2:
        fields |= {"top_p": rng.random() * 0.9 + 0.1, "frequency_penalty": rng.random()}
    if rng.random() < 0.2:
        fields["stop"] = [rng.choice(WORDS), "."]
    return fields


def _messages(rng: random.Random) -> list[dict[str, str]]:
    """Some share a long beginning, which the prefix cache then knows."""
    messages = [{"role": "user", "content": _words(rng, 200 if rng.random() < 0.2 else 30)}]
    if rng.random() < 0.4:
        told = " ".join(random.Random(rng.randrange(8)).choices(WORDS, k=250))
        messages.insert(0, {"role": "system", "content": told})
    return messages


def _chat(rng: random.Random) -> Wanted:
    body = {"messages": _messages(rng), **_sampling(rng)}
    return Wanted("chat", request_bytes("POST", CHAT, body), b'"finish_reason":')


def _streamed_chat(rng: random.Random) -> Wanted:
    body: dict[str, Any] = {"messages": _messages(rng), "stream": True, **_sampling(rng)}
    if rng.random() < 0.2:
        body |= {"logprobs": True, "top_logprobs": rng.randint(0, 20)}
    return Wanted("streamed chat", request_bytes("POST", CHAT, body), DONE)


def _several(rng: random.Random) -> Wanted:
    body = {"messages": _messages(rng), "stream": True, **_sampling(rng), "n": rng.randint(2, 5)}
    return Wanted("several answers", request_bytes("POST", CHAT, body), DONE)


def _schema(rng: random.Random) -> Wanted:
    form = {"type": "json_schema", "json_schema": {"name": "thing", "schema": SCHEMA, "strict": True}}
    body = {"messages": _messages(rng), "response_format": form, "max_tokens": 40}
    return Wanted("JSON schema", request_bytes("POST", CHAT, body), b'"finish_reason":')


def _completion(rng: random.Random) -> Wanted:
    body: dict[str, Any] = {"prompt": [_words(rng, 40) for _ in range(rng.randint(1, 4))], **_sampling(rng)}
    return Wanted("completion", request_bytes("POST", "/v1/completions", body), b'"finish_reason":')


def _scores(rng: random.Random) -> Wanted:
    body = {"prompt": _words(rng, 100), "echo": True, "logprobs": rng.randint(0, 5), "max_tokens": 1}
    return Wanted("scores", request_bytes("POST", "/v1/completions", body), b'"token_logprobs":')


def _embedding(rng: random.Random) -> Wanted:
    body = {"input": [_words(rng, 60) for _ in range(rng.randint(1, 4))]}
    return Wanted("embedding", request_bytes("POST", "/v1/embeddings", body), b'"embedding":')


def _anthropic(rng: random.Random) -> Wanted:
    body = {"model": "", "max_tokens": rng.randint(1, 32), "stream": True}
    messages = [{"role": "user", "content": _words(rng, 30)}]
    return Wanted("Anthropic", request_bytes("POST", "/v1/messages", {**body, "messages": messages}), b"message_stop")


def _ollama(rng: random.Random) -> Wanted:
    body = {"model": "", "prompt": _words(rng, 30), "options": {"num_predict": rng.randint(1, 32)}}
    return Wanted("Ollama", request_bytes("POST", "/api/generate", body), b'"done":true')


def _looked(rng: random.Random) -> Wanted:
    path = rng.choice(["/metrics", "/v1/models", "/health", "/ready", "/"])
    return Wanted("look", request_bytes("GET", path), b"\r\n\r\n")


def _tokenized(rng: random.Random) -> Wanted:
    return Wanted("tokenize", request_bytes("POST", "/tokenize", {"prompt": _words(rng, 2000)}), b'"tokens":')


def _bad(rng: random.Random) -> Wanted:
    body = rng.choice(BAD_BODIES)
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Wanted("bad", request_bytes("POST", CHAT, encoded), b"", frozenset({400}))


KINDS: Mapping[str, tuple[float, Callable[[random.Random], Wanted]]] = {
    "streamed chat": (6, _streamed_chat),
    "chat": (4, _chat),
    "several answers": (1, _several),
    "JSON schema": (1, _schema),
    "completion": (2, _completion),
    "scores": (1, _scores),
    "embedding": (1, _embedding),
    "Anthropic": (1, _anthropic),
    "Ollama": (1, _ollama),
    "look": (1, _looked),
    "tokenize": (1, _tokenized),
    "bad": (2, _bad),
}
