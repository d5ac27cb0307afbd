"""What a reliability script found beside what must hold: printed, as JSON, and as a section of the document."""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from measuring.figures import markdown_table, write_section
from measuring.machine import LoadMeter, describe_commit, describe_machine

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "reliability.md"


@dataclass(frozen=True, slots=True)
class Check:
    """goal: "" for a figure of which nothing is demanded."""

    what: str
    found: str
    goal: str = ""
    passed: bool = True

    def shown(self) -> list[str]:
        return [self.what, self.found, self.goal, "" if not self.goal else "yes" if self.passed else "**no**"]


@dataclass(slots=True)
class Verdict:
    """Checks in the order in which they are told."""

    checks: list[Check] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return bool(self.checks) and all(check.passed for check in self.checks)

    def at_most(self, what: str, value: float, limit: float, unit: str) -> None:
        self._add(Check(what, _shown(value, unit), f"at most {_shown(limit, unit)}", value <= limit))

    def at_least(self, what: str, value: float, limit: float, unit: str) -> None:
        self._add(Check(what, _shown(value, unit), f"at least {_shown(limit, unit)}", value >= limit))

    def equal(self, what: str, found: object, expected: object) -> None:
        self._add(Check(what, _plain(found), _plain(expected), found == expected))

    def among(self, what: str, found: object, goal: str, holds: bool) -> None:
        """For goals that words tell better."""
        self._add(Check(what, _plain(found), goal, holds))

    def figure(self, what: str, value: object, unit: str = "") -> None:
        """Nothing is demanded of it."""
        self._add(Check(what, _shown(value, unit) if isinstance(value, int | float) else _plain(value)))

    def _add(self, check: Check) -> None:
        self.checks.append(check)
        mark = "" if not check.goal else "ok" if check.passed else "FAILED"
        print(f"  {check.what}: {check.found}" + (f" ({check.goal}) {mark}" if check.goal else ""), flush=True)


def run(
    script: str,
    about: str | None,
    measure: Callable[[argparse.Namespace, Verdict], None],
    add_options: Callable[[argparse.ArgumentParser], None] | None = None,
) -> None:
    """A script's main: measure, print, write; exits with 1 when something does not hold.

    script: its name, and that of its section in the document. measure: starts and ends its servers itself.
    """
    parser = argparse.ArgumentParser(description=(about or "").partition("\n")[0])
    parser.add_argument("--model", default="smollm2", help="any name wayra takes")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of the engine")
    parser.add_argument("--write-docs", action="store_true", help=f"put the result into {DOCUMENT.name}")
    if add_options is not None:
        add_options(parser)
    args = parser.parse_args()
    # As an exception, so that no server is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    print(f"{script}: {(about or '').partition(chr(10))[0]}", flush=True)
    verdict, meter, began = Verdict(), LoadMeter(), time.perf_counter()
    measure(args, verdict)
    load, wall_s = meter.read(), time.perf_counter() - began
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    options = [word for word in sys.argv[1:] if word != "--write-docs"]
    head = {
        "command": " ".join(["python", f"benchmarks/reliability/{script}.py", *options]),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commit": describe_commit(ROOT),
        "machine": describe_machine(),
        "load": f"{wall_s:,.0f} s at nice {nice}; other processes used {load.foreign_cores:.2f} cores meanwhile, "
        f"the hypervisor took {load.steal_cores:.2f}",
    }
    facts = {"reliability": script, "passed": verdict.passed, **head}
    print(json.dumps({**facts, "checks": [asdict(check) for check in verdict.checks]}), flush=True)
    if args.write_docs:
        table = markdown_table(["", "found", "must hold", "holds"], [check.shown() for check in verdict.checks])
        command, commit = f"`{head['command']}`", f"commit {head['commit']}"
        told = "; ".join((command, head["date"], commit, head["machine"], head["load"]))
        write_section(DOCUMENT, script, f"{told}.\n\n{table}")
    sys.exit(0 if verdict.passed else 1)


def _shown(value: float, unit: str) -> str:
    number = f"{value:,.3g}" if abs(value) < 100 and value != int(value) else f"{value:,.0f}"
    return f"{number} {unit}".strip()


def _plain(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
