"""The host of a model that a server has: requests go out over a few connections, chunks come back as they arrive."""

import asyncio
import base64
import itertools
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from wayra.base.errors import BackendError, InvalidParameter, ModelNotFound, ServerError
from wayra.client import HttpClient, HttpLimits, RequestFailed, SseSplitter
from wayra.client.api import ModelCards, api_url
from wayra.engine.request import Pooling
from wayra.llm.host import Ask
from wayra.llm.prompts import Conversation, Prompt, is_conversation
from wayra.llm.remote.bodies import Dialect, RemoteWork, checked_prompt, encoded, work_of
from wayra.llm.remote.errors import Refusal, as_wayra_error
from wayra.llm.remote.loop import TaskLoop
from wayra.llm.remote.reading import AnswerReader
from wayra.llm.results import Chunk
from wayra.llm.runner import Event

S = TypeVar("S")

MAX_AT_ONCE = 64
"""Requests under way; more wait here, so that a long list does not meet the end of the server's queue."""
MAX_ASKED_AGAIN = 5
"""Times a request is sent again that the server had no time for."""
MOST_WAIT_S = 30.0
MAX_ERROR_BYTES = 64 * 1024
EMBEDDED_AT_ONCE = 128
STALL_S = 600.0
CONNECT_S = 10.0
TOTAL_S = 86_400.0
TELLERS_OF_IDS = frozenset({"wayra", "vllm"})
"""Who sends token ids when asked to, by `owned_by` of its models."""


class _Tokens(msgspec.Struct):
    tokens: list[int]


class _Vector(msgspec.Struct):
    index: int
    embedding: list[float] | str


class _Vectors(msgspec.Struct):
    data: list[_Vector]


