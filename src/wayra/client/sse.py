"""Server-sent events out of bytes that may be cut anywhere."""

from wayra.client.failures import RequestFailed

MAX_EVENT_BYTES = 16 * 1024**2


class SseSplitter:
    """Push bytes, get the data of each event that became whole. Line ends may be LF, CRLF or CR."""

    def __init__(self) -> None:
        self._rest = b""
        self._lines: list[bytes] = []
        self._held_bytes = 0

    def push(self, piece: bytes) -> list[bytes]:
        """Raises RequestFailed when an event is larger than any sane one."""
        if not self._rest and not self._lines and piece.startswith(b"data: ") and piece.endswith(b"\n\n"):
            # One whole event, as most pieces are: a load generator reads thousands a second.
            value = piece[6:-2]
            if b"\n" not in value and b"\r" not in value and len(value) <= MAX_EVENT_BYTES:
                return [value]
        text = self._rest + piece
        if b"\r" in text:
            # A last CR may be the first half of a CRLF.
            held = b"\r" if text.endswith(b"\r") else b""
            text = text[: len(text) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n") + held
        *lines, self._rest = text.split(b"\n")
        events: list[bytes] = []
        for line in lines:
            if line.startswith(b"data:"):
                value = line[5:]
                self._lines.append(value[1:] if value.startswith(b" ") else value)
                self._held_bytes += len(value)
            elif not line and self._lines:
                events.append(b"\n".join(self._lines))
                self._lines.clear()
                self._held_bytes = 0
        if self._held_bytes + len(self._rest) > MAX_EVENT_BYTES:
            raise RequestFailed("too_large", f"an event has more than {MAX_EVENT_BYTES:,} bytes")
        return events
