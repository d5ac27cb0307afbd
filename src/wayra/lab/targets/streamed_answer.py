"""A streamed answer whose pieces are kept with their times and read when nothing is being measured, many in a row."""

from itertools import pairwise

from wayra.client import RequestFailed, SseSplitter
from wayra.client.api import error_message
from wayra.client.failures import failure_of_status
from wayra.client.response import Response
from wayra.lab.targets.api import Reply
from wayra.lab.targets.stream_events import StreamEvents

MAX_ERROR_BYTES = 64 * 1024


class StreamedAnswer:
    """Takes the pieces of one body, then `end*` once; `read` makes the reply of them."""

    def __init__(self, sent_s: float) -> None:
        self.is_cancelled = False
        self._reply = Reply(sent_s)
        self._pieces: list[tuple[float, bytes]] = []
        self._start = bytearray()
        self._splitter = SseSplitter()
        self._events = StreamEvents(self._reply)
        self._response: Response | None = None
        self._failure: RequestFailed | None = None  # of the exchange
        self._broken: RequestFailed | None = None  # of what was read, which came before

    def take(self, at_s: float, piece: bytes) -> None:
        self._pieces.append((at_s, piece))

    def take_marked(self, body: bytes, times: list[float], ends: list[int]) -> None:
        """Pieces in one: each read's time, and where its bytes ended."""
        self._pieces += zip(times, (body[begin:end] for begin, end in pairwise((0, *ends))), strict=True)

    def advance(self) -> None:
        """Raises RequestFailed when an event is none or tells an error: the answer failed at that moment, whatever
        came after it."""
        if self._broken is not None:
            raise self._broken
        pieces, self._pieces = self._pieces, []
        for at_s, piece in pieces:
            if not self._events.num_events and len(self._start) < MAX_ERROR_BYTES:
                self._start.extend(piece)
            try:
                for event in self._splitter.push(piece):
                    self._events.take(at_s, event)
            except RequestFailed as error:
                self._broken = error
            except Exception as error:  # whatever a server may send: it is its answer that is wrong
                self._broken = RequestFailed("rubbish", f"{type(error).__name__}: {error}")
            if self._broken is not None:
                self._reply.ended_s = at_s
                raise self._broken

    def end(self, response: Response, ended_s: float) -> None:
        self._response = response
        self._reply.head_s, self._reply.ended_s = response.head_s, ended_s

    def end_failed(self, error: RequestFailed, ended_s: float) -> None:
        self._failure = error
        if self._broken is None:
            self._reply.ended_s = ended_s

    def end_cancelled(self, at_s: float) -> None:
        self.is_cancelled = True
        self._reply.ended_s = at_s

    def read(self) -> Reply:
        reply = self._reply
        try:
            self.advance()
            self._check()
        except RequestFailed as error:
            reply.status, reply.failure = "failed", error.failure
        reply.text = self._events.text()
        return reply

    def _check(self) -> None:
        """Raises RequestFailed when what was read is no whole answer."""
        if self._failure is not None:
            raise self._failure
        if self.is_cancelled or self._response is None:
            self._reply.status = "cancelled"
            return
        start = bytes(self._start)
        if self._response.status != 200:
            raise failure_of_status(self._response.status, error_message(start))
        if not self._events.num_events:
            raise RequestFailed("rubbish", f"the answer is no stream of events: it begins with {start[:80]!r}")
        self._events.finish()
        if not self._reply.event_s:
            raise RequestFailed("empty", "the answer has no token")
