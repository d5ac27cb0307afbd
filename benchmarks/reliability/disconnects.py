"""A thousand clients that go away while they are answered: what they held is free within one step and 50 ms.

python benchmarks/reliability/disconnects.py

In rounds of 1, 8 or 32 chats: they begin, and at a random moment all of them leave, by FIN or by RST. From that moment
/metrics is asked, a hundred times a second, until no request runs and every block of the KV cache is free; the time of
that answer counts, so that what /metrics itself takes is included. "One step" is measured in the same round: the
longest time between two texts of a stream or, for clients that leave while their prompt is computed, the time to first
text of the same chats left alone.
"""

import argparse
import asyncio
import itertools
import random
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from measuring.chat_load import WORDS, percentile
from measuring.http_wire import Stream, stream_request
from measuring.server_process import ServerProcess
from measuring.verdict import Verdict, run

GRACE_MS = 50.0
POLL_S = 0.01
"""Between two looks: asked without pause, /metrics takes so much of the processors that the step itself takes half as
long again."""
PROMPT_WORDS = 300
"""About 400 tokens, which is one step."""


@dataclass(frozen=True, slots=True)
class Round:
    """clients: that left at once. freed_ms: until nothing ran and all blocks were free. steps: begun meanwhile."""

    kind: str
    clients: int
    freed_ms: float
    step_ms: float
    steps: int
    is_freed: bool

    @property
    def late_ms(self) -> float:
        """Beyond one step."""
        return self.freed_ms - self.step_ms


def prompt(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(WORDS, k=words))


async def freed(server: ServerProcess, left: float) -> tuple[float, bool]:
    """Milliseconds until the server was idle, and whether it was within ten seconds."""
    while True:
        now = await server.now()
        took_ms = 1000 * (time.perf_counter() - left)
        if now.is_idle:
            return took_ms, True
        if took_ms > 10_000:
            return took_ms, False
        await asyncio.sleep(POLL_S)


def leave(streams: Iterable[Stream], rng: random.Random) -> None:
    for stream in streams:
        stream.leave(with_goodbye=rng.random() < 0.5)


async def in_mid_stream(server: ServerProcess, clients: int, rng: random.Random) -> Round:
    requests = [stream_request(prompt(rng, rng.randint(5, 30)), 1500) for _ in range(clients)]
    streams = [await Stream.open(server.address, request) for request in requests]
    await asyncio.gather(*(stream.first_text for stream in streams))
    await asyncio.sleep(0.05 + rng.random() * 0.15)
    steps = (await server.now()).steps
    left = time.perf_counter()
    leave(streams, rng)
    freed_ms, is_freed = await freed(server, left)
    gaps = [b - a for stream in streams for a, b in itertools.pairwise(stream.arrivals())]
    done = (await server.now()).steps - steps
    return Round("in mid-stream", clients, freed_ms, 1000 * max(gaps, default=0.0), done, is_freed)


async def in_the_prompt(server: ServerProcess, alone_ms: float, rng: random.Random) -> Round:
    steps = (await server.now()).steps
    stream = await Stream.open(server.address, stream_request(prompt(rng, PROMPT_WORDS), 1500))
    await asyncio.sleep(rng.random() * alone_ms / 1000)
    left = time.perf_counter()
    leave([stream], rng)
    freed_ms, is_freed = await freed(server, left)
    return Round("while the prompt is computed", 1, freed_ms, alone_ms, (await server.now()).steps - steps, is_freed)


async def time_to_first_text_ms(server: ServerProcess, rng: random.Random) -> float:
    found: list[float] = []
    for _ in range(5):
        stream = await Stream.open(server.address, stream_request(prompt(rng, PROMPT_WORDS), 2))
        await stream.ended
        found.append(1000 * (stream.arrivals()[0] - stream.sent))
    return sorted(found)[2]


async def load(server: ServerProcess, args: argparse.Namespace) -> tuple[list[Round], dict[str, int]]:
    rng = random.Random(3)
    await time_to_first_text_ms(server, rng)
    files = server.open_files()
    rounds: list[Round] = []
    alone_ms = await time_to_first_text_ms(server, rng)
    for _ in range(args.clients // 5):
        rounds.append(await in_the_prompt(server, alone_ms, rng))
    left_over = args.clients - len(rounds)
    for size in itertools.cycle((1, 8, 1, 32, 1, 8)):
        if left_over == 0:
            break
        rounds.append(await in_mid_stream(server, min(size, left_over), rng))
        left_over -= rounds[-1].clients
    await asyncio.sleep(1.5)
    return rounds, {"before": files, "after": server.open_files()}


def measure(args: argparse.Namespace, verdict: Verdict) -> None:
    options = [args.model, "--threads", str(args.threads), "--prefix-disk", "0"]
    with ServerProcess(options) as server:
        rounds, files = asyncio.run(load(server, args))
        cancelled = int(asyncio.run(server.metric("wayra:requests_cancelled_total")))
        bugs, code = server.bugs(), server.stop()
    total = sum(r.clients for r in rounds)
    verdict.figure("clients that left, in rounds", f"{total:,} in {len(rounds):,}")
    for kind in dict.fromkeys(r.kind for r in rounds):
        those = [r for r in rounds if r.kind == kind]
        times = [r.freed_ms for r in those]
        shown = f"{percentile(times, 0.5):.1f} / {percentile(times, 0.99):.1f} / {max(times):.1f} ms"
        verdict.figure(f"{kind}: until free, P50 / P99 / longest", shown)
        verdict.figure(f"{kind}: one step, median", percentile([r.step_ms for r in those], 0.5), "ms")
        verdict.at_most(f"{kind}: beyond one step, longest", max(r.late_ms for r in those), GRACE_MS, "ms")
    in_time = sum(r.clients for r in rounds if r.is_freed and r.late_ms <= GRACE_MS)
    verdict.equal("clients whose blocks were free within one step and 50 ms", in_time, total)
    verdict.figure("requests that the engine cancelled", cancelled)
    verdict.figure("steps from leaving to free, most", max(r.steps for r in rounds))
    verdict.equal("running requests and blocks in use at the end of a round", sum(not r.is_freed for r in rounds), 0)
    verdict.at_most("open files afterwards, more than before", files["after"] - files["before"], 0, "")
    verdict.equal("errors in the server's log", len(bugs), 0)
    verdict.equal("exit code after SIGTERM", code, 0)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clients", type=int, default=1000)


if __name__ == "__main__":
    run("disconnects", __doc__, measure, add_options)
