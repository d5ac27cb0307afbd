"""A thousand slow sockets: a good client keeps its latency, and all of them are closed when their time is up.

python benchmarks/reliability/slow_sockets.py

Five kinds: silent ones, headers and bodies that come a byte a second, documents asked for over and over and never read,
and chats whose answers are never read. The last kind holds places of the engine until it is given up: a good client
beside it shares the engine with it, which is no latency of the sockets, so it is measured in a part of its own.
"""

import argparse
import asyncio
import contextlib
import socket
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from measuring.chat_load import percentile
from measuring.http_wire import CHAT, Address, chat_body, request_bytes
from measuring.server_process import ServerProcess
from measuring.steady_client import SteadyClient
from measuring.verdict import Verdict, run

FACTOR = 1.5
"""How much longer a good client may wait, by medians and 95th percentiles of TTFT and inter-token latency."""
TICK_S = 1.0
HEADER_S, BODY_S, STALL_S = 10, 20, 15
HEADERS = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX-Padding: " + b"y" * 300
BODY_HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 4000\r\n\r\n"
)
DOCUMENT = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
PAUSE_S = 0.05
"""Between two that ask for documents: to make these costs the server some milliseconds, as for any client that asks."""
DOCUMENTS = 60
"""Asked for on one connection; together more than the system's buffers hold."""


@dataclass(slots=True)
class Slow:
    """A slow socket. trickle: what it sends a byte at a time. opened, closed: by whom matters not."""

    kind: str
    sock: socket.socket
    trickle: bytes = b""
    opened: float = field(default_factory=time.monotonic)
    closed_s: float | None = None


async def open_slow(
    address: Address, kind: str, first: bytes, trickle: bytes = b"", takes_little: bool = False
) -> Slow:
    sock = socket.socket()
    sock.setblocking(False)
    if takes_little:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, (address.host, address.port))
    if first:
        await loop.sock_sendall(sock, first)
    return Slow(kind, sock, trickle)


