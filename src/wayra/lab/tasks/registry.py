"""All tasks, in the order in which they are asked and shown."""

from wayra.base.errors import InvalidParameter
from wayra.lab.tasks import (
    analysis,
    bug_fix,
    functions,
    instructions,
    maths,
    reasoning,
    review,
    sql,
    summary,
    writing,
)
from wayra.lab.tasks.api import Task


def tasks() -> tuple[Task, ...]:
    rooms = (functions, bug_fix, sql, summary, maths, review, analysis, writing, instructions, reasoning)
    return tuple(room.TASK for room in rooms)


def find_task(name: str) -> Task:
    """Raises InvalidParameter listing what there is."""
    for task in tasks():
        if task.name == name:
            return task
    raise InvalidParameter(f"there is no task {name[:80]!r}; there are {', '.join(task.name for task in tasks())}")
