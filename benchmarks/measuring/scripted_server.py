"""A server that streams answers at known times and tells in each what it did when; for measuring who measures.

python benchmarks/measuring/scripted_server.py EVENTS GAP_MS      prints its port

The first event's text is two times of the clock that all processes share: when the request was whole, and when this
event was written. It answers /models too. Nothing is kept, so that it can be asked for ever.
"""

import asyncio
import json
import sys
import time

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
MODELS = json.dumps({"object": "list", "data": [{"id": "scripted"}]}).encode()
PROMPT_TOKENS = 7


def event(content: object) -> bytes:
    """One event in a chunk of its own."""
    text = content if isinstance(content, str) else json.dumps(content)
    body = f"data: {text}\n\n".encode()
    return f"{len(body):x}\r\n".encode() + body + b"\r\n"


def told(text: str) -> bytes:
    return event({"choices": [{"index": 0, "text": text, "finish_reason": None}]})


class Scripted:
    """events: with content in each answer; gap_s: before each."""

    def __init__(self, events: int, gap_s: float) -> None:
        self.events, self.gap_s = events, gap_s
        usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": events}
        self.middle = told("word ")
        self.end = event({"choices": [{"index": 0, "text": "", "finish_reason": "length"}]})
        self.end += event({"choices": [], "usage": usage}) + event("[DONE]") + b"0\r\n\r\n"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lengths = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
                await reader.readexactly(int(lengths[0].split(b":")[1]) if lengths else 0)
                received = time.perf_counter()
                if head.startswith(b"GET"):
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(MODELS) + MODELS)
                    continue
                await self._answer(writer, received)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # gone
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, received: float) -> None:
        writer.write(HEAD)
        for number in range(self.events):
            if self.gap_s:
                await asyncio.sleep(self.gap_s)
            first = number == 0
            writer.write(told(f"{received:.7f} {time.perf_counter():.7f} ") if first else self.middle)
        writer.write(self.end)
        await writer.drain()


async def main() -> None:
    scripted = Scripted(int(sys.argv[1]), float(sys.argv[2]) / 1000)
    listener = await asyncio.start_server(scripted.serve, "127.0.0.1", 0, backlog=4096)
    print(listener.sockets[0].getsockname()[1], flush=True)
    await listener.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