async def open_all(address: Address, count: int, slow: list[Slow]) -> None:
    """Put into `slow` a tenth silent, three tenths each slow in headers and in bodies, three tenths that never read."""
    shares = {"silent": count // 10, "headers": 3 * count // 10, "bodies": 3 * count // 10}
    for _ in range(shares["silent"]):
        slow.append(await open_slow(address, "silent", b""))
    for _ in range(shares["headers"]):
        slow.append(await open_slow(address, "headers", HEADERS[:20], HEADERS[20:]))
    for _ in range(shares["bodies"]):
        slow.append(await open_slow(address, "bodies", BODY_HEAD, b" " * 4000))
    while len(slow) < count:
        slow.append(await open_slow(address, "unread documents", DOCUMENT * DOCUMENTS, takes_little=True))
        await asyncio.sleep(PAUSE_S)


def is_closed(slow: Slow) -> bool:
    """Whether the server has ended it; what it still says is taken, but of those that never read."""
    if slow.kind.startswith("unread"):
        # Nothing may be read, so that the end cannot be seen in the data: an aborted connection shows as an error.
        state = slow.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        return state != 1
    with contextlib.suppress(BlockingIOError):
        try:
            while slow.sock.recv(65536):
                pass
        except ConnectionError:
            pass
        return True
    return False


async def trickle(slow: list[Slow], opening: "asyncio.Task[None]", limit_s: float) -> None:
    """A byte a tick on each, until all are open and closed again, at most so long after the last was opened."""
    until: float | None = None
    while until is None or (time.monotonic() < until and any(s.closed_s is None for s in slow)):
        if until is None and opening.done():
            until = time.monotonic() + limit_s
        began = time.monotonic()
        for number, one in enumerate(slow):
            if one.closed_s is None and is_closed(one):
                one.closed_s = time.monotonic() - one.opened
            elif one.closed_s is None and one.trickle:
                with contextlib.suppress(OSError):
                    one.sock.send(one.trickle[:1])
                one.trickle = one.trickle[1:]
            if number % 50 == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(max(0.0, began + TICK_S - time.monotonic()))


async def beside_sockets(server: ServerProcess, args: argparse.Namespace, verdict: Verdict) -> None:
    async with SteadyClient(server.address, seed=1) as alone:
        await asyncio.sleep(args.seconds)
    verdict.figure("a good client alone", alone.shown())
    files = server.open_files()
    began, took = time.monotonic(), list[float]()
    async with SteadyClient(server.address, seed=2) as beside:
        slow: list[Slow] = []
        opening = asyncio.create_task(open_all(server.address, args.sockets, slow))
        opening.add_done_callback(lambda _: took.append(time.monotonic() - began))
        await trickle(slow, opening, max(HEADER_S, BODY_S, STALL_S) + 30)
        await opening
        verdict.figure("sockets opened, in", f"{len(slow):,}, {took[0]:.1f} s")
    verdict.figure("beside them", beside.shown())
    verdict.equal("its chats that failed", len(beside.failures) + len(alone.failures), 0)
    for what, ours, theirs in (("TTFT", beside.ttfts_ms, alone.ttfts_ms), ("ITL", beside.gaps_ms, alone.gaps_ms)):
        for share in (0.5, 0.95):
            ratio = percentile(ours, share) / percentile(theirs, share)
            verdict.at_most(f"{what} P{100 * share:.0f} beside them, of that alone", ratio, FACTOR, "×")
    by_kind = {kind: [s for s in slow if s.kind == kind] for kind in Counter(s.kind for s in slow)}
    deadlines = {"silent": HEADER_S, "headers": HEADER_S, "bodies": BODY_S, "unread documents": STALL_S}
    for kind, those in by_kind.items():
        closed = [s.closed_s for s in those if s.closed_s is not None]
        verdict.equal(f"{kind}: closed by the server", len(closed), len(those))
        # A tick to notice, two sweeps of a second, and the time the document takes to fill the buffers.
        verdict.at_most(f"{kind}: closed after, longest", max(closed, default=1e9), deadlines[kind] + 5, "s")
    await asyncio.sleep(1.5)
    # Before ours are closed: what the server still holds of them would end by that.
    verdict.at_most("open files afterwards, more than before", server.open_files() - files, 0, "")
    for one in slow:
        one.sock.close()


async def unread_chats(server: ServerProcess, verdict: Verdict) -> None:
    """Chats whose answers are larger than all buffers and never read: given up, and their blocks freed."""
    body = chat_body("Hi", 1900, stream=True, logprobs=True, top_logprobs=20)
    slow = [
        await open_slow(server.address, "unread chats", request_bytes("POST", CHAT, body), takes_little=True)
        for _ in range(32)
    ]
    began = time.monotonic()
    async with SteadyClient(server.address, seed=3) as beside:
        while time.monotonic() < began + 180 and not all(is_closed(s) for s in slow):
            await asyncio.sleep(0.5)
    verdict.figure("a good client beside 32 chats that nobody reads", beside.shown())
    verdict.equal("its chats that failed, beside unread chats", len(beside.failures), 0)
    verdict.equal("unread chats: given up by the server", sum(is_closed(s) for s in slow), len(slow))
    verdict.figure("unread chats: all given up after", time.monotonic() - began, "s")
    until = time.monotonic() + 10
    while not (idle := (await server.now()).is_idle) and time.monotonic() < until:
        await asyncio.sleep(0.1)
    verdict.equal("idle afterwards, all blocks free", idle, True)


def measure(args: argparse.Namespace, verdict: Verdict) -> None:
    options = [args.model, "--threads", str(args.threads), "--prefix-disk", "0", "--header-timeout", str(HEADER_S)]
    options += ["--body-timeout", str(BODY_S), "--stall-timeout", str(STALL_S)]

    async def whole(server: ServerProcess) -> None:
        async with SteadyClient(server.address, seed=0):
            await asyncio.sleep(2)  # warms up
        await beside_sockets(server, args, verdict)
        await unread_chats(server, verdict)

    with ServerProcess(options) as server:
        resident_mb = server.resident_mb()
        asyncio.run(whole(server))
        verdict.figure("resident memory before and after", f"{resident_mb:.0f} and {server.resident_mb():.0f} MB")
        verdict.equal("errors in the server's log", len(server.bugs()), 0)
        verdict.equal("exit code after SIGTERM", server.stop(), 0)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sockets", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20, help="of the good client alone")


if __name__ == "__main__":
    run("slow_sockets", __doc__, measure, add_options)
