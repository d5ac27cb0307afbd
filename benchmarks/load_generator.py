"""What the load generator of `wayra bench` costs and adds, measured against a server whose every moment is known.

python benchmarks/load_generator.py [--seconds 20] [--rate 100] [--requests 10000] [--update]

CPU: of this process, per cent of one core, while it sends at a rate, reads every event and records every request.
Bare loop: the same load by a loop that does nothing but wait, read and keep (measuring/bare_loop.py), right after.
Added to TTFT: what it measured, less what the server (a process of its own, on the same clock) says it took from the
whole request to the first event: connecting, both ways over the socket, and reading. Late: a request's sending after
its time. Memory: resident, over 10,000 requests of a closed loop. Prints tables and one line of JSON; --update writes
the tables into docs/lab.md.
"""

import argparse
import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from measuring.bare_loop import bare_loop
from measuring.chat_load import percentile
from measuring.figures import markdown_table, write_section
from measuring.machine import describe_machine

from wayra.lab.bench.settings import BenchSettings
from wayra.lab.bench.traffic_run import TrafficBench
from wayra.lab.latency import RequestRecord
from wayra.lab.runs import Run, RunStore
from wayra.lab.targets import OpenAITarget, OpenAITargetSettings

SERVER = Path(__file__).parent / "measuring" / "scripted_server.py"
DOCUMENT = Path(__file__).parent.parent / "docs" / "lab.md"
EVENTS = (1, 16, 64)
GAP_MS = 10.0
WIDTH = 64
SAMPLE_EVERY = 1000
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@contextmanager
def server(events: int, gap_ms: float) -> Iterator[str]:
    """The URL of a scripted server in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, str(SERVER), str(events), str(gap_ms)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
    finally:
        process.terminate()
        process.wait()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


def drive(settings: BenchSettings, folder: Path, told) -> tuple[Run, float, float]:  # type: ignore[no-untyped-def]
    """One traffic bench as the command runs it: the run, seconds of CPU and of the clock."""
    store = RunStore(folder)
    target = OpenAITarget(settings.target, OpenAITargetSettings("scripted"))

    async def main(run) -> None:  # type: ignore[no-untyped-def]
        try:
            await TrafficBench(target, settings, run, told).run()
        finally:
            await target.aclose()

    with store.create("bench", {"mode": "traffic", "target": settings.target}) as run:
        cpu, clock = time.process_time(), time.perf_counter()
        asyncio.run(main(run))
        used, took = time.process_time() - cpu, time.perf_counter() - clock
        run.finish()
    return store.open(run.id), used, took


def at_a_rate(events: int, rate: float, seconds: float, folder: Path) -> dict[str, float]:
    """CPU and added time of one length of answer."""
    with server(events, GAP_MS) as url:
        settings = BenchSettings(url, rates=(rate,), is_poisson=True, num_requests=round(rate * seconds), warmup=20)
        run, cpu_s, clock_s = drive(settings, folder, lambda *_: None)
        bare_cpu_s, bare_added_ms = bare_loop(
            int(url.rpartition(":")[2].partition("/")[0]), rate, round(rate * seconds)
        )
    added_ms: list[float] = []
    late_ms: list[float] = []
    failed = 0
    for line in run.records():
        record = msgspec.convert(line, RequestRecord)
        if record.is_warmup:
            continue
        if record.status != "ok" or record.due_s is None:
            failed += 1
            continue
        received, written = (float(word) for word in record.text.split()[:2])
        added_ms.append(1000 * ((record.event_s[0] - record.sent_s) - (written - received)))
        late_ms.append(1000 * (record.sent_s - record.due_s))
    return {
        "events": events,
        # Of the wanted rate: on a busy machine a second of the clock may hold fewer requests.
        "cpu_share": cpu_s / (rate * seconds) * rate,
        "cpu_us_a_request": 1e6 * cpu_s / (rate * seconds),
        "clock_s": clock_s,
        "added_p50_ms": statistics.median(added_ms),
        "added_p99_ms": percentile(added_ms, 0.99),
        "late_p50_ms": statistics.median(late_ms),
        "late_p99_ms": percentile(late_ms, 0.99),
        "failed": failed,
        "bare_cpu_us_a_request": 1e6 * bare_cpu_s,
        "bare_added_p50_ms": statistics.median(bare_added_ms),
        "bare_added_p99_ms": percentile(bare_added_ms, 0.99),
    }


def memory(requests: int, folder: Path) -> dict[str, float]:
    """Resident bytes after each thousand requests."""
    samples: list[int] = []
    ended = 0

    def told(_stage: str, record: object, _total: int) -> None:
        nonlocal ended
        if record is None:
            return
        ended += 1
        if ended % SAMPLE_EVERY == 0:
            gc.collect()
            samples.append(resident_bytes())

    with server(8, 1.0) as url:
        settings = BenchSettings(url, concurrency=(WIDTH,), num_requests=requests, warmup=WIDTH)
        _, _, clock_s = drive(settings, folder, told)
    return {
        "requests": requests,
        "requests_per_s": requests / clock_s,
        "after_1000_mb": samples[0] / 1e6,
        "after_all_mb": samples[-1] / 1e6,
        "most_mb": max(samples) / 1e6,
    }


def tables(rate: float, rates: list[dict[str, float]], held: dict[str, float], load: float) -> str:
    """What is printed, and written into the document."""
    head = ("events an answer", f"CPU of a core at {rate:g} requests/s", "CPU a request", "added to TTFT, P50", "P99",
            "late, P50", "failed", "bare loop: CPU a request", "added, P50", "P99")  # fmt: skip
    rows = [
        (
            f"{one['events']:.0f}",
            f"{100 * one['cpu_share']:.1f} %",
            f"{one['cpu_us_a_request']:.0f} µs",
            f"{one['added_p50_ms']:.2f} ms",
            f"{one['added_p99_ms']:.2f} ms",
            f"{one['late_p50_ms']:.2f} ms",
            f"{one['failed']:.0f}",
            f"{one['bare_cpu_us_a_request']:.0f} µs",
            f"{one['bare_added_p50_ms']:.2f} ms",
            f"{one['bare_added_p99_ms']:.2f} ms",
        )
        for one in rates
    ]
    return (
        f"{describe_machine()}; load average {load:.1f} before.\n\n{markdown_table(head, rows)}\n\n"
        f"{held['requests']:,.0f} requests of {WIDTH} users, {held['requests_per_s']:.0f} a second: "
        f"{held['after_1000_mb']:.1f} MB resident after 1,000, {held['after_all_mb']:.1f} MB after all, "
        f"{held['most_mb']:.1f} MB at most."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--update", action="store_true")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rates = [at_a_rate(events, args.rate, args.seconds, folder) for events in EVENTS]
        held = memory(args.requests, folder)
    text = tables(args.rate, rates, held, load)
    print(text)
    if args.update:
        write_section(DOCUMENT, "load-generator", text)
    print(json.dumps({"load": load, "rates": rates, "memory": held}))


if __name__ == "__main__":
    main()
