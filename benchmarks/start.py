"""What a person waits for and what it takes: first token, help, memory, size on disk, of the real command.

python benchmarks/start.py [--install]

First token: from the start of the process to the first byte of the answer on a terminal of its own, caches warm; right
after another start, and after seconds in which nothing ran: a virtual machine has then given its free memory back.
Memory is read from /proc when the answer has come. Prints one line a figure, and one line of JSON at the end.
"""

import argparse
import datetime
import json
import os
import pty
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from measuring.figures import Spread, markdown_table, spread, write_section
from measuring.machine import LoadMeter, describe_commit, describe_machine, wait_for_quiet

from wayra.base.settings import from_environment
from wayra.model.cost import memory
from wayra.model.record import record
from wayra.weights.loader import model_spec, open_checkpoint
from wayra.weights.sources import resolve

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "benchmarks.md"
PROMPT = "Why is the sky blue?"
ANSWER_TOKENS = 64
ALLOWED_MB = 120
REST_S = 4.0
KV_BLOCK_TOKENS = 32


@dataclass(frozen=True, slots=True)
class Answer:
    """One run, sampled at each piece of the answer. peak_bytes, steady_bytes: VmHWM and the last VmRSS of the command.

    all_bytes: the highest sum over it and its children of PSS, which divides a shared page among its users.
    """

    first_byte_s: float
    total_s: float
    peak_bytes: int
    steady_bytes: int
    all_bytes: int


def answer(command: Sequence[str]) -> Answer:
    """Run the command on a terminal of its own. Raises SystemExit with its output when it fails."""
    ours, theirs = pty.openpty()
    started = time.perf_counter()
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    first, peak, steady, together = 0.0, 0, 0, 0
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # what Linux says when the other end of a terminal is gone
            break
        if not piece:
            break
        first = first or time.perf_counter() - started
        peak, steady = max(peak, _status(process.pid, "VmHWM")), _status(process.pid, "VmRSS") or steady
        together = max(together, _pss_of_tree(process.pid))
    assert process.stderr is not None
    told = process.stderr.read()
    process.stderr.close()
    os.close(ours)
    if process.wait() or not first:
        sys.exit(f"start: {' '.join(command)} failed: {told.decode(errors='replace')}")
    return Answer(first, time.perf_counter() - started, peak, steady, together)


def rested_first_token_s(command: Sequence[str]) -> float:
    time.sleep(REST_S)
    return answer(command).first_byte_s


def _status(pid: int, field: str) -> int:
    """Bytes; 0 once the process is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def _pss_of_tree(pid: int) -> int:
    total = 0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(_pss_of_tree(int(child)) for child in (task / "children").read_text().split())
    except OSError:
        pass
    return total


def wall_s(command: Sequence[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def needed_bytes(command: Sequence[str], model: str) -> tuple[int, int]:
    """Packed weights, and the KV blocks that this answer fills."""
    done = subprocess.run([*command, "--json"], check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    report = json.loads(done.stdout)
    used = report["usage"]["prompt_tokens"] + report["usage"]["completion_tokens"]
    blocks = -(-used // KV_BLOCK_TOKENS)
    checkpoint = open_checkpoint(resolve(model, from_environment()).path)
    program = record(model_spec(checkpoint))
    checkpoint.close()
    need = memory(program, tokens=1, rows=1, weight_bits=4)
    return report["memory"]["weights_bytes"], blocks * KV_BLOCK_TOKENS * need.kv_bytes_per_token


@dataclass(frozen=True, slots=True)
class Size:
    """file_bytes: what the files hold. disk_bytes: what they occupy, in whole blocks of the file system."""

    file_bytes: int
    disk_bytes: int


def install_size(wheel: Path | None) -> Size:
    """What installing the core adds to a fresh environment. Builds the wheel when none is given."""
    with tempfile.TemporaryDirectory() as folder:
        venv = Path(folder) / "venv"
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        before = _size(venv)
        subprocess.run([str(venv / "bin" / "pip"), "install", "--quiet", str(wheel or ROOT)], check=True)
        after = _size(venv)
        return Size(after.file_bytes - before.file_bytes, after.disk_bytes - before.disk_bytes)


def _size(folder: Path) -> Size:
    """All files below; one with two names counts once."""
    seen = {(s.st_dev, s.st_ino): s for s in (path.lstat() for path in folder.rglob("*"))}
    files = sum(s.st_size for s in seen.values() if stat.S_ISREG(s.st_mode))
    return Size(files, sum(s.st_blocks * 512 for s in seen.values()))


def default_command() -> str:
    """The command of this interpreter's environment, else the one on the path."""
    own = Path(sysconfig.get_path("scripts")) / "wayra"
    return str(own) if own.exists() else shutil.which("wayra") or str(own)


