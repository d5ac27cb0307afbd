"""Threads that render and tokenize prompts outside the event loop, in turns between API keys.

A prompt of megabytes takes seconds: without turns, a hundred of one key's would come before another's first.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from wayra.engine.fair_queue import FairQueue
from wayra.engine.request import Share

T = TypeVar("T")


class TextWorkers:
    """All methods are for the event loop's thread."""

    def __init__(self, num_threads: int) -> None:
        self._executor = ThreadPoolExecutor(num_threads, "wayra-text")
        self._num_threads = num_threads
        self._num_free = num_threads
        self._waiting = FairQueue[asyncio.Future[None]]()

    async def run(self, work: Callable[[], T], share: Share, num_chars: int) -> T:
        """What `work` returns or raises, when the share's turn has come. num_chars: what it reads, to count by."""
        await self._turn(share, num_chars)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        finally:
            self._pass_on()

    def close(self) -> None:
        """Wait for what runs; nothing else begins."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    async def _turn(self, share: Share, num_chars: int) -> None:
        if self._num_free:
            self._num_free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(turn, share, max(1, num_chars))
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            else:
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        for turn in self._waiting:
            self._waiting.take(turn)
            turn.set_result(None)
            return
        self._num_free += 1
        if self._num_free == self._num_threads:
            self._waiting.forget()


def chars_of(content: object) -> int:
    """Characters of all texts in messages, whatever their shape."""
    if isinstance(content, str):
        return len(content)
    if isinstance(content, Mapping):
        return sum(map(chars_of, content.values()))
    return sum(map(chars_of, content)) if isinstance(content, Sequence) else 0
