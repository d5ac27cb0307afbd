"""What serving costs: streaming chats over HTTP beside the same requests in the engine alone, alternating.

python benchmarks/serving.py

Server, client and engine share this machine's processors, as they do in use. Rates count generated tokens. TTFT is from
the request's last byte written to the first text read, ITL between events that carry text. Prints what the machine and
the load were, then a table, and one line of JSON at the end.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from measuring.chat_load import LoadResult, chat_text, percentile, run_load
from measuring.figures import Spread, markdown_table, paired_ratios, spread, write_section
from measuring.machine import LoadMeter, describe_commit, describe_machine, wait_for_quiet

from wayra.base.settings import from_environment
from wayra.engine.request import Request, SamplingParams
from wayra.llm.load import Loaded, load
from wayra.llm.options import LLMOptions
from wayra.llm.prompts import PromptReader

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "benchmarks.md"
START = "from wayra.cli.entry import main; import sys; sys.exit(main())"
GOAL = 0.85


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: where, and its process."""

    host: str
    port: int
    pid: int


@contextmanager
def running_server(model: str, max_batch: int, threads: int) -> Iterator[Server]:
    args = ["serve", model, "--port", "0", "--max-batch", str(max_batch), "--threads", str(threads), "--quiet"]
    process = subprocess.Popen([sys.executable, "-c", START, *args], stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline() if process.stdout is not None else ""
        found = re.search(r"http://([\d.]+):(\d+)", line)
        if found is None:
            raise SystemExit(f"serving: the server did not start: {line!r}")
        yield Server(found[1], int(found[2]), process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def engine_tokens_per_s(loaded: Loaded, users: int, turns: int, max_tokens: int, seed: int) -> float:
    """The same closed loop, without text or network."""
    reader = PromptReader(loaded.tokenizer, loaded.template, loaded.spec.vocab_size)
    params = SamplingParams(temperature=0, max_tokens=max_tokens, ignore_eos=True)
    prompts = {
        (user, turn): tuple(reader.chat_ids([{"role": "user", "content": chat_text(user, turn, seed)}]))
        for user in range(users)
        for turn in range(turns)
    }
    engine = loaded.engine
    turn_of = dict.fromkeys(range(users), 0)
    num_tokens = 0
    started = time.perf_counter()
    for user in range(users):
        engine.add(Request(f"{seed} {user}", prompts[user, 0], params))
    while engine.has_work():
        for output in engine.step():
            num_tokens += len(output.token_ids)
            if output.finish_reason is None:
                continue
            user = int(output.request_id.split()[1])
            turn_of[user] += 1
            if turn_of[user] < turns:
                engine.add(Request(f"{seed} {user}", prompts[user, turn_of[user]], params))
    return num_tokens / (time.perf_counter() - started)


@dataclass(slots=True)
class Found:
    """What was measured with one number of users."""

    served: list[LoadResult] = field(default_factory=list)
    engine: list[float] = field(default_factory=list)
    foreign_cores: list[float] = field(default_factory=list)

    def rates(self) -> list[float]:
        return [result.tokens_per_s for result in self.served]

    def ratio(self) -> Spread:
        return paired_ratios(self.rates(), self.engine)

    def ttft_ms(self, share: float) -> float:
        return 1000 * percentile([a.ttft_s for result in self.served for a in result.answers], share)

    def itl_ms(self, share: float) -> float:
        return 1000 * percentile([g for result in self.served for a in result.answers for g in a.gaps_s], share)


def measure(loaded: Loaded, server: Server, users: int, args: argparse.Namespace) -> Found:
    found = Found()
    for repeat in range(args.repeats + 1):
        wait_for_quiet(args.patience)
        meter = LoadMeter((server.pid,))
        engine = engine_tokens_per_s(loaded, users, args.turns, args.max_tokens, seed=2 * repeat)
        loop = run_load(server.host, server.port, users, args.turns, args.max_tokens, seed=2 * repeat + 1)
        served = asyncio.run(loop)
        load = meter.read()
        if repeat == 0:
            continue  # the first of each warms up
        found.engine.append(engine)
        found.served.append(served)
        found.foreign_cores.append(load.foreign_cores + load.steal_cores)
    return found


def row_of(users: int, found: Found) -> tuple[list[str], dict[str, object]]:
    served, engine, ratio = spread(found.rates()), spread(found.engine), found.ratio()
    cells = [
        str(users), served.shown(), engine.shown(), ratio.shown(2),
        f"{found.ttft_ms(0.5):,.0f} / {found.ttft_ms(0.95):,.0f}",
        f"{found.itl_ms(0.5):.1f} / {found.itl_ms(0.95):.1f}",
        f"{max(found.foreign_cores):.2f}",
    ]  # fmt: skip
    answers = found.served[0].answers
    return cells, {
        "users": users,
        "served_tokens_per_s": served.as_json(),
        "engine_tokens_per_s": engine.as_json(),
        "ratio": ratio.as_json(),
        "ttft_ms": {"p50": round(found.ttft_ms(0.5), 1), "p95": round(found.ttft_ms(0.95), 1)},
        "itl_ms": {"p50": round(found.itl_ms(0.5), 2), "p95": round(found.itl_ms(0.95), 2)},
        "prompt_tokens": round(sum(a.prompt_tokens for a in answers) / len(answers), 1),
        "foreign_cores": round(max(found.foreign_cores), 3),
    }


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="smollm2", help="any name wayra takes")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--users", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--turns", type=int, default=2, help="requests of each user")
    parser.add_argument("--max-tokens", type=int, default=128, help="of each answer")
    parser.add_argument("--repeats", type=int, default=3, help="pairs measured of each number of users")
    parser.add_argument("--patience", type=float, default=0, metavar="SECONDS",
                        help="wait so long for a quiet machine before each pair")  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the JSON line there")
    parser.add_argument("--write-docs", action="store_true", help=f"put the result into {DOCUMENT.name}")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    max_batch = max(args.users)
    options = LLMOptions(max_batch=max_batch, threads=args.threads)
    loaded = load(args.model, from_environment(), options)
    rows: list[tuple[list[str], dict[str, object]]] = []
    with running_server(args.model, max_batch, args.threads) as server:
        for users in args.users:
            rows.append(row_of(users, measure(loaded, server, users, args)))
    loaded.release()
    head = {
        "machine": describe_machine(),
        "wayra": f"commit {describe_commit(ROOT)}, {args.threads} threads, batch of {max_batch}",
        "load": f"{args.turns} chats a user one after another, {rows[0][1]['prompt_tokens']} tokens in, "
        f"{args.max_tokens} out, no beginning shared",
        "goal": f"served tokens/s at least {GOAL:.0%} of the engine's",
    }
    columns = ["users", f"served tokens/s, median of {args.repeats}", "engine alone", "ratio of pairs",
               "TTFT P50 / P95 ms", "ITL P50 / P95 ms", "foreign cores"]  # fmt: skip
    table = markdown_table(columns, [cells for cells, _ in rows])
    json_line = json.dumps({"benchmark": "serving", **head, "repeats": args.repeats, "rows": [row for _, row in rows]})
    print("\n".join(f"{name:<8} {value}" for name, value in head.items()), "", table, "", json_line, sep="\n")
    if args.json:
        args.json.write_text(json_line + "\n")
    if args.write_docs:
        told = "\n".join(f"- {name}: {value}" for name, value in head.items())
        write_section(DOCUMENT, "serving", f"Measured by `python benchmarks/serving.py`.\n\n{told}\n\n{table}")


if __name__ == "__main__":
    main()
