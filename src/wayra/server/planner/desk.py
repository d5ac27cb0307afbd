"""Where the planner's page is answered: one question at a time, few waiting, outside the event loop."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import msgspec

from wayra.server.errors import ApiError
from wayra.server.planner.planning import Planning, Question

MAX_WAITING = 4
RETRY_SOON = {"retry-after-ms": "500", "retry-after": "1"}


class Answering(Protocol):
    """Who answers, for one thread: JSON. Raises ApiError."""

    def answer(self, question: Question) -> bytes: ...

    def close(self) -> None: ...


class Here:
    """Answers in this process."""

    def __init__(self, planning: Planning) -> None:
        self._planning = planning

    def answer(self, question: Question) -> bytes:
        return msgspec.json.encode(self._planning.answer(question))

    def close(self) -> None:
        """Nothing is held."""


class PlannerDesk:
    """answering: who plans."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._executor = ThreadPoolExecutor(1, "wayra-plan")
        self._num_inside = 0

    def close(self) -> None:
        """Wait for the plan under way; nothing else begins."""
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._answering.close()

    async def facts(self) -> bytes:
        """What may be chosen from: scenarios, models, hardware, benchmarks, bounds, and what is assumed."""
        return await self._ask(Question())

    async def weigh(self, workload: dict[str, Any]) -> bytes:
        """Options and rejected ones. Raises ApiError 400 with what is wrong, 429 when too many ask."""
        return await self._ask(Question(workload))

    async def explain(self, workload: dict[str, Any], option: str, batch: int | None) -> bytes:
        """One option with its reasons; with a batch, what its machine does then. Raises as `weigh`, and 404."""
        return await self._ask(Question(workload, option, batch))

    async def _ask(self, question: Question) -> bytes:
        if self._num_inside > MAX_WAITING:
            raise ApiError(429, "other plans are being made; try again in half a second", headers=RETRY_SOON)
        self._num_inside += 1
        future = asyncio.get_running_loop().run_in_executor(self._executor, self._answering.answer, question)
        # Counted until it is over, also where nobody waits for it any more.
        future.add_done_callback(self._left)
        return await future

    def _left(self, _future: object) -> None:
        self._num_inside -= 1
