"""Runs a task of Inspect against a server's OpenAI API and keeps its log as a run; or reads a log that is there.

Inspect is a program of its own with sandboxes and agents of its own: it is started, never imported.
"""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from wayra.base.errors import DataError, InvalidParameter
from wayra.base.settings import child_environment
from wayra.lab.harness.inspect_words import MAX_WORDS, Words, with_advice
from wayra.lab.harness.summary import mean_figure
from wayra.lab.runs import RunWriter
from wayra.lab.runs.stored_run import Run
from wayra.lab.runs.summary import Figure, Summary

INSTALL = "pip install 'wayra[inspect]'"
GRADES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
"""Inspect's letters: correct, partial, incorrect, no answer."""
MAX_LOG_BYTES = 4 * 1024**3
MAX_RETRIES = 5
"""Inspect itself asks a server that has gone for ever; what stands after -- may say another number."""
BROKEN = "broken_tasks"
"""The fact of a run that says which tasks Inspect did not finish, and why."""
WORDS_NAME = "inspect_stderr.txt"
LAST_WORDS_S = 30.0
"""For Inspect to write its log after Ctrl-C, which reaches it too."""
OURS = ("--model", "--model-base-url", "--log-dir", "--log-format")
"""Options of Inspect's that say what wayra's own command line says."""
DEFINITIONS = {
    "scores": "Of Inspect's scorers: the mean over samples, epochs of one averaged first; C counts 1, P one half, I "
    "and N 0. Wilson's interval where each is right or wrong, else samples resampled.",
    "failed": "samples that ended with an error; in no other figure",
}


@dataclass(frozen=True, slots=True)
class InspectSettings:
    """target: as given. tasks: what `inspect eval` takes: a file.py, file.py@task or package/task. limit: samples.

    arguments: for Inspect as they stand (--sandbox local, -T split=lite).
    """

    target: str
    tasks: tuple[str, ...]
    limit: int | None = None
    arguments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.tasks:
            raise InvalidParameter("no task of Inspect is named; give --suite TASK, such as inspect_evals/swe_bench")
        if any(task.startswith("-") for task in self.tasks):
            raise InvalidParameter("a task of Inspect begins with a dash; options go after --")
        for argument in self.arguments:
            name = argument.partition("=")[0]
            if name in OURS:
                raise InvalidParameter(f"{name} is what wayra itself tells Inspect; leave it out")
            if "api_key" in argument or "api-key" in argument:
                raise InvalidParameter("a key would be kept in the run's record; give it with --key-env or --key-file")


def check(chosen: InspectSettings) -> None:
    """Raises DataError saying what to install, or which task's file is not there."""
    if importlib.util.find_spec("inspect_ai") is None:
        raise DataError(f"--via inspect needs Inspect, which is not installed: {INSTALL}")
    for task in chosen.tasks:
        _task_argument(task)


def command_of(chosen: InspectSettings, url: str, model: str, logs: Path) -> list[str]:
    """`inspect eval` against the API at url."""
    limit = [] if chosen.limit is None else ["--limit", str(chosen.limit)]
    return [
        sys.executable, "-m", "inspect_ai", "eval", *map(_task_argument, chosen.tasks),
        "--model", f"openai-api/wayra/{model}",
        "--model-base-url", url, "--log-dir", str(logs), "--log-format", "json",
        "--max-retries", str(MAX_RETRIES), *limit, *chosen.arguments,
    ]  # fmt: skip


def run_inspect(chosen: InspectSettings, url: str, model: str, key: str | None, run: RunWriter) -> None:
    """Ask all tasks; append each sample of Inspect's logs, also of those that Ctrl-C ended. Inspect writes to this
    terminal.

    Raises DataError when Inspect ends with an error or leaves no log.
    """
    logs = run.path / "inspect"
    # Its client wants a key, even where the server wants none.
    environment = child_environment(WAYRA_API_KEY=key or "none")
    command = command_of(chosen, url, model, logs)
    with subprocess.Popen(command, env=environment, stdout=sys.stderr, stderr=subprocess.PIPE) as inspect:
        words = Words(cast(BinaryIO, inspect.stderr), run.path / WORDS_NAME)
        try:
            inspect.wait()
        except KeyboardInterrupt:
            _end(inspect)
            _append_logs(logs, run)
            raise
        finally:
            words.join()
    num_logs = _append_logs(logs, run)
    if inspect.returncode or not num_logs:
        why = with_advice(words.error) or "its words are above"
        raise DataError(f"Inspect ended with exit code {inspect.returncode} and {num_logs} logs: {why}")
    # It may end well although a task did not.
    broken = run.header.facts.get(BROKEN)
    if isinstance(broken, Mapping) and broken:
        raise DataError(
            "; ".join(f"Inspect did not finish {task}: {with_advice(str(why))}" for task, why in broken.items())
        )


