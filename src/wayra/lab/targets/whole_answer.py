"""A streamed answer that came whole, with the times of its reads: most are plain, and read many events in a row."""

import msgspec

from wayra.client.api import Chunk
from wayra.client.failures import RequestFailed
from wayra.client.response import Response
from wayra.lab.targets.api import Reply
from wayra.lab.targets.stream_events import DECODER, StreamEvents
from wayra.lab.targets.streamed_answer import StreamedAnswer

BEGIN, BETWEEN, END = b"data: ", b"\n\ndata: ", b"\n\n"
DONE = b"[DONE]"

Marks = tuple[list[float], list[int]]
"""When each read was, and how many bytes of the body had come by then."""


class WholeAnswer:
    """An Unread. Whatever is not a plain stream of good events is read by StreamedAnswer, which says what it is."""

    is_cancelled = False

    def __init__(self, response: Response, sent_s: float, ended_s: float, body: bytes, marks: Marks) -> None:
        self._response, self._sent_s, self._ended_s, self._body, self._marks = response, sent_s, ended_s, body, marks

    def read(self) -> Reply:
        if self._response.status == 200:
            reply = self._plain()
            if reply is not None:
                return reply
        streamed = StreamedAnswer(self._sent_s)
        streamed.take_marked(self._body, *self._marks)
        streamed.end(self._response, self._ended_s)
        return streamed.read()

    def _plain(self) -> Reply | None:
        """None where anything is out of the ordinary."""
        body = self._body
        if not (body.startswith(BEGIN) and body.endswith(END)) or b"\r" in body:
            return None
        values = body[len(BEGIN) : -len(END)].split(BETWEEN)
        if body.count(b"\n") != 2 * len(values):  # a line that is no event's data
            return None
        is_done = values[-1] == DONE
        chunks = _chunks(values[:-1] if is_done else values)
        if chunks is None:
            return None
        reply = Reply(self._sent_s, self._ended_s, head_s=self._response.head_s)
        events = StreamEvents(reply)
        try:
            events.take_chunks(self._arrivals(values), chunks)
            if not is_done:
                events.finish()
        except RequestFailed:
            return None
        reply.text = events.text()
        return reply if reply.event_s else None

    def _arrivals(self, values: list[bytes]) -> list[float]:
        """When the last byte of each event came."""
        times, ends = self._marks
        arrivals: list[float] = []
        place = mark = 0
        for value in values:
            place += len(value) + len(BETWEEN)
            while ends[mark] < place:
                mark += 1
            arrivals.append(times[mark])
        return arrivals


def _chunks(values: list[bytes]) -> list[Chunk] | None:
    """None unless each is one."""
    try:
        chunks = DECODER.decode_lines(b"\n".join(values))
    except (msgspec.DecodeError, RecursionError):
        return None
    return chunks if len(chunks) == len(values) else None
