"""wayra beside llama.cpp on the same file: prefill and decode, alternating, with ratios pair by pair.

python benchmarks/vs_llamacpp.py --peer-python PEER/bin/python

PEER is an environment with llama-cpp-python, built on this machine (pip install --no-binary llama-cpp-python
llama-cpp-python); it need not know wayra. Each engine lives in a process of its own, which sleeps while the other runs.
Prints the machine's limits first, then a table, and one line of JSON at the end.
"""

import argparse
import datetime
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from measuring.figures import markdown_table, paired_ratios, spread, write_section
from measuring.limits import ModelWork, Rates, Roofline, Work
from measuring.machine import LoadMeter, describe_commit, describe_machine, wait_for_quiet
from measuring.pipe import Worker, WorkerError

from wayra.base.settings import from_environment
from wayra.weights.sources import resolve

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "benchmarks.md"
SETTLE_S = 0.05
"""Longer than the engines' threads go on spinning after their work, so that they do not disturb each other."""
SHORT_PROMPT_LEN = 32
DECODE_TOKENS = 128
LONG_LEN = 2048


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to measure. num_tokens: those whose rate is told."""

    name: str
    num_tokens: int
    work: Work
    seconds: Callable[[Worker], float]


@dataclass(slots=True)
class Found:
    """Rates of one case, in the order measured. repeated_pairs: disturbed ones that were thrown away."""

    wayra: list[float] = field(default_factory=list)
    peer: list[float] = field(default_factory=list)
    foreign_cores: list[float] = field(default_factory=list)
    noisy_pairs: int = 0
    repeated_pairs: int = 0


def cases(model: ModelWork, long: bool) -> list[Case]:
    rng = np.random.default_rng(0)
    ids = [int(i) for i in rng.integers(100, model.vocab_size, LONG_LEN + DECODE_TOKENS)]

    def prefill(count: int) -> Case:
        work = model.prefill(count)
        return Case(f"prefill {count:,}", count, work, lambda w: w.ask("prefill", token_ids=ids[:count]))

    def decode(prompt_len: int) -> Case:
        prompt, rest = ids[:prompt_len], ids[prompt_len : prompt_len + DECODE_TOKENS]
        work = model.decode(prompt_len, DECODE_TOKENS)
        name = f"decode {DECODE_TOKENS} after {prompt_len:,}"
        return Case(name, DECODE_TOKENS, work, lambda w: w.ask("decode", prompt_ids=prompt, token_ids=rest))

    chosen = [prefill(512), decode(SHORT_PROMPT_LEN)]
    return [*chosen, prefill(LONG_LEN), decode(LONG_LEN)] if long else chosen


class Contest:
    """Two workers, measured in turn. patience_s: how long in all to wait for quiet and to repeat disturbed pairs."""

    def __init__(self, ours: Worker, theirs: Worker, patience_s: float) -> None:
        self._ours, self._theirs = ours, theirs
        self._patience_s = patience_s

    def run(self, case: Case, repeats: int) -> Found:
        for worker in (self._ours, self._theirs):
            case.seconds(worker)
        found = Found()
        while len(found.wayra) < repeats:
            started = time.monotonic()
            wait_for_quiet(self._patience_s)
            waited_s = time.monotonic() - started
            ours, theirs, noisy, foreign = self._pair(case)
            self._patience_s -= time.monotonic() - started if noisy else waited_s
            if noisy and self._patience_s > 0:
                found.repeated_pairs += 1
                continue
            found.wayra.append(case.num_tokens / ours)
            found.peer.append(case.num_tokens / theirs)
            found.foreign_cores.append(foreign)
            found.noisy_pairs += noisy
        return found

    def _pair(self, case: Case) -> tuple[float, float, bool, float]:
        seconds: list[float] = []
        noisy, foreign = False, 0.0
        for worker in (self._ours, self._theirs):
            time.sleep(SETTLE_S)
            # The other worker counts as foreign: it is supposed to sleep.
            meter = LoadMeter((worker.pid,))
            seconds.append(case.seconds(worker))
            load = meter.read()
            noisy |= load.is_noisy
            foreign = max(foreign, load.foreign_cores + load.steal_cores)
        return seconds[0], seconds[1], noisy, foreign


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that is told, as lines for people and as JSON."""

    head: list[tuple[str, str]]
    rows: list[dict[str, object]]
    table: str
    facts: dict[str, object]

    def text(self) -> str:
        width = max(len(name) for name, _ in self.head)
        lines = [f"{name:<{width}}  {value}" for name, value in self.head]
        return "\n".join([*lines, "", self.table])

    def json_line(self) -> str:
        return json.dumps({"benchmark": "vs_llamacpp", **self.facts, "cases": self.rows})

    def section(self, command: str) -> str:
        told = "\n".join(f"- {name}: {value}" for name, value in self.head)
        today = datetime.date.today().isoformat()
        return f"Measured {today} by `{command}`.\n\n{told}\n\n{self.table}"


