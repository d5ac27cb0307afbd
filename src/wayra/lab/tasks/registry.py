"""All tasks, in the order in which they are asked and shown."""

from wayra.base.errors import InvalidParameter
from wayra.lab.tasks import analysis, bug_fix, functions, instructions, maths, reasoning, review, sql
from wayra.lab.tasks.api import Task


def tasks() -> tuple[Task, ...]:
    return tuple(room.TASK for room in (functions, bug_fix, sql, maths, review, analysis, instructions, reasoning))


def find_task(name: str) -> Task:
    """Raises InvalidParameter listing what there is."""
    for task in tasks():
        if task.name == name:
            return task
    raise InvalidParameter(f"there is no task {name[:80]!r}; there are {', '.join(task.name for task in tasks())}")
