"""What a chat loses while somebody moves a slider of the planner's page, and what the page waits for its plans.

One streamed chat after another, quiet and disturbed in turn: each disturbed stretch is compared with the quiet ones
beside it, since a machine that others use changes its speed meanwhile. Planning is what the page asks: a plan of a new
prompt length, one option of it, and the next.
Prints figures and one line of JSON.
"""

import argparse
import http.client
import itertools
import json
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from measuring.http_wire import Address
from measuring.machine import describe_commit, describe_machine
from measuring.server_process import ServerProcess

ROOT = Path(__file__).resolve().parents[1]
STRETCH_S = 0.8
LEAST_PIECES = 10
PAUSE_S = 0.06
"""The page waits so long for more changes."""
CHAT = {
    "messages": [{"role": "user", "content": "Tell a long story."}],
    "stream": True,
    "max_tokens": 1800,
    "ignore_eos": True,
    "temperature": 0,
}
WORK = {
    "limits": {"latency_p95_s": 10},
    "quality": {"mmlu": 80},
    "budget": {"usd_per_month": 2000, "upfront_usd": 8000},
}


@dataclass(frozen=True, slots=True)
class Stretch:
    """gaps_s: between one piece of an answer and the next."""

    gaps_s: Sequence[float]

    @property
    def tok_per_s(self) -> float:
        return len(self.gaps_s) / sum(self.gaps_s)


class Chatting(threading.Thread):
    """Streams answers until it is told to stop. times: of each piece; None where an answer begins."""

    def __init__(self, address: Address) -> None:
        super().__init__()
        self._address = address
        self._stopped = threading.Event()
        self.times: list[float | None] = []

    def run(self) -> None:
        while not self._stopped.is_set():
            self.times.append(None)
            connection = _connect(self._address)
            connection.request("POST", "/v1/chat/completions", json.dumps(CHAT), {"content-type": "application/json"})
            answer = connection.getresponse()
            while (line := answer.readline()) and not self._stopped.is_set():
                if b'"content":"' in line:
                    self.times.append(time.perf_counter())
            connection.close()

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def stretch(self) -> Stretch:
        """What comes in the next moments, and until there is something to count."""
        start = len(self.times)
        time.sleep(STRETCH_S)
        while len(self.times) - start < LEAST_PIECES:
            time.sleep(PAUSE_S)
        seen = self.times[start:]
        pairs = itertools.pairwise(seen)
        return Stretch([after - before for before, after in pairs if before is not None and after is not None])


class Sliding(threading.Thread):
    """Asks as the page does while a slider moves, until it is told to stop. took_s: of each plan, as the page waits."""

    def __init__(self, address: Address, first: int) -> None:
        super().__init__()
        self._address = address
        self._stopped = threading.Event()
        self._tokens = first
        self.took_s: list[float] = []

    def run(self) -> None:
        connection = _connect(self._address)
        while not self._stopped.is_set():
            self._tokens += 1
            traffic = {"input_tokens": self._tokens, "output_tokens": 250, "requests_per_month": 100_000}
            work = {**WORK, "traffic": traffic}
            began = time.perf_counter()
            _post(connection, "/plan/weigh", {"workload": work})
            self.took_s.append(time.perf_counter() - began)
            _post(connection, "/plan/explain", {"workload": work, "option": "o0"})
            time.sleep(PAUSE_S)
        connection.close()

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def _connect(address: Address) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(address.host, address.port, timeout=300)


def _post(connection: http.client.HTTPConnection, path: str, body: object) -> None:
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    said = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{path}: {answer.status} {said[:200]!r}")


def percentile_ms(stretches: Sequence[Stretch], share: float) -> float:
    gaps = sorted(gap for stretch in stretches for gap in stretch.gaps_s)
    return 1e3 * gaps[min(len(gaps) - 1, int(share * len(gaps)))]


@dataclass(frozen=True, slots=True)
class Found:
    quiet: Sequence[Stretch]
    disturbed: Sequence[Stretch]
    plans_s: Sequence[float]

    @property
    def kept(self) -> list[float]:
        """Speed of each disturbed stretch by the mean of those beside it, sorted."""
        beside = zip(self.disturbed, self.quiet, self.quiet[1:], strict=False)
        return sorted(one.tok_per_s / ((old.tok_per_s + new.tok_per_s) / 2) for one, old, new in beside)


def measure(address: Address, rounds: int) -> Found:
    """Quiet, disturbed, quiet and so on; ends quiet."""
    warm = Sliding(address, 700)
    warm.start()
    warm.stop()
    chat = Chatting(address)
    chat.start()
    chat.stretch()
    quiet, disturbed, plans_s = [chat.stretch()], list[Stretch](), list[float]()
    for number in range(rounds):
        sliding = Sliding(address, 800 + 100 * number)
        sliding.start()
        disturbed.append(chat.stretch())
        sliding.stop()
        plans_s += sliding.took_s
        quiet.append(chat.stretch())
    chat.stop()
    return Found(quiet, disturbed, plans_s)


def figures_of(stretches: Sequence[Stretch]) -> dict[str, float]:
    speed = statistics.median(stretch.tok_per_s for stretch in stretches)
    return {
        "tok_per_s": speed,
        **{f"p{100 * share:.0f}_ms": percentile_ms(stretches, share) for share in (0.5, 0.95, 0.99)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--rounds", type=int, default=30)
    args = parser.parse_args()
    with ServerProcess([args.model, "--context", "2048"]) as server:
        found = measure(server.address, args.rounds)
    kept, plans_s = found.kept, sorted(found.plans_s)
    told = {
        "quiet": figures_of(found.quiet),
        "disturbed": figures_of(found.disturbed),
        "kept": {"median": statistics.median(kept), "least": kept[0], "most": kept[-1]},
        "plan_s": {"median": statistics.median(plans_s), "longest": plans_s[-1], "plans": len(plans_s)},
    }
    print(f"{describe_machine()}, commit {describe_commit(ROOT)}, {args.rounds} rounds")
    for name, figures in told.items():
        print(f"{name:9}  " + "  ".join(f"{key} {value:.2f}" for key, value in figures.items()))
    print(json.dumps(told))


if __name__ == "__main__":
    main()
