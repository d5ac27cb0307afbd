"""What serving costs: streaming chats over HTTP, the same requests in the engine alone, and llama-server, in turn.

python benchmarks/serving.py --llama-server PATH

Server, client and engine share this machine's processors, as they do in use; who is not measured waits. llama-server
reads the same file with the same threads and as many slots, each with the context that the load needs; without the
option it is looked for on the path and, if it is nowhere, left out. To have one:

    git clone https://github.com/ggml-org/llama.cpp
    cmake -S llama.cpp -B build -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON
    cmake --build build --target llama-server        # then build/bin/llama-server

Rates count generated tokens. TTFT is from the request's last byte written to the first text read, ITL between events
that carry text. What the client itself takes of the processors is told. Rounds end when the time is up, llama-server's
before wayra's. Prints what the machine and the load were, then a table, and one line of JSON; exits with 1 when the
server keeps less of the engine's speed than it must.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measuring.chat_load import LoadResult, chat_text, percentile, run_load
from measuring.figures import Spread, markdown_table, paired_ratios, spread, write_section
from measuring.http_wire import Address, ask
from measuring.machine import LoadMeter, describe_commit, describe_machine, process_cpu_s, wait_for_quiet
from measuring.server_process import ServerProcess

from wayra.base.settings import from_environment
from wayra.engine.request import Request, SamplingParams
from wayra.llm.load import Loaded, load
from wayra.llm.options import LLMOptions
from wayra.llm.prompts import PromptReader
from wayra.weights.sources import resolve

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "benchmarks.md"
GOAL = 0.85
GOAL_USERS = 32
"""From so many users on, the goal holds: one alone is bounded by the time of a step, not by the processors."""
WARM_UP_TOKENS = 8
GRACE_S = 60
"""For loading models, and for a round that takes longer than the one before."""
PROMPT_ROOM = 256
"""Tokens of a prompt, at most."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the servers listen, and their processes. peer: llama-server."""

    wayra: Address
    pids: tuple[int, ...]
    peer: Address | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """A closed loop: each of the users sends so many chats, one after another. seed: of the prompts."""

    users: int
    turns: int
    max_tokens: int
    seed: int


