"""Ten kinds of everyday work for a language model, written for wayra: made from a seed, judged by programs.

Only creative writing is judged by a language model.
"""

from wayra.lab.tasks.api import Check, Judge, Task
from wayra.lab.tasks.registry import find_task, tasks

__all__ = ["Check", "Judge", "Task", "find_task", "tasks"]
