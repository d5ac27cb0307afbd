"""Random requests of every kind and random cancels for a long time: nothing is lost, nothing grows.

python benchmarks/reliability/soak.py --minutes 30

After each minute of load the clients let the server come to rest: then every block of the KV cache must be free and
the number of open files must be that of the beginning. The slope of the memory is fitted to those moments of rest, by
the median of all pairs, from where it first stays level; what never does is fitted from the middle. A run on the null
backend shows in minutes what the server alone does, at some ten times the requests a minute:

python benchmarks/reliability/soak.py --minutes 4 --round-s 6 --backend null
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from measuring.chat_load import WORDS
from measuring.figures import robust_slope, settled_from
from measuring.http_wire import Stream, ask
from measuring.random_requests import KINDS, Wanted, draw
from measuring.server_process import ServerProcess
from measuring.verdict import Verdict, run

from wayra.base.settings import from_environment
from wayra.weights.sources import resolve

BATCH, CONTEXT_LEN = 8, 1024
"""Small, so that the KV cache can be filled before, and requests have to wait for each other."""
REST_S = 60.0
"""In which the server must come to rest when nobody wants anything more."""
MOST_GROWTH_MB_PER_H = 1.0
SETTLED_MB, SETTLED_RESTS = 0.5, 4
"""The warm-up is over when the memory rises by less than this in so many moments of rest."""
LEAST_RESTS = 8


@dataclass(frozen=True, slots=True)
class Rest:
    """The server at rest. at_s: since the beginning."""

    at_s: float
    anonymous_mb: float
    open_files: int
    threads: int
    is_idle: bool


@dataclass(slots=True)
class Log:
    """What clients met. failures: what must not be, in words."""

    requests: Counter[str] = field(default_factory=Counter[str])
    statuses: Counter[int] = field(default_factory=Counter[int])
    cancelled: int = 0
    failures: list[str] = field(default_factory=list)


def anonymous_mb(pid: int) -> float:
    """Memory that is no file's."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1e3
    raise OSError(f"process {pid} is gone")


async def one(server: ServerProcess, wanted: Wanted, rng: random.Random, log: Log) -> None:
    """A request, answered to its end or left in the middle."""
    stream = await Stream.open(server.address, wanted.request)
    left = False
    try:
        async with asyncio.timeout(None if wanted.leaves_after_s is None else wanted.leaves_after_s):
            await asyncio.shield(stream.ended)
    except TimeoutError:
        stream.leave(with_goodbye=rng.random() < 0.5)
        left = True
        log.cancelled += 1
    log.requests[wanted.kind] += 1
    if left:
        return
    log.statuses[stream.status] += 1
    if stream.status not in wanted.statuses:
        log.failures.append(f"{wanted.kind}: status {stream.status}, {stream.seen[-300:]!r}")
    elif stream.status == 200 and wanted.ending not in stream.seen:
        log.failures.append(f"{wanted.kind}: the answer is not whole, {stream.seen[-300:]!r}")


async def user(server: ServerProcess, number: int, until: float, log: Log) -> None:
    rng = random.Random(f"{number} {until}")
    while time.monotonic() < until:
        try:
            async with asyncio.timeout(180):
                await one(server, draw(rng), rng, log)
        except TimeoutError:
            log.failures.append("a request was not answered within 180 s")
        except OSError as error:
            log.failures.append(f"no connection: {error}")
            await asyncio.sleep(1)


async def rest(server: ServerProcess, began: float) -> Rest:
    """Wait until nothing is under way, at most REST_S, and look."""
    until = time.monotonic() + REST_S
    idle = False
    while not idle and time.monotonic() < until:
        await asyncio.sleep(0.25)
        idle = (await server.now()).is_idle
    await asyncio.sleep(1.5)  # closed connections are swept once a second
    memory = anonymous_mb(server.pid)
    return Rest(time.monotonic() - began, memory, server.open_files(), server.num_threads(), idle)


