"""h11's parser without what it leaves open: how many chunks a body may come in, and which of two lengths counts.

Each chunk costs some thirty microseconds of the event loop however small it is, so that a body in chunks of one byte
would keep everybody waiting for seconds.
"""

import h11

FREE_CHUNKS = 2048
LEAST_MEAN_CHUNK_BYTES = 256
"""Of what comes beyond the free ones; clients that stream a body send kilobytes at a time."""


class Parser(h11.Connection):
    """A server's side. has_refused_chunks: whether that is what was wrong with the request."""

    def __init__(self, max_header_bytes: int) -> None:
        super().__init__(h11.SERVER, max_header_bytes)
        self.has_refused_chunks = False
        self._num_chunks = 0
        self._body_bytes = 0

    def next_event(self) -> "h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]":
        """Raises RemoteProtocolError for what is no HTTP, for a body of two lengths, and one in too many chunks."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            names = {name for name, _ in event.headers}
            if {b"content-length", b"transfer-encoding"} <= names:
                # A proxy before us may believe the other one, and take what follows for another's request.
                raise h11.RemoteProtocolError("the body has two lengths")
            self._num_chunks = self._body_bytes = 0
        elif isinstance(event, h11.Data) and event.chunk_start:
            self._num_chunks += 1
            self._body_bytes += len(event.data)
            if self._num_chunks > FREE_CHUNKS + self._body_bytes // LEAST_MEAN_CHUNK_BYTES:
                self.has_refused_chunks = True
                raise h11.RemoteProtocolError("the body comes in too many chunks")
        elif isinstance(event, h11.Data):
            self._body_bytes += len(event.data)
        return event