@contextmanager
def llama_server(path: str, model: Path, users: int, args: argparse.Namespace) -> Iterator[tuple[Address, int]]:
    """A running llama-server: where, and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context_len = users * (PROMPT_ROOM + args.max_tokens)
    command = [path, "--model", str(model), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--threads", str(args.threads), "--threads-batch", str(args.threads)]
    command += ["--parallel", str(users), "--ctx-size", str(context_len)]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            address = Address("127.0.0.1", port)
            asyncio.run(_await_ready(address, process))
            yield address, process.pid
        finally:
            process.terminate()
            process.wait(60)


async def _await_ready(address: Address, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise SystemExit(f"serving: llama-server ended with {process.returncode}")
        try:
            if (await ask(address, "GET", "/health", limit_s=10)).status == 200:
                return
        except (OSError, EOFError, TimeoutError):
            pass
        await asyncio.sleep(0.1)
    raise SystemExit("serving: llama-server was not ready within a minute")


def engine_tokens_per_s(loaded: Loaded, load: Load) -> float:
    """The same closed loop, without text or network."""
    reader = PromptReader(loaded.tokenizer, loaded.template, loaded.spec.vocab_size)
    params = SamplingParams(temperature=0, max_tokens=load.max_tokens, ignore_eos=True)
    users, turns, seed = load.users, load.turns, load.seed
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


@dataclass(frozen=True, slots=True)
class Served:
    """A load on a server, and what it took of the processors. In cores: the time of a process over the wall time."""

    result: LoadResult
    client_cores: float
    server_cores: float


@dataclass(slots=True)
class Found:
    """What was measured with one number of users. peer: of the first rounds, as many as there was time for."""

    served: list[Served] = field(default_factory=list)
    engine: list[float] = field(default_factory=list)
    peer: list[Served] = field(default_factory=list)
    foreign_cores: list[float] = field(default_factory=list)

    def ratio(self) -> Spread:
        return paired_ratios(rates(self.served), self.engine)

    def peer_ratio(self) -> Spread:
        return paired_ratios(rates(self.served)[: len(self.peer)], rates(self.peer))


@dataclass(slots=True)
class Budget:
    """The time that is left, and what a thing took the last time. Seconds by the monotonic clock."""

    until: float
    took: dict[str, float] = field(default_factory=dict[str, float])

    def allows(self, *what: str) -> bool:
        """Whether there is time to do all of these once more; True for what was never done."""
        return time.perf_counter() + 1.1 * sum(self.took.get(name, 0.0) for name in what) < self.until

    @contextmanager
    def spend(self, what: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.took[what] = time.perf_counter() - began


def rates(found: list[Served]) -> list[float]:
    return [served.result.tokens_per_s for served in found]


def ttft_ms(found: list[Served], share: float) -> float:
    return 1000 * percentile([a.ttft_s for served in found for a in served.result.answers], share)


def itl_ms(found: list[Served], share: float) -> float:
    return 1000 * percentile([g for served in found for a in served.result.answers for g in a.gaps_s], share)


def load_server(address: Address, pid: int, load: Load) -> Served:
    client, server, began = time.process_time(), process_cpu_s(pid), time.perf_counter()
    result = asyncio.run(run_load(address, load.users, load.turns, load.max_tokens, load.seed))
    wall_s = time.perf_counter() - began
    return Served(result, (time.process_time() - client) / wall_s, (process_cpu_s(pid) - server) / wall_s)


def warm_up(loaded: Loaded, places: Places, users: int) -> None:
    """A first short answer of everybody to all."""
    engine_tokens_per_s(loaded, Load(users, 1, WARM_UP_TOKENS, seed=-1))
    for address in (places.wayra, places.peer):
        if address is not None:
            asyncio.run(run_load(address, users, 1, WARM_UP_TOKENS, seed=-1))


def measure(loaded: Loaded, places: Places, users: int, args: argparse.Namespace, budget: Budget) -> Found:
    """Each round: the engine, wayra's server, llama-server; with the same prompts, new to each of them."""
    found = Found()
    warm_up(loaded, places, users)
    for repeat in range(args.repeats):
        pair, peer = f"pair of {users}", f"peer with {users}"
        if repeat and not budget.allows(pair):
            break
        wait_for_quiet(min(args.patience, max(0.0, budget.until - time.perf_counter())))
        meter = LoadMeter(places.pids)
        with budget.spend(pair):
            engine = engine_tokens_per_s(loaded, Load(users, args.turns, args.max_tokens, repeat))
            load = Load(users, args.turns, args.max_tokens, repeat)
            found.served.append(load_server(places.wayra, places.pids[0], load))
            found.engine.append(engine)
        if places.peer is not None and len(found.peer) == repeat and (not repeat or budget.allows(pair, peer)):
            with budget.spend(peer):
                load = Load(users, args.turns, args.max_tokens, repeat)
                found.peer.append(load_server(places.peer, places.pids[1], load))
        noise = meter.read()
        found.foreign_cores.append(noise.foreign_cores + noise.steal_cores)
        told = ", ".join(f"{name} {value:,.1f}" for name, value in _last_rates(found).items())
        print(f"  {users} users, round {repeat + 1}: {told} tokens/s", file=sys.stderr, flush=True)
    return found


def _last_rates(found: Found) -> dict[str, float]:
    last = {"engine": found.engine[-1], "served": rates(found.served)[-1]}
    return last | ({"llama-server": rates(found.peer)[-1]} if found.peer else {})


def row_of(users: int, found: Found) -> tuple[list[str], dict[str, Any]]:
    served, engine, ratio = spread(rates(found.served)), spread(found.engine), found.ratio()
    cells = [
        str(users), served.shown(), engine.shown(), ratio.shown(2), _times(found.served, ttft_ms, 0),
        _times(found.served, itl_ms, 1), f"{client_cores(found.served):.2f}",
    ]  # fmt: skip
    answers = found.served[0].result.answers
    facts: dict[str, Any] = {
        "users": users,
        "rounds": len(found.served),
        "served_tokens_per_s": served.as_json(),
        "engine_tokens_per_s": engine.as_json(),
        "ratio": ratio.as_json(),
        **_times_json(found.served),
        "prompt_tokens": round(sum(a.prompt_tokens for a in answers) / len(answers), 1),
        "client_cores": round(client_cores(found.served), 4),
        "server_cores": round(statistics.median(s.server_cores for s in found.served), 3),
        "foreign_cores": round(max(found.foreign_cores), 3),
    }
    if found.peer:
        peer, peer_ratio = spread(rates(found.peer)), found.peer_ratio()
        cells += [peer.shown(), peer_ratio.shown(2), _times(found.peer, ttft_ms, 0), _times(found.peer, itl_ms, 1)]
        theirs = {"rounds": len(found.peer), "tokens_per_s": peer.as_json(), **_times_json(found.peer)}
        facts |= {"llama_server": theirs, "ratio_to_llama_server": peer_ratio.as_json()}
    return [*cells, f"{max(found.foreign_cores):.2f}"], facts


def client_cores(found: list[Served]) -> float:
    return statistics.median(served.client_cores for served in found)


def _times(results: list[Served], of: Callable[[list[Served], float], float], digits: int) -> str:
    return f"{of(results, 0.5):,.{digits}f} / {of(results, 0.95):,.{digits}f}"


