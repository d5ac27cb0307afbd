"""The vectors of one call while they come. Lives in the event loop; knows neither HTTP nor the shape of any API."""

import asyncio
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from wayra.base.errors import BackendError
from wayra.engine.request import Output, Request
from wayra.server.engine_thread import EngineThread


def normalised(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same direction with length 1; a vector of zeros stays one."""
    length = float(np.linalg.norm(vector.astype(np.float64)))
    return vector if length == 0 else (vector / length).astype(np.float32)


class Embeddings:
    """What a call gives. Requests are handed to the engine a few at a time, so that a long list starves nobody.

    on_end: told once, when nothing of it runs any more.
    """

    def __init__(
        self, thread: EngineThread, requests: Sequence[Request], most_at_once: int, on_end: Callable[[], None]
    ) -> None:
        self._thread = thread
        self._waiting = list(enumerate(requests))[::-1]
        self._under_way: dict[str, Request] = {}
        self._vectors: list[NDArray[np.float32] | None] = [None] * len(requests)
        self._num_left = len(requests)
        self._most_at_once = most_at_once
        self._on_end = on_end
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.prompt_tokens = sum(len(request.prompt_ids) for request in requests)

    async def collect(self) -> list[NDArray[np.float32]]:
        """float32 [hidden_size] each, of length 1, in order; none when it was cancelled.

        Raises BackendError when one fails. Cancelling the task cancels the call.
        """
        try:
            self._submit()
            await self._done
            return [vector for vector in self._vectors if vector is not None]
        finally:
            self.cancel()
            self._on_end()

    def cancel(self) -> None:
        """Stop computing what is not done. Safe at any time, and twice."""
        self._waiting.clear()
        for request_id in list(self._under_way):
            self._thread.cancel(request_id)
        self._under_way.clear()
        if not self._done.done():
            self._vectors.clear()
            self._done.set_result(None)

    def took(self, index: int, output: Output) -> None:
        """A request of the call has ended."""
        self._under_way.pop(output.request_id, None)
        if self._done.done():
            return
        if output.embedding is None:
            self._done.set_exception(BackendError(output.error or "the request failed in the engine"))
            return
        self._vectors[index] = normalised(output.embedding)
        self._num_left -= 1
        if self._num_left == 0:
            self._done.set_result(None)
        else:
            self._submit()

    def _submit(self) -> None:
        while self._waiting and len(self._under_way) < self._most_at_once:
            index, request = self._waiting.pop()
            self._under_way[request.id] = request
            self._thread.submit(request, _Receiver(self, index))


class _Receiver:
    """The engine's Receiver for one of the requests."""

    def __init__(self, call: Embeddings, index: int) -> None:
        self._call = call
        self._index = index

    def take(self, output: Output) -> None:
        if output.finish_reason is not None:
            self._call.took(self._index, output)

    def flush(self) -> None:
        """Nothing to write."""
