"""Runs EleutherAI's harness on a model of ours and keeps what it found as a run, with every sample."""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wayra.base.errors import DataError, InvalidParameter, WayraError
from wayra.lab.harness.unreachable import wants_hub

if TYPE_CHECKING:
    from wayra.lab.harness.lm_eval_model import OnDone
    from wayra.lab.runs import RunWriter
    from wayra.llm import LLM

INSTALL = "pip install 'wayra[lm-eval]'"
WITHOUT_HUB = (
    "its questions come from the hub, which cannot be reached: run it once where it can be and bring HF_HOME, name a "
    "task file of your own in --data FOLDER, or ask wayra's own suite of that name, which reads files"
)
KEPT_OF_A_SAMPLE = ("doc_id", "target", "arguments", "filtered_resps", "filter", "doc_hash", "prompt_hash")


@dataclass(frozen=True, slots=True)
class HarnessSettings:
    """target: the model. tasks: names the harness knows, or paths of its YAML files. include_path: a folder of more.

    limit: the first so many questions of each task. num_shots: None takes each task's.
    """

    target: str
    tasks: tuple[str, ...]
    include_path: str | None = None
    limit: int | None = None
    num_shots: int | None = None
    uses_chat: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.tasks:
            raise InvalidParameter("no task of the harness is named; give --suite NAME[,NAME]")
        if self.include_path is not None and not Path(self.include_path).is_dir():
            raise InvalidParameter(f"{self.include_path[:200]!r} is no folder; --data takes one of the harness's tasks")


def check_installed() -> None:
    """Raises DataError saying what to install."""
    if importlib.util.find_spec("lm_eval") is None:
        raise DataError(f"--via lm-eval needs EleutherAI's harness, which is not installed: {INSTALL}")


def run_harness(llm: "LLM", chosen: HarnessSettings, run: "RunWriter", on_done: "OnDone | None" = None) -> None:
    """Ask all tasks; append each sample to the run, and keep the harness's own results as facts.

    Raises DataError when the harness cannot get a task's questions or knows no such task.
    """
    from lm_eval import evaluator  # pyright: ignore[reportMissingImports]
    from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports]

    from wayra.lab.harness.lm_eval_model import WayraLM

    model: Any = WayraLM(llm, on_done)
    try:
        manager = TaskManager(include_path=chosen.include_path)
        found: Any = evaluator.simple_evaluate(
            model=model,
            tasks=list(chosen.tasks),
            task_manager=manager,
            num_fewshot=chosen.num_shots,
            limit=chosen.limit,
            apply_chat_template=chosen.uses_chat,
            log_samples=True,
            bootstrap_iters=0,
            random_seed=chosen.seed,
        )
    except WayraError:
        raise
    except Exception as error:  # the harness and its data library raise what they like
        raise DataError(f"the harness could not run {', '.join(chosen.tasks)}: {_told(error)}") from error
    for task, samples in found["samples"].items():
        for sample in samples:
            run.append(_line(task, sample))
    run.set_facts(results=_plain(found["results"]), task_versions=_plain(found.get("versions", {})))


def _told(error: Exception) -> str:
    words = f"{type(error).__name__}: {error!s:.300}"
    return f"{words}; {WITHOUT_HUB}" if wants_hub(f"{type(error).__module__} {words}") else words


def _line(task: str, sample: Mapping[str, Any]) -> dict[str, object]:
    metrics = {name: sample[name] for name in sample.get("metrics", ()) if name in sample}
    filtered = str(sample.get("filter", "none"))
    kept = {name: sample[name] for name in KEPT_OF_A_SAMPLE if name in sample}
    plain = _plain({**kept, "metrics": metrics, "answers": sample.get("resps")})
    return {"key": f"{task}/{sample['doc_id']}/{filtered}", "task": task, **(plain if isinstance(plain, dict) else {})}


def _plain(value: object) -> Any:
    """As JSON can hold it: arrays as lists, what has no such form as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if hasattr(value, "tolist"):  # NumPy's numbers pass for Python's, and JSON does not know them
        return _plain(value.tolist())  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    if isinstance(value, Sequence | set | frozenset):
        return [_plain(one) for one in value]
    return str(value)