@dataclass(frozen=True, slots=True)
class Figures:
    first_token_s: Spread
    rested_first_token_s: Spread
    help_s: Spread
    peak_mb: Spread
    steady_mb: Spread
    all_mb: Spread
    weights_mb: float
    kv_mb: float
    install: Size | None
    foreign_cores: float

    def rows(self) -> list[list[str]]:
        bound = self.weights_mb + self.kv_mb + ALLOWED_MB
        need = f"{self.weights_mb:.1f} weights + {self.kv_mb:.1f} KV + {ALLOWED_MB} = {bound:.0f} MB"
        rows = [
            ["process start to first token, s", self.first_token_s.shown(3), "0.4"],
            [f"the same after {REST_S:g} s of rest, s", self.rested_first_token_s.shown(3), "none set"],
            ["`wayra --help`, s", self.help_s.shown(3), "0.15"],
            ["resident after an answer, MB", self.steady_mb.shown(), need],
            ["its peak, MB", self.peak_mb.shown(), need],
            ["with its helper processes, MB (PSS)", self.all_mb.shown(), "none set"],
        ]
        if self.install is not None:
            rows.append(["installed core without torch, MB of files", f"{self.install.file_bytes / 1e6:.1f}", "150"])
            rows.append(["the same in blocks of the disk, MB", f"{self.install.disk_bytes / 1e6:.1f}", "none set"])
        return rows


def measure(args: argparse.Namespace) -> Figures:
    command = args.command.split()
    run = [*command, "run", "-m", args.model, "--max-tokens", str(ANSWER_TOKENS), PROMPT]
    weights_bytes, kv_bytes = needed_bytes(run, args.model)
    answer(run)
    wait_for_quiet(args.patience)
    meter = LoadMeter()
    answers = [answer(run) for _ in range(args.repeats)]
    rested = [rested_first_token_s(run) for _ in range(args.repeats)]
    helps = [wall_s([*command, "--help"]) for _ in range(args.repeats)]
    load = meter.read()
    return Figures(
        first_token_s=spread([a.first_byte_s for a in answers]),
        rested_first_token_s=spread(rested),
        help_s=spread(helps),
        peak_mb=spread([a.peak_bytes / 1e6 for a in answers]),
        steady_mb=spread([a.steady_bytes / 1e6 for a in answers]),
        all_mb=spread([a.all_bytes / 1e6 for a in answers]),
        weights_mb=weights_bytes / 1e6,
        kv_mb=kv_bytes / 1e6,
        install=install_size(args.wheel) if args.install else None,
        foreign_cores=load.foreign_cores + load.steal_cores,
    )


def json_line(figures: Figures, commit: str) -> str:
    told: dict[str, object] = {"benchmark": "start", "machine": describe_machine(), "wayra": commit}
    for name in Figures.__dataclass_fields__:
        value = getattr(figures, name)
        told[name] = value.as_json() if isinstance(value, Spread) else value
    told["install"] = figures.install and asdict(figures.install)
    return json.dumps(told)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--command", default=default_command(), help="the wayra command, with leading arguments")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--patience", type=float, default=0, metavar="SECONDS", help="wait so long for a quiet machine")
    parser.add_argument("--install", action="store_true", help="also install into a fresh environment; slow")
    parser.add_argument("--wheel", type=Path, help="install this wheel instead of building one")
    parser.add_argument("--write-docs", action="store_true", help=f"put the result into {DOCUMENT.name}")
    args = parser.parse_args()
    figures = measure(args)
    commit = describe_commit(ROOT)
    table = markdown_table([f"median of {args.repeats} (lowest–highest)", "measured", "at most"], figures.rows())
    noise = f"other processes used {figures.foreign_cores:.2f} cores meanwhile"
    print(f"machine  {describe_machine()}\nwayra    commit {commit}\nnoise    {noise}\n\n{table}\n")
    print(json_line(figures, commit))
    if args.write_docs:
        flags = " --install" if args.install else ""
        command = f"python benchmarks/start.py --repeats {args.repeats}{flags}"
        head = f"Measured {datetime.date.today().isoformat()} by `{command}`"
        write_section(DOCUMENT, "start", f"{head}, commit {commit}, {describe_machine()}; {noise}.\n\n{table}")


if __name__ == "__main__":
    main()
