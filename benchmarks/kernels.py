"""Each operation of a kernel library alone on one thread, beside what one core of this machine allows.

python benchmarks/kernels.py

Needs g++ and a checkout. Thread CPU time, the least of repetitions in which all operations take turns; the limits are
measured among them: products in registers, reading 96 MiB. Peaks are those of the machine's widest instructions, so the
shares of a narrower library (--isa avx2) are of what it does not use. Ends in one line of JSON.
--limits FILE writes limits for all cores as `wayra profile --limits` reads them: those of one core times the cores. For
reading memory that is an upper bound, since cores share it.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from measuring.figures import markdown_table, write_section
from measuring.machine import describe_commit, describe_machine

from wayra.backends.native.isa import choose_isa
from wayra.base.errors import WayraError

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "benchmarks.md"
SOURCES = (
    ROOT / "benchmarks" / "measuring" / "kernels.cpp",
    ROOT / "csrc" / "core" / "formats.cpp",
    ROOT / "csrc" / "core" / "cpus.cpp",
)


@dataclass(frozen=True, slots=True)
class KernelTime:
    """of_limit: of the stricter of its limits; None for operations without products."""

    name: str
    microseconds: float
    gop_s: float
    gb_s: float
    of_limit: float | None


def judged(lines: Sequence[Mapping[str, object]]) -> tuple[dict[str, float], list[KernelTime]]:
    """The limits (G a second, by unit), and every operation against them, from the driver's lines."""
    limits: dict[str, float] = {}
    found: list[KernelTime] = []
    for line in lines:
        name, unit, seconds = str(line["name"]), str(line["unit"]), float(str(line["seconds"]))
        ops, moved_bytes = float(str(line["ops"])), float(str(line["bytes"]))
        if name.startswith("limit "):
            limits[name.removeprefix("limit ")] = max(ops, moved_bytes) / seconds / 1e9
            continue
        least_s = max(ops / limits[unit], moved_bytes / limits["read"]) / 1e9 if unit in limits else None
        rates = (ops / seconds / 1e9, moved_bytes / seconds / 1e9)
        found.append(KernelTime(name, seconds * 1e6, *rates, None if least_s is None else least_s / seconds))
    return limits, found


def measure(library: Path, repeats: int) -> list[dict[str, object]]:
    """Raises CalledProcessError or FileNotFoundError."""
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder) / "kernels")
        build = ["g++", "-O3", "-march=native", "-std=c++20", f"-I{ROOT / 'csrc'}", *map(str, SOURCES), "-ldl"]
        subprocess.run([*build, "-o", program], check=True, capture_output=True, text=True)
        done = subprocess.run([program, str(library), str(repeats)], check=True, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--isa", help="whose library; default: the best of this machine")
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--limits", type=Path, metavar="FILE", help="write the limits there")
    parser.add_argument("--write", action="store_true", help=f"put the table into {DOCUMENT.name}")
    args = parser.parse_args()
    try:
        choice = choose_isa(args.isa)
        limits, found = judged(measure(choice.kernels, args.repeats))
    except subprocess.CalledProcessError as error:
        sys.exit(f"kernels: {error}\n{error.stderr}")
    except (FileNotFoundError, WayraError) as error:
        sys.exit(f"kernels: {error}")
    told = ", ".join(f"{name} {rate:,.1f}" for name, rate in limits.items())
    rows = [
        [k.name, f"{k.microseconds:,.1f}", f"{k.gop_s:,.1f}", f"{k.gb_s:,.1f}",
         "" if k.of_limit is None else f"{k.of_limit:.0%}"] for k in found
    ]  # fmt: skip
    table = markdown_table(["one thread", "µs", "Gop/s", "GB/s", "of limit"], rows)
    head = (
        f"{describe_machine()}; {choice.isa}, commit {describe_commit(ROOT)}; limits of a core in Gop/s, GB/s: {told}"
    )
    facts = {"machine": describe_machine(), "wayra": describe_commit(ROOT), "isa": choice.isa, "limits": limits}
    print(head, "", table, "", sep="\n")
    print(json.dumps({"benchmark": "kernels", **facts, "kernels": [asdict(k) for k in found]}))
    if args.limits:
        cores = len(os.sched_getaffinity(0))
        names = {"int8": "int8_gop_s", "bf16": "bf16_gop_s", "f32": "f32_gop_s", "read": "read_gb_s"}
        args.limits.write_text(json.dumps({names[unit]: rate * cores for unit, rate in limits.items()}) + "\n")
    if args.write:
        today = datetime.date.today().isoformat()
        write_section(DOCUMENT, "kernels", f"Measured {today} by `python benchmarks/kernels.py`: {head}\n\n{table}")


if __name__ == "__main__":
    main()
