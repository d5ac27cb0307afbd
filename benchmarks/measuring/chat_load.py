"""A closed loop of streaming chats: each user sends a request, reads the answer to its end, and sends the next.

The client shares the processor with the server it measures, so it does next to nothing while answers come: it notes
when bytes arrived and reads them afterwards.
"""

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from measuring.http_wire import Address, Stream, stream_request

WORDS = (
    "amber", "basket", "candle", "dragon", "engine", "forest", "garden", "harbour", "island", "jungle", "kitchen",
    "ladder", "mountain", "needle", "ocean", "pepper", "quarry", "river", "silver", "temple", "umbrella", "valley",
    "window", "yellow", "zebra", "anchor", "bridge", "circle", "desert", "ember", "feather", "glacier",
)  # fmt: skip
CHAT_WORDS = 106
"""Words of a prompt; with the template of the default model about 140 tokens."""


@dataclass(frozen=True, slots=True)
class Answered:
    """Times of one answer, seconds by the monotonic clock. arrivals: of the events that carried text."""

    sent: float
    arrivals: tuple[float, ...]
    prompt_tokens: int
    completion_tokens: int

    @property
    def ttft_s(self) -> float:
        """Request written to first text."""
        return self.arrivals[0] - self.sent

    @property
    def gaps_s(self) -> list[float]:
        """Between events that carried text; several in one read arrived together."""
        return [b - a for a, b in zip(self.arrivals, self.arrivals[1:], strict=False)]


@dataclass(frozen=True, slots=True)
class LoadResult:
    """wall_s: from the first request to the end of the last answer."""

    answers: tuple[Answered, ...]
    wall_s: float

    @property
    def tokens_per_s(self) -> float:
        """Tokens of all answers over the wall time; prompts are not counted."""
        return sum(answer.completion_tokens for answer in self.answers) / self.wall_s


def chat_text(user: int, turn: int, seed: int) -> str:
    """A prompt that shares no beginning with another."""
    rng = random.Random(f"{seed} {user} {turn}")
    return " ".join(rng.choice(WORDS) for _ in range(CHAT_WORDS))


async def run_load(address: Address, users: int, turns: int, max_tokens: int, seed: int) -> LoadResult:
    """Raises RuntimeError when a request is not answered in full."""

    async def user(number: int) -> list[Stream]:
        streams: list[Stream] = []
        for turn in range(turns):
            stream = await Stream.open(address, stream_request(chat_text(number, turn, seed), max_tokens))
            await stream.ended
            streams.append(stream)
        return streams

    started = time.perf_counter()
    done = await asyncio.gather(*(user(number) for number in range(users)))
    wall_s = time.perf_counter() - started
    return LoadResult(tuple(answered(stream) for streams in done for stream in streams), wall_s)


def answered(stream: Stream) -> Answered:
    """Read the events of a chat that has ended; an event arrived when its last byte did. Raises as `run_load`."""
    arrivals: list[float] = []
    usage: dict[str, int] | None = None
    held = b""
    for arrived, part in stream.parts:
        held += part
        *events, held = held.split(b"\n\n")
        for event in events:
            _, found, text = event.partition(b"data: {")
            if not found:
                continue
            chunk = json.loads(b"{" + text)
            if any(choice["delta"].get("content") for choice in chunk.get("choices", ())):
                arrivals.append(arrived)
            usage = chunk.get("usage") or usage
    if usage is None or not arrivals:
        shown = b"".join(part for _, part in stream.parts)[:300]
        raise RuntimeError(f"an answer is missing or not whole: {shown!r}")
    return Answered(stream.sent, tuple(arrivals), usage["prompt_tokens"], usage["completion_tokens"])


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share of them lies, by the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
