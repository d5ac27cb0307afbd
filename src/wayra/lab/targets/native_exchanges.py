"""Exchanges with one server on a thread of their own: questions go in with their times, answers come out in batches."""

import asyncio
import math
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from wayra.base.errors import RunError
from wayra.client import HttpLimits, RequestFailed
from wayra.client.http import overdue, unconnected
from wayra.client.response import Cut, Misread, Response, cut, misread
from wayra.lab.load import native
from wayra.lab.targets.api import Question, Unread
from wayra.lab.targets.streamed_answer import StreamedAnswer
from wayra.lab.targets.whole_answer import WholeAnswer

BATCH = 8
LINGER_S = 0.1
LEAST_AHEAD = 64
"""Requests that wait in the loop for their time, so that Python may be late by as much."""
NEVER = -1
CENTURY_S = 3.2e9


def native_clock(clock: Callable[[], float]) -> "native.Clock | None":
    """The native loop's clock of the same times; None where there is none. A clock that is not the system's carries it
    as `native`."""
    if native is None:
        return None
    return native.Clock() if clock is time.perf_counter else getattr(clock, "native", None)


@dataclass(frozen=True, slots=True)
class Server:
    """addresses: numeric, with port and scope; none when `why_none` says so. where: for people."""

    where: str
    addresses: Sequence[tuple[str, int, int]]
    why_none: str = ""


async def find_server(host: str, port: int) -> Server:
    """Its addresses, asked for once."""
    where = f"{host}:{port}"
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return Server(where, (), getattr(error, "strerror", None) or str(error))
    return Server(where, [(str(at[0]), port, int(at[3]) if len(at) == 4 else 0) for *_, at in found])


class NativeExchanges:
    """See Exchanges in wayra.lab.targets.api."""

    def __init__(self, server: Server, limits: HttpLimits, width: int, clock: "native.Clock") -> None:
        """Raises RunError when the system gives no thread or descriptors."""
        assert native is not None
        self._server, self._limits = server, limits
        self._ahead = max(LEAST_AHEAD, 2 * width)
        deadlines_ns = _ns(limits.connect_s), _ns(limits.stall_s), _ns(limits.total_s)
        rhythm = width, self._ahead // 2, BATCH, _ns(LINGER_S)
        try:
            self._loop = native.Loop(list(server.addresses), (*deadlines_ns, limits.max_body_bytes), rhythm, clock)
        except RuntimeError as error:
            raise RunError(
                f"the load loop cannot begin: {error}; does a limit of files or threads stand in its way?"
            ) from error
        self._begun: dict[int, StreamedAnswer] = {}  # answers of which parts came
        self.answers_fd = self._loop.answers_fd

    @property
    def room(self) -> int:
        return max(0, self._ahead - self._loop.num_waiting)

    @property
    def received_bytes(self) -> int:
        """So far, from the server."""
        return self._loop.received_bytes

    def submit(self, questions: Sequence[Question], *, is_all: bool) -> None:
        made = [(one.number, one.content, NEVER if one.due_s is None else _ns(one.due_s)) for one in questions]
        self._loop.submit(made, is_all)

    def take(self) -> list[tuple[int, Unread]]:
        ended: list[tuple[int, Unread]] = []
        try:
            taken = self._loop.take()
        except RuntimeError as error:
            raise RunError(f"the load loop cannot go on: {error}; resume the run") from error
        for number, end, error, status, sent_s, head_s, ended_s, body, times, ends, seen in taken:
            answer = self._begun.pop(number, None)
            if answer is None and end == "whole":
                response = Response(status, {}, head_s, True)
                ended.append((number, WholeAnswer(response, sent_s, ended_s, body, (times, ends))))
                continue
            answer = answer or StreamedAnswer(sent_s)
            answer.take_marked(body, times, ends)
            if end == "part":
                self._begun[number] = answer
                self._advance(number, answer)
                continue
            if end == "whole":
                answer.end(Response(status, {}, head_s, True), ended_s)
            elif end == "cancelled":
                answer.end_cancelled(ended_s)
            else:
                answer.end_failed(self._failure(end, error, seen), ended_s)
            ended.append((number, answer))
        return ended

    def _advance(self, number: int, answer: StreamedAnswer) -> None:
        """An answer that is worth nothing already is not waited for."""
        try:
            answer.advance()
        except RequestFailed:
            self._loop.cancel(number)

    def _failure(self, end: str, error: int, seen: bytes) -> RequestFailed:
        match end:
            case "connect":
                return unconnected(self._server.where, self._server.why_none or os.strerror(error))
            case "connect_timeout":
                return overdue("connect", self._limits, self._server.where)
            case "stall" | "timeout":
                return overdue(end, self._limits)
            case "unanswered" | "cut_head" | "cut_body":
                return cut(cast(Cut, end))
            case _:
                return misread(cast(Misread, end), seen, self._limits.max_body_bytes)

    def stop(self) -> None:
        self._loop.stop()


def _ns(seconds: float) -> int:
    """Never earlier. What is further than a century is no further for who waits."""
    return math.ceil(min(seconds, CENTURY_S) * 1e9)
