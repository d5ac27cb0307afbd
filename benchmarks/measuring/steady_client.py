"""A good client that chats all the time while others misbehave, and what it noticed of them."""

import asyncio
from collections.abc import Sequence
from typing import Self

from measuring.chat_load import Answered, answered, chat_text, percentile
from measuring.http_wire import Address, Stream, stream_request


class SteadyClient:
    """One chat after another until the end of the `async with`, each with a prompt of its own.

    answers: of those that ended. failures: why one was not answered.
    """

    def __init__(self, address: Address, max_tokens: int = 48, seed: int = 0, users: int = 1) -> None:
        self.answers: list[Answered] = []
        self.failures: list[str] = []
        self._address = address
        self._max_tokens = max_tokens
        self._seed = seed
        self._ending = False
        self._users = users
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._chat(user)) for user in range(self._users)]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._ending = True
        await asyncio.gather(*self._tasks)

    @property
    def ttfts_ms(self) -> Sequence[float]:
        return [1000 * answer.ttft_s for answer in self.answers]

    @property
    def gaps_ms(self) -> Sequence[float]:
        return [1000 * gap for answer in self.answers for gap in answer.gaps_s]

    def shown(self) -> str:
        return (
            f"{len(self.answers)} chats, TTFT P50 / P95 {percentile(self.ttfts_ms, 0.5):.0f} / "
            f"{percentile(self.ttfts_ms, 0.95):.0f} ms, ITL P50 / P95 / max {percentile(self.gaps_ms, 0.5):.1f} / "
            f"{percentile(self.gaps_ms, 0.95):.1f} / {max(self.gaps_ms):.1f} ms"
        )

    async def _chat(self, user: int) -> None:
        turn = 0
        while not self._ending:
            turn += 1
            text = chat_text(user, turn, self._seed)
            try:
                async with asyncio.timeout(120):
                    stream = await Stream.open(self._address, stream_request(text, self._max_tokens))
                    await stream.ended
                self.answers.append(answered(stream))
            except (OSError, RuntimeError, TimeoutError) as error:
                self.failures.append(f"{type(error).__name__}: {error}"[:300])
                await asyncio.sleep(0.1)