def _task_argument(task: str) -> str:
    """Inspect looks for files below the folder it runs in and knows no absolute paths: those are told from there.

    Raises DataError when the file is not there.
    """
    name, at, part = task.partition("@")
    path = Path(name).expanduser()
    if path.suffix == ".py" and not path.is_file():
        raise DataError(f"there is no file {name}; --suite takes FILE.py, FILE.py@TASK or PACKAGE/TASK")
    return f"{os.path.relpath(path)}{at}{part}" if path.is_absolute() else task


def _end(inspect: "subprocess.Popen[bytes]") -> None:
    try:
        inspect.wait(LAST_WORDS_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        inspect.kill()


def _append_logs(folder: Path, run: RunWriter) -> int:
    """How many logs there are."""
    found = sorted(folder.glob("*.json")) if folder.is_dir() else []
    for log in found:
        append_log(log, run)
    return len(found)


def append_log(path: Path, run: RunWriter) -> None:
    """Each sample of one of Inspect's JSON logs. Raises DataError when it is none."""
    try:
        if path.stat().st_size > MAX_LOG_BYTES:
            raise DataError(f"{path} has more than {MAX_LOG_BYTES:,} bytes")
        log = msgspec.json.decode(path.read_bytes(), type=dict[str, object])
        header = cast(Mapping[str, object], log["eval"])
        task = str(header["task"])
        samples = cast(Sequence[Mapping[str, object]], log.get("samples") or [])
        for sample in samples:
            run.append(_line(task, sample))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} is no JSON log of Inspect: {type(error).__name__}: {error}") from error
    results = log.get("results")
    known = cast(Mapping[str, object], run.header.facts.get("results") or {})
    broken = cast(Mapping[str, object], run.header.facts.get(BROKEN) or {})
    if log.get("status") not in (None, "success"):
        broken = {**broken, task: _message(log.get("error")) or f"its log says {log['status']}"}
    run.set_facts(results={**known, task: results}, **{BROKEN: broken})


def _message(error: object) -> str:
    """Of an error as Inspect writes it; its first line."""
    words = cast(Mapping[str, object], error).get("message") if isinstance(error, Mapping) else error
    return str(words or "").strip().partition("\n")[0][:MAX_WORDS]


def _line(task: str, sample: Mapping[str, object]) -> dict[str, object]:
    scores = cast(Mapping[str, Mapping[str, object]], sample.get("scores") or {})
    output = cast(Mapping[str, object], sample.get("output") or {})
    return {
        "key": f"{task}/{sample['id']}/{sample.get('epoch', 1)}",
        "task": task,
        "input": sample.get("input"),
        "target": sample.get("target"),
        "text": output.get("completion"),
        "usage": sample.get("model_usage"),
        "error": sample.get("error"),
        "scores": {
            name: {part: score.get(part) for part in ("value", "answer", "explanation")}
            for name, score in scores.items()
        },
    }


def summarise(run: Run) -> Summary:
    """Each scorer's mean over samples, epochs of one sample averaged first."""
    values: dict[str, dict[str, dict[str, list[float]]]] = {}
    failed: dict[str, list[str]] = {}
    for record in run.records():
        task, item = str(record.get("task")), str(record.get("key")).rpartition("/")[0]
        if record.get("error") is not None:
            failed.setdefault(task, []).append(_message(record["error"]))
        scores = record.get("scores")
        for name, score in scores.items() if isinstance(scores, dict) else ():
            for label, value in _numbers(str(name), score):
                values.setdefault(task, {}).setdefault(label, {}).setdefault(item, []).append(value)
    figures: list[Figure] = []
    for task, by_name in values.items():
        for name, by_item in by_name.items():
            means = [sum(found) / len(found) for found in by_item.values()]
            figures.append(mean_figure(name, means, task))
    terms = {f.name: f"{DEFINITIONS['scores']} This one: {f.name}." for f in figures}
    figures += [
        Figure("failed", len(words), group=task, higher_is_better=False, why=f"the first: {words[0]}")
        for task, words in failed.items()
    ]
    return Summary(tuple(figures), {**terms, "failed": DEFINITIONS["failed"]})


def _numbers(name: str, score: object) -> list[tuple[str, float]]:
    """A score may be a letter, a number, a truth or several of them by name."""
    value = cast(Mapping[str, object], score).get("value") if isinstance(score, Mapping) else None
    if isinstance(value, Mapping):
        parts = cast(Mapping[str, object], value).items()
        return [pair for part, one in parts for pair in _numbers(f"{name}_{part}", {"value": one})]
    if isinstance(value, str):
        return [(name, GRADES[value])] if value in GRADES else []
    return [(name, float(value))] if isinstance(value, int | float) else []
