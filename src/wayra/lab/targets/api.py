"""The protocol of a target: one question in, an answer with the time of each of its events out, never an exception."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from wayra.client.failures import Failure, RequestFailed
from wayra.lab.latency.record import RequestStatus


@dataclass(frozen=True, slots=True)
class Ask:
    """A question. prompt: text, or token ids where the target takes them. max_tokens: of the answer.

    ignore_eos: go on to max_tokens whatever the model says, where the target can.
    """

    prompt: str | tuple[int, ...]
    max_tokens: int
    ignore_eos: bool = True
    temperature: float = 0.0
    seed: int | None = None


@dataclass(slots=True)
class Reply:
    """What came, with times of time.perf_counter(). event_*: one entry for each event that carries content."""

    sent_s: float
    ended_s: float = 0.0
    status: RequestStatus = "ok"
    head_s: float | None = None
    event_s: list[float] = field(default_factory=list[float])
    event_chars: list[int] = field(default_factory=list[int])
    event_tokens: list[int | None] = field(default_factory=list[int | None])
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    finish_reason: str | None = None
    text: str = ""
    failure: Failure | None = None

    @property
    def is_cancelled(self) -> bool:
        return self.status == "cancelled"

    def read(self) -> "Reply":
        """Itself: there is nothing left to read."""
        return self


class Target(Protocol):
    """name: for people. can_take_ids: whether a prompt may be token ids."""

    name: str
    can_take_ids: bool

    async def send(self, ask: Ask) -> Reply:
        """Ask and wait for the whole answer. Failures are in the reply; a cancelled task gets a "cancelled" one."""
        ...

    def describe(self) -> dict[str, object]:
        """What is known of it, for the run's facts: JSON, no secrets."""
        ...

    async def aclose(self) -> None:
        """Free what it holds; in the event loop it was used in."""
        ...


class Unread(Protocol):
    """An answer that is over. Its times are taken; what its bytes say is not known yet."""

    @property
    def is_cancelled(self) -> bool: ...

    def read(self) -> Reply:
        """What it says; failures are in it. Once."""
        ...


@runtime_checkable
class SplitTarget(Target, Protocol):
    """A target whose `send` has three parts, so that a load generator does only the middle one when it is time."""

    def prepare(self, ask: Ask) -> bytes:
        """The question as it goes out."""
        ...

    def start(self, question: bytes, on_end: Callable[[Unread], None]) -> Callable[[], None]:
        """Send it. on_end is told once, later, and must not raise. The function returned cancels: on_end is then told
        at once of the answer as far as it came."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """One of a stage. number: names it. content: as it goes out. due_s: None where it goes when there is room."""

    number: int
    content: bytes
    due_s: float | None = None


class Exchanges(Protocol):
    """Sends the questions of one stage at their times and takes the answers, without whoever made and will read them.

    answers_fd: readable when answers are there, or when more questions are wanted. room: how many are, now.
    """

    answers_fd: int

    @property
    def room(self) -> int: ...

    def submit(self, questions: Sequence[Question], *, is_all: bool) -> None:
        """In the order of their times. is_all: none follow."""
        ...

    def take(self) -> list[tuple[int, Unread]]:
        """The answers that are over since it was last asked, by their numbers. Raises RunError when it cannot go on."""
        ...

    def stop(self) -> None:
        """Cancel what is under way, forget what was not sent. The last answers can be taken then."""
        ...


@runtime_checkable
class BatchTarget(SplitTarget, Protocol):
    """A split target that can leave sending and receiving to something quicker."""

    async def exchanges(self, width: int) -> Exchanges | None:
        """For one stage; None where it has to be done question by question. width: of a closed loop, else 0."""
        ...


async def started(target: SplitTarget, question: bytes) -> Unread:
    """Start it and wait for its end. Never raises; a cancelled task gets the answer as far as it came."""
    done: asyncio.Future[Unread] = asyncio.get_running_loop().create_future()
    answers: list[Unread] = []

    def over(answer: Unread) -> None:
        answers.append(answer)
        if not done.done():
            done.set_result(answer)

    cancel = target.start(question, over)
    try:
        return await done
    except asyncio.CancelledError:
        if not answers:
            cancel()
        return answers[0]


async def replied(reply: Reply, receive: Callable[[], Awaitable[None]]) -> Reply:
    """Run `receive`, which fills the reply, and put what went wrong into it.

    Being cancelled is part of a measurement (its time was over), so the reply says so instead of raising.
    """
    try:
        await receive()
        if not reply.event_s:
            raise RequestFailed("empty", "the answer has no token")
    except RequestFailed as error:
        reply.status, reply.failure = "failed", error.failure
    except asyncio.CancelledError:
        reply.status = "cancelled"
    reply.ended_s = time.perf_counter()
    return reply
