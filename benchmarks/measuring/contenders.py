"""What takes part in the comparison of engines: one call, `rate(workload)` in tokens per second, whatever is behind."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from measuring.pipe import Worker, WorkerError

DECODE_TOKENS = 128
BATCH_PROMPT_LEN, BATCH_TOKENS = 32, 64
FIRST_PROMPT_LEN = 8
"""Of decode "at 0": no engine decodes after nothing."""
TIMEOUT_S = 1800


@dataclass(frozen=True, slots=True)
class Workload:
    """size: tokens of the prompt (prefill), tokens before the answer (decode), sequences (batch)."""

    kind: Literal["prefill", "decode", "batch"]
    size: int

    @property
    def key(self) -> str:
        return {"prefill": "pp", "decode": "d", "batch": "b"}[self.kind] + str(self.size)

    @property
    def title(self) -> str:
        return {"prefill": "prefill", "decode": "decode at", "batch": "batched decode"}[self.kind] + f" {self.size:,}"


def workload_named(key: str) -> Workload:
    """ "pp512", "d2048", "b16". Raises ValueError."""
    kinds: dict[str, Literal["prefill", "decode", "batch"]] = {"pp": "prefill", "d": "decode", "b": "batch"}
    letters = key.rstrip("0123456789")
    digits = key[len(letters) :]
    if letters not in kinds or not digits or (letters != "d" and int(digits) == 0):
        raise ValueError(f"{key!r} is no workload; expected such as pp512, d2048 or b16")
    return Workload(kinds[letters], int(digits))


class Contender(Protocol):
    """pids: processes that are its own, whose load is no disturbance. resident_mb: None where it cannot be read."""

    name: str
    version: str
    pids: tuple[int, ...]
    first_token_s: float | None

    def rate(self, workload: Workload) -> float: ...
    def resident_mb(self) -> float | None: ...
    def close(self) -> None: ...


class _InWorker:
    """An engine in a worker. first_token_s: process start to the end of a short prompt's prefill."""

    def __init__(self, name: str, python: str, engine: str, config: Mapping[str, Any]) -> None:
        self.name = name
        started = time.perf_counter()
        self._worker = Worker(python, engine, config)
        self.pids = (self._worker.pid,)
        facts = self._worker.facts
        self.version = str(facts.get("version") or f"{facts.get('isa')}, {facts.get('settings')}")
        self._rng = np.random.default_rng(0)
        self._seconds_to_prefill(FIRST_PROMPT_LEN)
        self.first_token_s = time.perf_counter() - started

    def _prompts(self, count: int, length: int) -> list[list[int]]:
        """New ones each time, so that no cache of prefixes helps."""
        return [[int(i) for i in self._rng.integers(100, 40_000, length)] for _ in range(count)]

    def _seconds_to_prefill(self, length: int) -> float:
        raise NotImplementedError

    def resident_mb(self) -> float | None:
        return resident_mb(self._worker.pid)

    def close(self) -> None:
        self._worker.close()


class StepContender(_InWorker):
    """wayra, and llama.cpp through its C interface: steps are timed inside the worker."""

    def _seconds_to_prefill(self, length: int) -> float:
        return self._worker.ask("prefill", token_ids=self._prompts(1, length)[0])

    def rate(self, workload: Workload) -> float:
        if workload.kind == "prefill":
            return workload.size / self._seconds_to_prefill(workload.size)
        if workload.kind == "decode":
            prompt = self._prompts(1, max(workload.size, FIRST_PROMPT_LEN))[0]
            answer = self._prompts(1, DECODE_TOKENS)[0]
            return DECODE_TOKENS / self._worker.ask("decode", prompt_ids=prompt, token_ids=answer)
        prompts = self._prompts(workload.size, BATCH_PROMPT_LEN)
        return workload.size * BATCH_TOKENS / self._worker.ask("batched", prompts=prompts, num_tokens=BATCH_TOKENS)