def physics(model: ModelWork, path: Path, rates: Rates, todo: list[Case]) -> list[tuple[str, str]]:
    decode = next(case.work for case in todo if case.name.startswith("decode"))
    prefill = next(case.work for case in todo if case.name.startswith("prefill"))
    size_mb, weights_m = path.stat().st_size / 1e6, model.num_weights / 1e6
    peak = f"{rates.int8_gop_s:,.0f} Gop/s ({rates.int8_instruction})" if rates.int8_gop_s else "not measured"
    megabytes, most = decode.bytes_a_token / 1e6, decode.limit_tokens_per_s(rates)
    gop, most_prefill = prefill.ops_a_token / 1e9, prefill.limit_tokens_per_s(rates)
    return [
        ("file", f"{path.name}, {size_mb:.1f} MB, {weights_m:.1f} M weights in matrices"),
        ("limits", f"reading {rates.read_gb_s:.1f} GB/s, int8 {peak}"),
        ("decode", f"the first below reads {megabytes:.1f} MB a token: at most {most:,.0f} tokens/s"),
        ("prefill", f"the first below takes {gop:.3f} Gop a token: at most {most_prefill:,.0f} tokens/s"),
    ]


def built_for(system: str) -> str:
    """The names in llama.cpp's list of what it was compiled for: "CPU : SSE3 = 1 | AVX = 1 | ..." -> "SSE3 AVX ..."."""
    return " ".join(part.split("=")[0].split(":")[-1].strip() for part in system.split("|") if part.strip())


def row_of(case: Case, found: Found, rates: Rates) -> tuple[list[str], dict[str, object]]:
    ours, theirs, ratio = spread(found.wayra), spread(found.peer), paired_ratios(found.wayra, found.peer)
    limit = case.work.limit_tokens_per_s(rates)
    noise = f"{max(found.foreign_cores):.2f}" + (f", {found.noisy_pairs} noisy" if found.noisy_pairs else "")
    cells = [
        case.name, ours.shown(), f"{ours.median / limit:.0%}", theirs.shown(), f"{theirs.median / limit:.0%}",
        ratio.shown(2), noise,
    ]  # fmt: skip
    return cells, {
        "name": case.name,
        "wayra_tokens_per_s": ours.as_json(),
        "llamacpp_tokens_per_s": theirs.as_json(),
        "ratio": ratio.as_json(),
        "limit_tokens_per_s": round(limit, 1),
        "foreign_cores": round(max(found.foreign_cores), 3),
        "noisy_pairs": found.noisy_pairs,
        "repeated_pairs": found.repeated_pairs,
    }


def compare(args: argparse.Namespace) -> Report:
    path = resolve(args.model, from_environment()).path
    model = ModelWork(path)
    todo = cases(model, args.long)
    # Rounded up to whole blocks; the peer pads its cells likewise.
    context_len = (LONG_LEN + DECODE_TOKENS if args.long else 1024) + 256
    config = {"path": str(path), "threads": args.threads, "context_len": context_len, "flash_attn": args.flash_attn}
    roofline = Roofline(model.weight_bytes, args.threads)
    rates = roofline.measure()
    with Worker(sys.executable, "wayra", config) as ours, Worker(args.peer_python, "llamacpp", config) as theirs:
        contest = Contest(ours, theirs, args.patience)
        results = [(case, contest.run(case, args.repeats)) for case in todo]
    rates = rates.best_with(roofline.measure())
    roofline.close()
    rows = [row_of(case, found, rates) for case, found in results]
    head = [
        ("machine", describe_machine()),
        ("threads", str(args.threads)),
        ("wayra", f"commit {describe_commit(ROOT)}, {ours.facts['isa']}, {ours.facts['settings']}"),
        ("llama.cpp", f"{theirs.facts['version']}, {theirs.facts['settings']}"),
        ("its build", built_for(theirs.facts["system"])),
        *physics(model, path, rates, todo),
    ]
    columns = ["tokens/s, median of " + str(args.repeats), "wayra", "of limit", "llama.cpp", "of limit",
               "ratio of pairs", "foreign cores"]  # fmt: skip
    noisy = any(found.noisy_pairs for _, found in results)
    if noisy:
        head.append(("NOISY", "others used the processors during some pairs; repeat on a quiet machine"))
    facts: dict[str, object] = {**dict(head[:5]),
                              "repeats": args.repeats, "noisy": noisy,
                              "read_gb_s": rates.read_gb_s, "int8_gop_s": rates.int8_gop_s}  # fmt: skip
    return Report(head, [row for _, row in rows], markdown_table(columns, [cells for cells, _ in rows]), facts)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="smollm2", help="any name wayra takes; it must be one GGUF file")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=5, help="pairs measured of each case")
    parser.add_argument("--long", action="store_true", help="also prefill of 2,048 and decode after 2,048")
    parser.add_argument("--patience", type=float, default=0, metavar="SECONDS",
                        help="wait for a quiet machine, and repeat disturbed pairs, until this is used up")  # fmt: skip
    parser.add_argument("--flash-attn", choices=["auto", "on", "off"], default="auto", help="of llama.cpp")
    parser.add_argument("--peer-python", default=sys.executable, help="the Python that can import llama_cpp")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the JSON line there")
    parser.add_argument("--write-docs", action="store_true", help=f"put the result into {DOCUMENT.name}")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        report = compare(args)
    except WorkerError as error:
        sys.exit(f"vs_llamacpp: {error}")
    print(report.text(), "", report.json_line(), sep="\n")
    if args.json:
        args.json.write_text(report.json_line() + "\n")
    if args.write_docs:
        flags = ["--long"] if args.long else []
        flags += [f"--patience {args.patience:g}"] if args.patience else []
        command = f"python benchmarks/vs_llamacpp.py --peer-python PEER/bin/python --threads {args.threads}"
        write_section(DOCUMENT, "vs_llamacpp", report.section(" ".join([command, f"--repeats {args.repeats}", *flags])))


if __name__ == "__main__":
    main()