async def fill_cache(server: ServerProcess) -> None:
    """Write every block of the KV cache once: memory that the system hands out on first use is no growth."""
    room_tokens, prompt_words = BATCH * CONTEXT_LEN, CONTEXT_LEN // 2
    rng = random.Random(0)
    for _ in range(2 * room_tokens // prompt_words):
        text = " ".join(rng.choices(WORDS, k=prompt_words))
        reply = await ask(server.address, "POST", "/v1/completions", {"prompt": text, "max_tokens": 1})
        if reply.status != 200:
            raise SystemExit(f"soak: {reply.status} {reply.body[:300]!r}")


async def load(server: ServerProcess, args: argparse.Namespace, log: Log) -> list[Rest]:
    await fill_cache(server)
    began = time.monotonic()
    end = began + 60 * args.minutes
    await asyncio.gather(*(user(server, number, time.monotonic() + 20, log) for number in range(args.users)))
    rests = [await rest(server, began)]
    told = 0
    while time.monotonic() < end:
        until = min(end, time.monotonic() + args.round_s)
        await asyncio.gather(*(user(server, number, until, log) for number in range(args.users)))
        rests.append(await rest(server, began))
        now = rests[-1]
        print(
            f"  {now.at_s / 60:5.1f} min: {sum(log.requests.values()):,} requests, {now.anonymous_mb:.1f} MB, "
            f"{now.open_files} files, {now.threads} threads, {len(log.failures)} failures", flush=True,
        )  # fmt: skip
        for failure in log.failures[told:]:
            print(f"  ! {failure[:600]}", flush=True)
        told = len(log.failures)
    return rests


def steady(rests: list[Rest]) -> list[Rest]:
    """Those after the warm-up, in which caches and the allocator's arenas fill."""
    return rests[settled_from([rest.anonymous_mb for rest in rests], SETTLED_MB, SETTLED_RESTS) :]


def measure(args: argparse.Namespace, verdict: Verdict) -> None:
    model = resolve(args.model, from_environment()).path
    log = Log()
    with tempfile.TemporaryDirectory() as cache:
        options = [str(model), "--threads", str(args.threads), "--backend", args.backend, "--prefix-disk", "64"]
        options += ["--max-batch", str(BATCH), "--context", str(CONTEXT_LEN)]
        with ServerProcess(options, {"WAYRA_CACHE": cache}) as server:
            rests = asyncio.run(load(server, args, log))
            now = asyncio.run(server.now())
            health = asyncio.run(ask(server.address, "GET", "/health")).status
            bugs = server.bugs()
            code = server.stop()
    report(verdict, log, rests)
    verdict.equal("blocks in use in the end, share", now.kv_usage, 0.0)
    verdict.equal("/health in the end", health, 200)
    verdict.equal("errors in the server's log", len(bugs), 0)
    verdict.equal("exit code after SIGTERM", code, 0)
    for line in bugs[:5]:
        print(f"  ! {line[:600]}")


def report(verdict: Verdict, log: Log, rests: list[Rest]) -> None:
    first, last = rests[0], rests[-1]
    verdict.figure("minutes", round(last.at_s / 60, 1))
    verdict.figure("requests", sum(log.requests.values()))
    verdict.figure("of them left in the middle", log.cancelled)
    verdict.figure("kinds of requests", len([kind for kind in KINDS if log.requests[kind]]))
    verdict.figure("answers by status", ", ".join(f"{s}: {n:,}" for s, n in sorted(log.statuses.items())))
    verdict.equal("answers lost, wrong or late", len(log.failures), 0)
    verdict.equal("moments of rest that were none", sum(not rest.is_idle for rest in rests), 0)
    verdict.at_most("open files at rest, more than in the beginning", last.open_files - first.open_files, 0, "")
    verdict.at_most("threads, more than in the beginning", last.threads - first.threads, 0, "")
    verdict.figure("anonymous memory after filling the KV cache and 20 s of load", first.anonymous_mb, "MB")
    verdict.figure("anonymous memory in the end", last.anonymous_mb, "MB")
    used = steady(rests)
    verdict.figure("anonymous memory steady from, minutes", round(used[0].at_s / 60, 1))
    if len(used) >= LEAST_RESTS:
        slope = robust_slope([rest.at_s / 3600 for rest in used], [rest.anonymous_mb for rest in used])
        verdict.among(
            "slope of the anonymous memory from there, 95 % interval",
            f"{slope.median:+.2f} MB/h ({slope.low:+.2f} to {slope.high:+.2f})",
            f"below {MOST_GROWTH_MB_PER_H:g} MB/h, or not to be told from 0",
            slope.median < MOST_GROWTH_MB_PER_H or slope.low <= 0,
        )
    else:
        verdict.among("moments of rest to fit a slope to", len(used), f"at least {LEAST_RESTS}", False)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--users", type=int, default=40, help="each with one request at a time")
    parser.add_argument("--round-s", type=float, default=60, help="of load between two moments of rest")
    parser.add_argument("--backend", default="native")


if __name__ == "__main__":
    run("soak", __doc__, measure, add_options)
