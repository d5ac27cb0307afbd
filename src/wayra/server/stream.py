"""Answers that are sent while they are made, and answers sent whole, both given up when their client goes away.

An API brings an `Encoder`, pieces in, bytes out; when the bytes are written is decided here: once a step.
"""

from collections.abc import Awaitable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from wayra.llm.results import Completion
from wayra.server.connection import Connection, connection_of
from wayra.server.door import note, note_params
from wayra.server.embedding import Embeddings
from wayra.server.errors import ApiError, ClientLeft, as_api_error
from wayra.server.generation import Generation, Piece, Totals


class Encoder(Protocol):
    """How an API writes a stream. Each method gives bytes ready to be sent, b"" for nothing."""

    media_type: str

    def begin(self) -> bytes:
        """Before the first piece."""
        ...

    def piece(self, piece: Piece) -> bytes: ...

    def end(self, totals: Totals) -> bytes:
        """After the last piece."""
        ...

    def failed(self, error: ApiError) -> bytes:
        """Instead of `end`, when the answer cannot go on."""
        ...


class EventStream(Response):
    """A generation as a streamed response."""

    def __init__(self, generation: Generation, encoder: Encoder) -> None:
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(None, 200, headers, encoder.media_type)
        # The base class counts an empty body; a length would end the stream before it begins.
        self.raw_headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]
        self._generation = generation
        self._encoder = encoder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        generation, encoder = self._generation, self._encoder
        connection = connection_of(scope)
        connection.when_lost(generation.cancel)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            # An empty part makes the server send the head at once.
            await send({"type": "http.response.body", "body": encoder.begin(), "more_body": True})

            def write(pieces: Sequence[Piece]) -> None:
                part = b"".join([encoder.piece(piece) for piece in pieces])
                if part and not connection.write_part(part):
                    generation.cancel()

            generation.listen(write)
            await generation.finished
            await send({"type": "http.response.body", "body": self._ending(connection), "more_body": False})
        finally:
            connection.release()
            generation.cancel()
            note_usage(scope, generation)

    def _ending(self, connection: Connection) -> bytes:
        if connection.is_lost:
            return b""
        error = self._generation.error
        if error is None:
            return self._encoder.end(self._generation.totals())
        return self._encoder.failed(as_api_error(error) or ApiError(500, "the server failed on this request"))


async def collected(generation: Generation, request: Request) -> Sequence[Completion]:
    """All answers, in order; given up when the client goes away. Raises what made the generation fail, ClientLeft."""
    connection = connection_of(request.scope)
    connection.when_lost(generation.cancel)
    try:
        completions = await generation.collect()
    finally:
        connection.release()
        note_usage(request.scope, generation)
    if len(completions) < len(generation.answers):
        raise ClientLeft
    return completions


async def embedded(embeddings: Embeddings, request: Request) -> Sequence[NDArray[np.float32]]:
    """All vectors, in order; given up when the client goes away. Raises what made one fail, ClientLeft."""
    connection = connection_of(request.scope)
    connection.when_lost(embeddings.cancel)
    try:
        vectors = await embeddings.collect()
    finally:
        connection.release()
        note(request.scope, prompt_tokens=embeddings.prompt_tokens)
    if not vectors:
        raise ClientLeft
    return vectors


async def unless_lost(request: Request, starting: Awaitable[Generation]) -> Generation:
    """The generation, given up at once when the client left while its prompt was prepared."""
    generation = await starting
    if connection_of(request.scope).is_lost:
        generation.cancel()
        raise ClientLeft
    return generation


def note_usage(scope: Scope, generation: Generation) -> None:
    """Put the figures of a generation, ended or given up, into the request's line in the log."""
    totals, endings = generation.totals(), generation.endings()
    is_whole = generation.error is None and "abort" not in endings
    note(
        scope,
        prompt_tokens=totals.prompt_tokens,
        cached_tokens=totals.cached_tokens,
        completion_tokens=totals.completion_tokens if is_whole else generation.generated_tokens,
        ttft_s=_rounded(generation.ttft_s),
        queue_s=_rounded(generation.queue_s),
        finish=endings,
    )
    if generation.error is not None:
        note(scope, error=str(generation.error)[:500])
    if generation.answers:
        note_params(scope, generation.answers[0].request.params)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
