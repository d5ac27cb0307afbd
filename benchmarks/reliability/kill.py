"""kill -9 of the server with requests under way: its clients see it end, the next one starts as fast and is whole.

python benchmarks/reliability/kill.py

One process is engine and server. Each round kills it at a random moment (while chats stream, wait, or have their
prompts computed and KV blocks are written to disk; every third time while it starts), starts it again on the same port,
and asks the same question as in the beginning. Caches are in a folder of their own, so that what the dead left behind
is seen.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from measuring.chat_load import chat_text
from measuring.http_wire import CHAT, Stream, ask, chat_body, request_bytes, stream_request
from measuring.server_process import START, ServerProcess
from measuring.verdict import Verdict, run

from wayra.base.settings import from_environment
from wayra.weights.packed_cache import default_root
from wayra.weights.sources import resolve

GRACE_S = 5.0
TOLD_MS = 1000.0
QUESTION = " ".join(["Say what a wayra is, a llama, and a wind."] * 40)
"""Long enough that its beginning is kept on disk."""


@dataclass(slots=True)
class Found:
    """What came of the kills. answers: to the question, one of each life of the server."""

    load_s: float = 0.0
    ready_s: list[float] = field(default_factory=list[float])
    told_ms: list[float] = field(default_factory=list[float])
    begun: int = 0
    answered: int = 0
    ended: int = 0
    claimed_whole: int = 0
    answers: set[str] = field(default_factory=set[str])
    cached_tokens: list[int] = field(default_factory=list[int])
    bugs: list[str] = field(default_factory=list[str])


async def question(server: ServerProcess, found: Found) -> None:
    reply = await ask(server.address, "POST", CHAT, chat_body(QUESTION, 32))
    answer = json.loads(reply.body)
    found.answers.add(answer["choices"][0]["message"]["content"])
    found.cached_tokens.append(answer["usage"].get("prompt_tokens_details", {}).get("cached_tokens", 0))


async def kill_under_load(server: ServerProcess, chats: int, rng: random.Random, found: Found) -> None:
    """Forty chats, the last ones waiting, some not streamed; then the end."""
    requests = [stream_request(chat_text(i, 0, rng.randrange(1 << 30)), 400) for i in range(chats)]
    requests += [request_bytes("POST", CHAT, chat_body(chat_text(i, 1, 5), 400)) for i in range(chats // 4)]
    streams = [await Stream.open(server.address, request) for request in requests]
    await asyncio.sleep(rng.random() * 3)
    killed = time.perf_counter()
    server.kill()
    try:
        async with asyncio.timeout(10):
            await asyncio.gather(*(stream.ended for stream in streams))
    except TimeoutError:
        pass
    found.begun += len(streams)
    found.ended += sum(stream.ended.done() for stream in streams)
    for stream in streams:
        if stream.closed_at:
            found.told_ms.append(1000 * (stream.closed_at - killed))
        # A chat that has ended before the kill would be no lie; of 400 tokens none has.
        found.claimed_whole += stream.is_whole or b'"finish_reason":"' in stream.seen


def kill_while_starting(options: list[str], environ: dict[str, str], after_s: float) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", START, "serve", "--port", "0", *options],
        env={**os.environ, **environ}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    time.sleep(after_s)
    process.kill()
    process.wait()


def measure(args: argparse.Namespace, verdict: Verdict) -> None:
    rng, found = random.Random(11), Found()
    model = str(resolve(args.model, from_environment()).path)
    options = [model, "--threads", str(args.threads), "--prefix-disk", "256"]
    with tempfile.TemporaryDirectory() as cache:
        environ = {"WAYRA_CACHE": cache}
        with ServerProcess(options, environ) as first:  # packs the weights
            asyncio.run(question(first, found))
            port = first.address.port
            first.stop()
        with ServerProcess(options, environ, port) as second:
            found.load_s = second.started_s
            second.stop()
        server = ServerProcess(options, environ, port)
        for number in range(args.rounds):
            asyncio.run(kill_under_load(server, args.chats, rng, found))
            found.bugs += server.bugs()
            if number % 3 == 2:
                kill_while_starting(options, environ, rng.random() * found.load_s)
            server = ServerProcess(options, environ, port)
            found.ready_s.append(server.started_s if asyncio.run(server.is_ready()) else 1e9)
            asyncio.run(question(server, found))
        found.bugs += server.bugs()
        code = server.stop()
        report(verdict, found, args)
        verdict.equal("exit code of the last one after SIGTERM", code, 0)
        look_at_caches(verdict, Path(cache), environ)


def report(verdict: Verdict, found: Found, args: argparse.Namespace) -> None:
    verdict.figure("kills with requests under way", args.rounds)
    verdict.figure("requests under way", found.begun)
    verdict.equal("of them ended by the end of the connection", found.ended, found.begun)
    verdict.at_most("until their clients saw it, longest", max(found.told_ms), TOLD_MS, "ms")
    verdict.equal("cut answers that claim to be whole", found.claimed_whole, 0)
    verdict.figure("load time, weights packed before", found.load_s, "s")
    verdict.at_most("start to ready after a kill, longest", max(found.ready_s), found.load_s + GRACE_S, "s")
    verdict.equal("different answers to the same question", len(found.answers), 1)
    verdict.at_least("tokens of it found on disk after a kill, fewest", min(found.cached_tokens[1:]), 128, "")
    verdict.equal("errors in the servers' logs", len(found.bugs), 0)


def look_at_caches(verdict: Verdict, cache: Path, environ: dict[str, str]) -> None:
    packed = default_root(from_environment(environ))
    files = [path for path in packed.rglob("*") if path.is_file()]
    partial = [path for path in cache.rglob("*") if path.is_file() and "partial" in path.name]
    verdict.figure("files of packed weights", len(files))
    verdict.figure("unfinished files left behind (removed by later runs)", len(partial))


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--chats", type=int, default=40, help="streamed chats under way when it is killed")


if __name__ == "__main__":
    run("kill", __doc__, measure, add_options)