class GenerateContender(_InWorker):
    """An engine that only generates: decode is the difference between long and short answers."""

    def _seconds_to_prefill(self, length: int) -> float:
        return self._seconds(1, length, 1)

    def _seconds(self, count: int, length: int, answer: int) -> float:
        return self._worker.ask("generate", prompts=self._prompts(count, length), count=answer)

    def rate(self, workload: Workload) -> float:
        if workload.kind == "prefill":
            return workload.size / self._seconds(1, workload.size, 1)
        count, length, answer = 1, max(workload.size, FIRST_PROMPT_LEN), DECODE_TOKENS
        if workload.kind == "batch":
            count, length, answer = workload.size, BATCH_PROMPT_LEN, BATCH_TOKENS
        first_s = self._seconds(count, length, 1)
        rest_s = self._seconds(count, length, answer + 1) - first_s
        if rest_s <= 0:
            raise WorkerError(f"{self.name}: {answer} tokens took no longer than one; the machine is too noisy")
        return count * answer / rest_s


BATCHED_COLUMNS = ("PP", "TG", "B", "N_KV", "T_PP", "S_PP", "T_TG", "S_TG", "T", "S")  # of its table


class BinaryContender:
    """llama-bench and llama-batched-bench of a folder; a process a workload, so its start is not timed.

    Those of ik_llama are told by their options: they repack the weights while loading, which is asked for, and have
    other words for the depth and no JSON of batches.
    """

    def __init__(self, name: str, folder: Path, model: Path, threads: int) -> None:
        self.name, self._folder, self._model, self._threads = name, folder, model, threads
        self.pids, self.first_token_s = (), None
        if not (folder / "llama-bench").is_file():
            raise WorkerError(f"{name}: no llama-bench in {folder}")
        self._repacks = "--run-time-repack" in self._run("llama-bench", ["--help"])
        self.version = "llama-bench" + (", weights repacked" if self._repacks else "")

    def rate(self, workload: Workload) -> float:
        common = ["-m", str(self._model), "-t", str(self._threads)]
        if workload.kind == "batch":
            room = workload.size * (BATCH_PROMPT_LEN + BATCH_TOKENS) + 64
            sizes = ["-npp", str(BATCH_PROMPT_LEN), "-ntg", str(BATCH_TOKENS), "-npl", str(workload.size)]
            form = ["-rtr"] if self._repacks else ["--output-format", "jsonl"]
            return batched_bench_rate(self._run("llama-batched-bench", [*common, "-c", str(room), *sizes, *form]))
        prompt, answer = (workload.size, 0) if workload.kind == "prefill" else (0, DECODE_TOKENS)
        depth = workload.size if workload.kind == "decode" else 0
        if self._repacks:
            deep = ["-p", "0", "-n", "0", "-gp", f"{depth},{answer}"]
            sizes = ["-rtr", "1", *(deep if depth else ["-p", str(prompt), "-n", str(answer)])]
        else:
            sizes = ["-p", str(prompt), "-n", str(answer), "-d", str(depth)]
        return bench_rate(self._run("llama-bench", [*common, "-r", "1", *sizes, "-o", "json"]))

    def _run(self, program: str, args: list[str]) -> str:
        """What it printed; ik_llama's tables are on standard error."""
        command = [str(self._folder / program), *args]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            raise WorkerError(f"{self.name}: {program} failed: {error}") from None
        return done.stdout or done.stderr

    def resident_mb(self) -> float | None:
        return None

    def close(self) -> None:
        return None


def bench_rate(told: str) -> float:
    """Of the one test that llama-bench ran. Raises WorkerError."""
    try:
        (test,) = json.loads(told)
        return float(test["avg_ts"])
    except (ValueError, KeyError, TypeError) as error:
        raise WorkerError(f"llama-bench said {told[:200]!r} ({error})") from None


def batched_bench_rate(told: str) -> float:
    """Tokens generated a second, of the last line that is an object or a row of the table. Raises WorkerError."""
    for line in reversed(told.splitlines()):
        if line.startswith("{"):
            found = json.loads(line)
            if "speed_tg" in found:
                return float(found["speed_tg"])
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == len(BATCHED_COLUMNS) and cells[0].isdigit():
            return float(cells[BATCHED_COLUMNS.index("S_TG")])
    raise WorkerError(f"llama-batched-bench said {told[-200:]!r}")


def resident_mb(pid: int) -> float | None:
    """What the process holds in memory now, from /proc."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    found = next((line for line in lines if line.startswith("VmRSS:")), None)
    return None if found is None else int(found.split()[1]) * 1024 / 1e6


def wayra_contender(model: Path, threads: int, context_len: int, max_batch: int) -> StepContender:
    config = {"path": str(model), "threads": threads, "context_len": context_len, "max_rows": max_batch}
    return StepContender("wayra", sys.executable, "wayra_batches", config)
