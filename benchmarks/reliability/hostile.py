"""Malformed, huge and costly requests: a 4xx or a closed connection for each, and a good client that hardly notices.

python benchmarks/reliability/hostile.py

Each attack is sent by two clients at a time, each again as soon as it was answered, for some seconds, while a good
client chats. Its inter-token latency is compared with that when it was alone; where the attackers' own sending takes
the processors, that counts as well, for they share the machine. An attack that is answered with a 5xx, taken where it
should have been refused, or not answered within 30 s fails.
"""

import argparse
import asyncio
import contextlib
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from measuring.chat_load import percentile
from measuring.hostile_requests import Attack, attacks
from measuring.http_wire import Address, ask
from measuring.server_process import ServerProcess
from measuring.steady_client import SteadyClient
from measuring.verdict import Verdict, run

FACTOR = 3.0
LONGEST_STALL_MS = 1000.0
ANSWER_S = 30.0
HELD_MB = 512.0


@dataclass(slots=True)
class Met:
    """What came of one kind of attack, and what the good client noted meanwhile."""

    statuses: Counter[int] = field(default_factory=Counter[int])
    wrong: list[str] = field(default_factory=list[str])
    longest_s: float = 0.0
    gaps_ms: list[float] = field(default_factory=list[float])


async def send(address: Address, attack: Attack) -> bytes:
    """What the server answers; b"" when it only closes."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    answer = asyncio.ensure_future(reader.read(65536))
    try:
        with contextlib.suppress(ConnectionError):
            for part in attack.parts():
                writer.write(part)
                await writer.drain()
                if answer.done():
                    break
            if attack.ends:
                writer.write_eof()
        with contextlib.suppress(ConnectionError):
            return await answer
        return b""
    finally:
        answer.cancel()
        writer.transport.abort()


async def attacker(address: Address, attack: Attack, until: float, met: Met) -> None:
    while True:
        began = time.monotonic()
        try:
            async with asyncio.timeout(ANSWER_S):
                seen = await send(address, attack)
        except TimeoutError:
            met.wrong.append(f"no answer within {ANSWER_S:g} s")
            return
        met.longest_s = max(met.longest_s, time.monotonic() - began)
        status = int(seen.split(b" ", 2)[1]) if seen.startswith(b"HTTP/1.") else 0
        met.statuses[status] += 1
        if not attack.is_met_by(status):
            met.wrong.append(f"{status}: {seen[-300:]!r}")
        if time.monotonic() > until:
            return


async def load(server: ServerProcess, args: argparse.Namespace, verdict: Verdict) -> dict[str, Met]:
    found: dict[str, Met] = {}
    async with SteadyClient(server.address, 24, seed=0):
        await asyncio.sleep(2)  # warms up
    async with SteadyClient(server.address, 24, seed=1) as alone:
        await asyncio.sleep(20)
    verdict.figure("a good client alone", alone.shown())
    async with SteadyClient(server.address, 24, seed=2) as beside:
        for name, attack in attacks().items():
            if args.only and args.only not in name:
                continue
            met = found[name] = Met()
            first = len(beside.answers)
            until = time.monotonic() + args.seconds
            await asyncio.gather(*(attacker(server.address, attack, until, met) for _ in range(2)))
            while len(beside.answers) < first + 1 and not beside.failures:
                await asyncio.sleep(0.05)
            met.gaps_ms = [1000 * gap for answer in beside.answers[first:] for gap in answer.gaps_s]
            told = f"{name:45} {dict(met.statuses)} {met.longest_s:.2f} s, ITL P95 {percentile(met.gaps_ms, 0.95):.1f}"
            print(f"  . {told} longest {max(met.gaps_ms):.0f} ms, {server.resident_mb():.0f} MB", flush=True)
    judge(verdict, alone, beside, found)
    return found


def judge(verdict: Verdict, alone: SteadyClient, beside: SteadyClient, found: dict[str, Met]) -> None:
    verdict.figure("beside all attacks", beside.shown())
    statuses = sum((met.statuses for met in found.values()), Counter[int]())
    shown = ", ".join(f"{'closed' if s == 0 else s}: {n:,}" for s, n in sorted(statuses.items()))
    verdict.figure("kinds of attacks, and times sent", f"{len(found)}, {statuses.total():,}")
    verdict.figure("their answers", shown)
    verdict.equal("attacks answered otherwise than they must be", sum(len(met.wrong) for met in found.values()), 0)
    verdict.equal("of those a 5xx", sum(n for s, n in statuses.items() if s >= 500), 0)
    verdict.at_most("longest answer to an attack", max(met.longest_s for met in found.values()), ANSWER_S, "s")
    verdict.equal("chats of the good client that failed", len(alone.failures) + len(beside.failures), 0)
    for share in (0.5, 0.95):
        ratio = percentile(beside.gaps_ms, share) / percentile(alone.gaps_ms, share)
        verdict.at_most(f"its ITL P{100 * share:.0f} beside attacks, of that alone", ratio, FACTOR, "×")
    worst = max(found, key=lambda name: max(found[name].gaps_ms))
    verdict.at_most(f"its longest wait for a token ({worst})", max(found[worst].gaps_ms), LONGEST_STALL_MS, "ms")
    for name, met in found.items():
        for wrong in met.wrong[:2]:
            print(f"  ! {name}: {wrong}")


def measure(args: argparse.Namespace, verdict: Verdict) -> None:
    options = [args.model, "--threads", str(args.threads), "--prefix-disk", "0"]
    options += ["--max-batch", "8", "--context", "1024"]  # a KV cache that is soon full counts no longer as growth
    with ServerProcess(options) as server:
        resident_mb, files = server.family_resident_mb(), server.open_files()
        asyncio.run(load(server, args, verdict))
        held_mb = server.family_resident_mb() - resident_mb
        verdict.at_most("memory afterwards, its renderer's too, more than before", held_mb, HELD_MB, "MB")
        verdict.at_most("open files afterwards, more than before", server.open_files() - files, 4, "")
        verdict.equal("/health afterwards", asyncio.run(ask(server.address, "GET", "/health")).status, 200)
        bugs = server.bugs()
        verdict.equal("errors in the server's log", len(bugs), 0)
        verdict.equal("exit code after SIGTERM", server.stop(), 0)
    for bug in bugs[:5]:
        print(f"  ! {bug[:1500]}")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=2, help="each attack is repeated so long")
    parser.add_argument("--only", help="attacks whose name holds this")


if __name__ == "__main__":
    run("hostile", __doc__, measure, add_options)
