"""A server on a real socket that answers at known times: what a client measures must be what was scripted.

It runs in a thread of its own. Each answer follows a Script: delays before each event, the tokens it carries, and where
it breaks. The moment each event was written is kept, so that a test can compare arithmetic and not wishes.
"""

import asyncio
import contextlib
import json
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Script:
    """One answer. events: (delay in s, text) each. tokens: of each event with text, in all counted by the usage.

    breaks: "cut" (closes in the middle), "stall" (says nothing more), "rubbish" (an event that is no JSON), "not_http",
    "error_event", "no_done". status: HTTP status. key: what the Authorization header must carry.
    spared: questions answered well before it breaks, or refuses with its status. every: of those after, only each
    so-manieth breaks. models: what /models says, status and body; None: that there is one, "fake".
    glue: events are written in one packet. split: bytes a packet, with a pause between.
    """

    events: tuple[tuple[float, str], ...] = ((0.0, "a"), (0.0, "b"))
    tokens: tuple[int, ...] | None = None
    role_first: bool = False
    usage: bool = True
    running_usage: bool = False
    breaks: str | None = None
    break_at: int = 1
    status: int = 200
    key: str | None = None
    keep_alive: bool = True
    chunked: bool = True
    glue: bool = False
    split: int | None = None
    prompt_tokens: int = 7
    spared: int = 0
    every: int = 1
    models: tuple[int, str] | None = None
    words: str = "no, thank you"


@dataclass
class FakeServer:
    """url: of the API. sent: for each answer, when each event with text was written. bodies: what was asked."""

    script: Script
    url: str = ""
    sent: list[list[float]] = field(default_factory=list)
    received_s: list[float] = field(default_factory=list)
    bodies: list[dict] = field(default_factory=list)
    connections: int = 0
    open_now: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_now += 1
        try:
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # gone, or the test is over
        finally:
            self.open_now -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head.split("\r\n")[1:])}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.received_s.append(time.perf_counter())
        script = self.script
        if head.startswith("GET"):
            status, listed = script.models or (200, json.dumps({"data": [{"id": "fake"}]}))
            return await self._text(writer, status, listed)
        self.bodies.append(json.loads(body))
        if len(self.bodies) <= script.spared or len(self.bodies) % script.every:
            script = replace(script, breaks=None, status=200)
        if script.key is not None and headers.get("authorization") != f"Bearer {script.key}":
            return await self._plain(writer, 401, {"error": {"message": "wrong key"}})
        if script.status != 200:
            return await self._plain(writer, script.status, {"error": {"message": script.words}})
        if script.breaks == "not_http":
            writer.write(b"\x15\x03\x01\x00\x02\x02\x46 this is no web server\r\n\r\n")
            await writer.drain()
            return False
        return await self._stream(writer, script)

    async def _plain(self, writer: asyncio.StreamWriter, status: int, content: dict) -> bool:
        return await self._text(writer, status, json.dumps(content))

    async def _text(self, writer: asyncio.StreamWriter, status: int, content: str) -> bool:
        body = content.encode()
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        return True

    async def _stream(self, writer: asyncio.StreamWriter, script: Script) -> bool:
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
        head += "Transfer-Encoding: chunked\r\n" if script.chunked else ""
        head += "" if script.keep_alive and script.chunked else "Connection: close\r\n"
        held = [(head + "\r\n").encode()]
        times: list[float] = []
        self.sent.append(times)
        if script.role_first:
            held.append(self._event(script, {"choices": [{"delta": {"role": "assistant", "content": ""}}]}))
        total = 0
        for index, (delay, text) in enumerate(script.events):
            if script.breaks not in (None, "no_done") and index == script.break_at:
                await self._write(writer, held, script)
                return await self._break(writer, script)
            if not script.glue:
                await self._write(writer, held, script)
                if delay:
                    await asyncio.sleep(delay)
            total += script.tokens[index] if script.tokens else 1
            chunk: dict = {"choices": [{"text": text, "finish_reason": None}]}
            if script.running_usage:
                chunk["usage"] = {"prompt_tokens": script.prompt_tokens, "completion_tokens": total}
            held.append(self._event(script, chunk))
            if not script.glue:
                times.append(time.perf_counter())
                await self._write(writer, held, script)
        held.append(self._event(script, {"choices": [{"text": "", "finish_reason": "length"}]}))
        if script.usage:
            usage = {"prompt_tokens": script.prompt_tokens, "completion_tokens": total}
            held.append(self._event(script, {"choices": [], "usage": usage}))
        if script.breaks != "no_done":
            held.append(self._event(script, "[DONE]"))
        if script.chunked:
            held.append(b"0\r\n\r\n")
        await self._write(writer, held, script)
        return script.keep_alive and script.chunked

    async def _break(self, writer: asyncio.StreamWriter, script: Script) -> bool:
        if script.breaks == "stall":
            await asyncio.sleep(3600)
        if script.breaks == "rubbish":
            await self._write(writer, [self._event(script, "{ this is no JSON")], script)
        if script.breaks == "error_event":
            await self._write(writer, [self._event(script, {"error": {"message": "out of memory"}})], script)
        if script.breaks == "bad_chunk":
            writer.write(b"zz\r\nnothing\r\n")
            await writer.drain()
        return False

    def _event(self, script: Script, content: object) -> bytes:
        text = content if isinstance(content, str) else json.dumps(content)
        event = f"data: {text}\n\n".encode()
        return f"{len(event):x}\r\n".encode() + event + b"\r\n" if script.chunked else event

    async def _write(self, writer: asyncio.StreamWriter, held: list[bytes], script: Script) -> None:
        everything = b"".join(held)
        held.clear()
        step = script.split or len(everything) or 1
        for start in range(0, len(everything), step):
            writer.write(everything[start : start + step])
            await writer.drain()
            if script.split:
                await asyncio.sleep(0.0005)


@contextlib.contextmanager
def fake_server(script: Script, tls: ssl.SSLContext | None = None) -> Iterator[FakeServer]:
    """A server for the time of the block; its script may be replaced meanwhile."""
    server = FakeServer(script)
    loop = asyncio.new_event_loop()
    ready = threading.Event()
    stop = asyncio.Event()

    async def main() -> None:
        listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls, backlog=2048)
        port = listener.sockets[0].getsockname()[1]
        server.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/v1"
        ready.set()
        await stop.wait()
        listener.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()), daemon=True)
    thread.start()
    ready.wait()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
