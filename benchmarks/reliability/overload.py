"""Ten times more requests than the server can answer: those it takes are answered, the others told to come again.

python benchmarks/reliability/overload.py

First the capacity is measured, in requests a second, by as many users as the engine computes side by side. Then
requests arrive at ten times that rate, at random (Poisson), none waiting for another. The time of a refusal is from the
beginning of its connection to its headers, as the client sees it; client, server and engine share the machine's
processors.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from measuring.chat_load import chat_text, percentile
from measuring.http_wire import CHAT, Reply, ask, chat_body
from measuring.server_process import ServerProcess
from measuring.verdict import Verdict, run

LIMIT_MS = 50.0
OVERLOAD = 10
MAX_TOKENS = 32


@dataclass(slots=True)
class Met:
    """What the clients met."""

    answered: list[Reply] = field(default_factory=list[Reply])
    refused: list[Reply] = field(default_factory=list[Reply])
    others: list[str] = field(default_factory=list[str])


async def capacity(server: ServerProcess, users: int, seconds: float) -> float:
    """Requests answered a second with so many users, each sending its next when it has its answer."""
    began = time.monotonic()
    counts = [0] * users

    async def user(number: int) -> None:
        while time.monotonic() < began + seconds:
            reply = await ask(server.address, "POST", CHAT, chat_body(chat_text(number, counts[number], 1), MAX_TOKENS))
            if reply.status != 200:
                raise SystemExit(f"overload: {reply.status} {reply.body[:300]!r}")
            counts[number] += 1

    await asyncio.gather(*(user(number) for number in range(users)))
    return sum(counts) / (time.monotonic() - began)


async def overload(server: ServerProcess, rate: float, seconds: float) -> Met:
    """Requests arrive at `rate` a second; returns when each has been answered."""
    rng, met = random.Random(7), Met()

    async def request(number: int) -> None:
        try:
            reply = await ask(server.address, "POST", CHAT, chat_body(chat_text(number, 0, 2), MAX_TOKENS))
        except (OSError, EOFError, TimeoutError) as error:
            met.others.append(f"{type(error).__name__}: {error}")
            return
        if reply.status == 200 and json.loads(reply.body)["usage"]["completion_tokens"] == MAX_TOKENS:
            met.answered.append(reply)
        elif reply.status == 429:
            met.refused.append(reply)
        else:
            met.others.append(f"{reply.status} {reply.body[:200]!r}")

    tasks: list[asyncio.Task[None]] = []
    began = due = time.monotonic()
    while due < began + seconds:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        tasks.append(asyncio.create_task(request(len(tasks))))
        due += rng.expovariate(rate)
    await asyncio.gather(*tasks)
    return met


async def settled(server: ServerProcess) -> bool:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if (await server.now()).is_idle:
            return True
        await asyncio.sleep(0.1)
    return False


async def load(server: ServerProcess, args: argparse.Namespace, verdict: Verdict) -> None:
    await capacity(server, 8, 2)
    rate = await capacity(server, args.max_batch, args.seconds)
    verdict.figure(f"capacity, {MAX_TOKENS} tokens an answer", rate, "requests/s")
    before = await server.metric("wayra:requests_refused_total")
    resident_mb = server.resident_mb()
    met = await overload(server, OVERLOAD * rate, 2 * args.seconds)
    verdict.figure("offered", len(met.answered) + len(met.refused) + len(met.others), "requests")
    verdict.figure("accepted and answered whole", len(met.answered), "requests")
    verdict.figure("refused with 429", len(met.refused), "requests")
    verdict.equal("lost, cut or answered otherwise", len(met.others), 0)
    times_ms = [1000 * reply.head_s for reply in met.refused]
    verdict.at_most("time of a 429, P99", percentile(times_ms, 0.99), LIMIT_MS, "ms")
    verdict.figure("its P50 and longest", f"{percentile(times_ms, 0.5):.1f} and {max(times_ms):.1f} ms")
    waits = [int(reply.headers.get("retry-after-ms", "-1")) for reply in met.refused]
    verdict.equal("429 without retry-after-ms of 100 to 30,000", sum(not 100 <= wait <= 30_000 for wait in waits), 0)
    verdict.figure("retry-after-ms, shortest and longest", f"{min(waits):,} and {max(waits):,}")
    counted = await server.metric("wayra:requests_refused_total") - before
    verdict.equal("refusals that /metrics counts", int(counted), len(met.refused))
    verdict.equal("idle afterwards, all blocks free", await settled(server), True)
    grown_mb = server.resident_mb() - resident_mb
    verdict.figure("memory grown meanwhile, KV blocks used for the first time included", grown_mb, "MB")
    verdict.equal("/health afterwards", (await ask(server.address, "GET", "/health")).status, 200)
    for other in met.others[:5]:
        print(f"  ! {other}")


def measure(args: argparse.Namespace, verdict: Verdict) -> None:
    options = [args.model, "--threads", str(args.threads), "--max-batch", str(args.max_batch), "--prefix-disk", "0"]
    with ServerProcess(options) as server:
        asyncio.run(load(server, args, verdict))
        verdict.equal("errors in the server's log", len(server.bugs()), 0)
        verdict.equal("exit code after SIGTERM", server.stop(), 0)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--max-batch", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10, help="to measure the capacity; twice that of overload")


if __name__ == "__main__":
    run("overload", __doc__, measure, add_options)