def _times_json(results: list[Served]) -> dict[str, object]:
    return {
        "ttft_ms": {"p50": round(ttft_ms(results, 0.5), 1), "p95": round(ttft_ms(results, 0.95), 1)},
        "itl_ms": {"p50": round(itl_ms(results, 0.5), 2), "p95": round(itl_ms(results, 0.95), 2)},
    }


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="smollm2", help="any name wayra takes")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--users", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--turns", type=int, default=2, help="requests of each user")
    parser.add_argument("--max-tokens", type=int, default=128, help="of each answer")
    parser.add_argument("--repeats", type=int, default=3, help="pairs measured of each number of users, at most")
    parser.add_argument("--llama-server", metavar="PATH", default=shutil.which("llama-server"),
                        help="the program; by default the one on the path")  # fmt: skip
    parser.add_argument("--patience", type=float, default=0, metavar="SECONDS",
                        help="wait so long for a quiet machine before each pair")  # fmt: skip
    parser.add_argument("--limit-s", type=float, default=330, help="for all; after a minute more it gives up")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the JSON line there")
    parser.add_argument("--write", action="store_true", help=f"put the result into {DOCUMENT.name}")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # As an exception, so that no server is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    signal.signal(signal.SIGALRM, lambda *_: sys.exit("serving: one round takes too long; the machine is too busy"))
    signal.alarm(round(args.limit_s) + GRACE_S)
    max_batch = max(args.users)
    model = resolve(args.model, from_environment()).path
    options = LLMOptions(max_batch=max_batch, threads=args.threads)
    loaded = load(str(model), from_environment(), options)
    rows: list[tuple[list[str], dict[str, Any]]] = []
    server_args = [str(model), "--max-batch", str(max_batch), "--threads", str(args.threads)]
    with ExitStack() as running:
        server = running.enter_context(ServerProcess([*server_args, "--prefix-disk", "0"]))
        places = Places(server.address, (server.pid,))
        if args.llama_server:
            peer, pid = running.enter_context(llama_server(args.llama_server, model, max_batch, args))
            places = Places(server.address, (server.pid, pid), peer)
        end = time.perf_counter() + args.limit_s
        for number, users in enumerate(args.users):
            # An equal share of what is left: what a number of users does not take is the next one's.
            now = time.perf_counter()
            budget = Budget(now + (end - now) / (len(args.users) - number))
            rows.append(row_of(users, measure(loaded, places, users, args, budget)))
    loaded.release()
    report(args, rows)
    missed = [facts for _, facts in rows if facts["users"] >= GOAL_USERS and facts["ratio"]["median"] < GOAL]
    if missed:
        sys.exit(f"serving: with {missed[0]['users']} users {missed[0]['ratio']['median']:.0%} of the engine's speed")


def report(args: argparse.Namespace, rows: list[tuple[list[str], dict[str, Any]]]) -> None:
    head = {
        "machine": describe_machine(),
        "wayra": f"commit {describe_commit(ROOT)}, {args.threads} threads, batch of {max(args.users)}",
        "load": f"{args.turns} chats a user one after another, {rows[0][1]['prompt_tokens']} tokens in, "
        f"{args.max_tokens} out, no beginning shared",
        "goal": f"with {GOAL_USERS} users, served tokens/s at least {GOAL:.0%} of the engine's",
    }
    if args.llama_server:
        head["llama-server"] = f"{version_of(args.llama_server)}, the same threads, {max(args.users)} slots"
    least = min(row["rounds"] for _, row in rows)
    columns = ["users", f"served tokens/s, median of {least} or more", "engine alone", "ratio of pairs",
               "TTFT P50 / P95 ms", "ITL P50 / P95 ms", "cores of the client"]  # fmt: skip
    if args.llama_server:
        columns += ["llama-server tokens/s", "ratio of pairs", "its TTFT", "its ITL"]
    table = markdown_table([*columns, "foreign cores"], [cells for cells, _ in rows])
    json_line = json.dumps({"benchmark": "serving", **head, "rows": [row for _, row in rows]})
    print("\n".join(f"{name:<12} {value}" for name, value in head.items()), "", table, "", json_line, sep="\n")
    if args.json:
        args.json.write_text(json_line + "\n")
    if args.write:
        told = "\n".join(f"- {name}: {value}" for name, value in head.items())
        write_section(
            DOCUMENT,
            "serving",
            f"Measured {time.strftime('%Y-%m-%d', time.gmtime())} by "
            f"`python benchmarks/serving.py --llama-server PATH`.\n\n{told}\n\n{table}",
        )


def version_of(program: str) -> str:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"version: (.*)", done.stdout + done.stderr)
    return found[1].strip() if found else "of an unknown version"


if __name__ == "__main__":
    main()
