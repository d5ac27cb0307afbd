"""SIGTERM with requests under way: not ready within 100 ms, everybody under way to the end, exit code 0.

python benchmarks/reliability/sigterm.py

Each round starts a server, waits until so many chats stream, sends SIGTERM, and asks /ready again and again on new
connections and on one that was open before. "Not ready" is a 503, or nobody who listens.
"""

import argparse
import asyncio
import random
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from measuring.chat_load import chat_text
from measuring.http_wire import CHAT, Stream, ask, chat_body, request_bytes, stream_request
from measuring.server_process import ServerProcess
from measuring.verdict import Verdict, run

LIMIT_MS = 100.0
MAX_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Round:
    """not_ready_ms: after the signal, when the first answer that is not 200 had come (its request was sent after the
    last 200). whole, begun: chats. refused: new requests after the signal that were taken none the less."""

    not_ready_ms: float
    whole: int
    begun: int
    taken: int
    ended_s: float
    exit_code: int


async def until_not_ready(server: ServerProcess, signalled: float) -> float:
    while True:
        asked = time.perf_counter()
        if not await server.is_ready():
            return 1000 * (time.perf_counter() - signalled)
        if asked - signalled > 10:
            return 10_000.0


async def is_taken(server: ServerProcess) -> bool:
    """Whether a new request is still answered."""
    try:
        return (await ask(server.address, "POST", CHAT, chat_body("Hello", 1), limit_s=10)).status == 200
    except (OSError, EOFError):
        return False


async def one_round(server: ServerProcess, chats: int, rng: random.Random) -> Round:
    requests = [stream_request(chat_text(number, 0, rng.randrange(1 << 20)), MAX_TOKENS) for number in range(chats)]
    # A few that are answered whole, which have sent nothing yet when the signal comes.
    wholes = [request_bytes("POST", CHAT, chat_body(f"Number {number}", MAX_TOKENS)) for number in range(2)]
    streams = [await Stream.open(server.address, request) for request in requests + wholes]
    await asyncio.gather(*(stream.first_text for stream in streams[:chats]))
    await asyncio.sleep(rng.random() * 0.1)
    server.signal(signal.SIGTERM)
    signalled = time.perf_counter()
    not_ready_ms = await until_not_ready(server, signalled)
    taken = sum(await asyncio.gather(*(is_taken(server) for _ in range(4))))
    async with asyncio.timeout(60):
        await asyncio.gather(*(stream.ended for stream in streams))
    ended_s = time.perf_counter() - signalled
    usage = f'"completion_tokens":{MAX_TOKENS}'.encode()
    whole = sum(s.is_whole and usage in s.seen for s in streams[:chats]) + sum(usage in s.seen for s in streams[chats:])
    code = await asyncio.to_thread(server.process.wait, 60)
    return Round(not_ready_ms, whole, len(streams), taken, ended_s, code)


def measure(args: argparse.Namespace, verdict: Verdict) -> None:
    rng = random.Random(0)
    rounds: list[Round] = []
    bugs: list[str] = []
    options = [args.model, "--threads", str(args.threads), "--prefix-disk", "0"]
    for _ in range(args.rounds):
        with ServerProcess(options) as server:
            rounds.append(asyncio.run(one_round(server, args.chats, rng)))
            bugs += server.bugs()
    verdict.figure("rounds", len(rounds))
    verdict.at_most("signal to not ready, longest", max(r.not_ready_ms for r in rounds), LIMIT_MS, "ms")
    verdict.equal("requests under way answered whole", sum(r.whole for r in rounds), sum(r.begun for r in rounds))
    verdict.equal("new requests taken after that", sum(r.taken for r in rounds), 0)
    verdict.figure("signal to the last answer's end, longest", max(r.ended_s for r in rounds), "s")
    verdict.equal("exit codes", sorted({r.exit_code for r in rounds}), [0])
    verdict.equal("errors in the servers' logs", len(bugs), 0)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--chats", type=int, default=16, help="under way when the signal comes")


if __name__ == "__main__":
    run("sigterm", __doc__, measure, add_options)
