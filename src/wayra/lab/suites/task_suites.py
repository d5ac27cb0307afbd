"""The tasks written for wayra as suites: `task:NAME` is one of them, `tasks` all."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from wayra.base.errors import InvalidParameter
from wayra.lab.items import Item
from wayra.lab.suites.api import Suite
from wayra.lab.suites.fields import BadRow
from wayra.lab.suites.rows import Row
from wayra.lab.tasks import Task, find_task, tasks

ALL = "tasks"
PREFIX = "task:"


def expanded(names: Sequence[str]) -> tuple[str, ...]:
    """Names of suites, with `tasks` replaced by each of them."""
    found: list[str] = []
    for name in names:
        found += [suite_name(task) for task in tasks()] if name == ALL else [name]
    return tuple(dict.fromkeys(found)) if ALL in names else tuple(found)


def suite_name(task: Task) -> str:
    return f"{PREFIX}{task.name}"


def task_of(suite: str) -> Task:
    """Raises InvalidParameter when it is no task's suite."""
    if not suite.startswith(PREFIX):
        raise InvalidParameter(f"{suite[:80]!r} is no task; tasks are named {PREFIX}NAME")
    return find_task(suite.removeprefix(PREFIX))


def task_suite(name: str) -> Suite:
    """Raises InvalidParameter for a task nobody knows."""
    task = task_of(name)

    def write(seed: int) -> Iterator[Item]:
        for item in task.items(seed):
            yield replace(item, suite=name)

    return Suite(name, task.title, "task", _no_rows, write=write, shot_splits=())


def _no_rows(_row: Row) -> Item:
    raise BadRow("tasks are made from a seed, not read from files")