class RemoteHost:
    """A model behind an OpenAI-compatible API. source: the API's address, up to and with the version."""

    def __init__(self, url: str, api_key: str | None, model: str | None, stall_s: float | None = None) -> None:
        """Ask the server what it serves. model: None takes the first. stall_s: without a byte, until an answer is given
        up; None waits STALL_S.

        Raises InvalidParameter, ServerUnreachable, AccessDenied, ModelNotFound, ServerError.
        """
        started = time.perf_counter()
        if api_key is not None and not (api_key and api_key.isascii() and api_key.isprintable()):
            raise InvalidParameter("the API key has characters that cannot be in a header; check how it was given")
        stall_s = STALL_S if stall_s is None else stall_s
        if not 0.01 <= stall_s <= TOTAL_S:
            raise InvalidParameter(f"stall_s is {stall_s}, expected 0.01 to {TOTAL_S:,.0f} seconds")
        self.source = api_url(url)
        root, _, version = self.source.rpartition("/")
        self._version = f"/{version}"
        self._client = HttpClient(root, HttpLimits(min(CONNECT_S, stall_s), stall_s, TOTAL_S))
        self._headers = {"User-Agent": "wayra"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._ids = itertools.count(1)
        self._session = secrets.token_hex(6)
        self._slots = asyncio.Semaphore(MAX_AT_ONCE)
        self._loop = TaskLoop()
        try:
            self._dialect = self._loop.result(self._introduce(model))
        except BaseException:
            self.close()
            raise
        self.name = self._dialect.model
        self.context_len = self._dialect.context_len
        self.can_chat = True
        self.load_s = time.perf_counter() - started

    def prepare(self, asks: Sequence[Ask]) -> list[RemoteWork]:
        """Raises InvalidParameter."""
        return [work_of(str(next(self._ids)), ask, self._dialect) for ask in asks]

    def submit(self, work: RemoteWork, deliver: Callable[[Event], None], streaming: bool) -> None:
        """Raises BackendError when closed."""
        reader = AnswerReader(work.params)

        def given_up() -> None:
            if self._loop.is_closed:
                deliver(BackendError("the connection to the server was closed while it answered"))
            else:
                deliver(reader.cancelled())

        async def answer() -> None:
            try:
                last = await self._answer(work, reader, deliver if streaming else _nobody)
            except Exception as error:
                deliver(error)
            else:
                deliver(last)

        self._loop.begin(work.id, answer, given_up)

    def cancel(self, request_id: str) -> None:
        """Closes its connection, at which the server ends the request."""
        self._loop.cancel(request_id)

    def prompt_ids(self, prompt: Prompt | Conversation) -> tuple[int, ...]:
        """As the server reads it. Raises ServerError when it does not tell."""
        if is_conversation(prompt):
            return tuple(self._tokenized({"messages": prompt}))
        checked = checked_prompt(prompt)
        return tuple(self._tokenized({"prompt": checked}) if isinstance(checked, str) else checked)

    def text_ids(self, text: str) -> list[int]:
        """Control tokens written in it are recognised, which a server cannot be asked to leave."""
        return self._tokenized({"prompt": text})

    def first_id(self) -> int | None:
        """Told by what a text has more when the server may put it there."""
        ids = self._tokenized({"prompt": "a"})
        bare = self._tokenized({"prompt": "a", "add_special_tokens": False})
        return ids[0] if ids[1:] == bare else None

    def embed(self, prompts: Sequence[Prompt], pooling: Pooling) -> list[NDArray[np.float32]]:
        """Of length 1. A server that is not ours pools as it was made to."""
        given = [checked_prompt(prompt) for prompt in prompts]
        found: list[NDArray[np.float32]] = []
        for start in range(0, len(given), EMBEDDED_AT_ONCE):
            # A list holds texts, or lists of ids, never both.
            for part in _of_one_kind(given[start : start + EMBEDDED_AT_ONCE]):
                found += self._loop.result(self._embed(part, pooling))
        return found

    def close(self) -> None:
        self._loop.close(self._client.aclose)

    # In the event loop.

    async def _introduce(self, model: str | None) -> Dialect:
        try:
            cards = (await self._ask("GET", f"{self._version}/models", None, ModelCards)).data
        except ServerError:
            if model is None:
                raise
            return Dialect(model, None, tells_ids=False, is_wayra=False)  # it lists nothing, but may serve
        named = [card for card in cards if model in (None, card.id)]
        if not named:
            served = ", ".join(card.id for card in cards) or "none"
            raise ModelNotFound(f"there is no model {model!r:.120} at {self.source}; it serves: {served}")
        card = named[0]
        return Dialect(card.id, card.max_model_len, card.owned_by in TELLERS_OF_IDS, card.owned_by == "wayra")

    async def _answer(self, work: RemoteWork, reader: AnswerReader, deliver: Callable[[Chunk], None]) -> Chunk:
        async with self._slots:
            path = self._version + work.path
            if work.is_scoring:
                return reader.scored(await self._send("POST", path, work.body))
            wrong: list[ServerError] = []

            def fresh() -> Callable[[bytes], None]:
                splitter = SseSplitter()

                def take(piece: bytes) -> None:
                    try:
                        found = [reader.take(event) for event in splitter.push(piece)]
                    except ServerError as error:
                        wrong.append(error)
                        raise  # which ends the connection
                    for chunk in found:
                        if chunk is not None:
                            deliver(chunk)

                return take

            try:
                await self._send("POST", path, work.body, fresh, {"X-Request-Id": f"{self._session}-{work.id}"})
            except ServerError:
                if wrong:
                    raise wrong[0] from None
                raise
            return reader.finish()

    async def _embed(self, given: Sequence[str | list[int]], pooling: Pooling) -> list[NDArray[np.float32]]:
        body: dict[str, object] = {"model": self._dialect.model, "input": given, "encoding_format": "base64"}
        if self._dialect.is_wayra:
            body["pooling"] = pooling
        async with self._slots:
            answer = await self._ask("POST", f"{self._version}/embeddings", body, _Vectors)
        if sorted(vector.index for vector in answer.data) != list(range(len(given))):
            raise ServerError(f"the server gave {len(answer.data)} vectors for {len(given)} prompts")
        return [_read_vector(vector.embedding) for vector in sorted(answer.data, key=lambda one: one.index)]

    def _tokenized(self, asked: Mapping[str, object]) -> list[int]:
        return self._loop.result(
            self._ask("POST", "/tokenize", {"model": self._dialect.model, **asked}, _Tokens)
        ).tokens

    async def _ask(self, method: str, path: str, body: Mapping[str, object] | None, kind: type[S]) -> S:
        content = await self._send(method, path, b"" if body is None else encoded(body))
        try:
            return msgspec.json.decode(content, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ServerError(f"{path} of {self.source} is not what the API says: {error!s:.200}") from error

    async def _send(
        self,
        method: str,
        path: str,
        body: bytes,
        fresh: Callable[[], Callable[[bytes], None]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """The body of the answer. Raises the WayraError for what went wrong.

        fresh: for a long answer, makes who gets it piece by piece; of the body only the beginning is then kept. Once a
        time that the request is sent: what a refusal says must not be read as the beginning of the answer.
        """
        all_headers = {**self._headers, **({"Content-Type": "application/json"} if body else {}), **(headers or {})}
        for again in itertools.count():
            got = _Body(None if fresh is None else fresh())
            try:
                response = await self._client.send(method, path, all_headers, body, got.take)
            except RequestFailed as error:
                raise as_wayra_error(error.failure, self.source) from error
            if response.status == 200:
                return bytes(got.content)
            refusal = Refusal(response.status, bytes(got.content), path, self.source)
            if response.status not in (429, 503) or again == MAX_ASKED_AGAIN:
                raise refusal.as_error()
            await asyncio.sleep(_wait_s(response.headers, again))
        raise AssertionError("the loop above ends by return or raise")


class _Body:
    """What came of an answer: all of it, or its beginning when a reader takes it piece by piece."""

    def __init__(self, reader: Callable[[bytes], None] | None) -> None:
        self.content = bytearray()
        self._reader = reader

    def take(self, _at_s: float, piece: bytes) -> None:
        if self._reader is None or len(self.content) < MAX_ERROR_BYTES:
            self.content += piece
        if self._reader is not None:
            self._reader(piece)


def _wait_s(headers: Mapping[str, str], again: int) -> float:
    """As the server says, else longer each time."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        with suppress(ValueError, KeyError):
            return min(MOST_WAIT_S, max(0.01, float(headers[name]) / unit))
    return min(MOST_WAIT_S, 0.5 * 2**again)


def _of_one_kind(given: Sequence[str | list[int]]) -> list[list[Any]]:
    return [list(group) for _, group in itertools.groupby(given, type)]


def _read_vector(given: list[float] | str) -> NDArray[np.float32]:
    if isinstance(given, list):
        return np.array(given, np.float32)
    try:
        return np.frombuffer(base64.b64decode(given, validate=True), "<f4").astype(np.float32)
    except ValueError as error:
        raise ServerError(f"the server sent a vector that is none: {error}") from error


def _nobody(_chunk: Chunk) -> None:
    """For callers who wait for the whole answer."""
