"""What a suite is: where its rows come from, how a row becomes a question, how answers are judged."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from wayra.lab.items import Item
from wayra.lab.suites.rows import Problem, Row, read_rows

How = Literal["choice", "number", "integer", "math", "code", "instructions", "task"]
"""Which scorer judges: see wayra.lab.scoring.grade."""

ReadFile = Callable[[Path], Iterator[Row | Problem]]


@dataclass(frozen=True, slots=True)
class PackageData:
    """Questions inside an installed package, read as data: nothing of it is imported or run.

    install: what to tell pip. path: from the folder that holds the package. What it holds is said by `holds`.
    """

    distribution: str
    path: str
    install: str
    holds: str
    read: ReadFile = field(default=read_rows)


@dataclass(frozen=True, slots=True)
class HubData:
    """A data set on the hub. folder: where its files lie in the repository; "" everywhere."""

    repo: str
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Suite:
    """One benchmark.

    make: one row -> its question; raises BadRow. package, hub: where rows come from when no path is given.
    write: makes the questions from a seed, for suites that need no data.
    splits: names of the files to ask, the first that is found; shot_splits: those to take worked examples from.
    num_shots: examples before each question when nothing else is asked for and no chat template is used.
    takes_first_shots: the first ones of the item's group rather than drawn ones.
    uses_chat: whether the chat template is used when nothing else is asked for.
    is_private: its authors ask that the questions be not spread: records keep only a hash of the prompt.
    read: rows of one file, given with its name in messages.
    """

    name: str
    title: str
    how: How
    make: Callable[[Row], Item]
    package: PackageData | None = None
    hub: HubData | None = None
    write: Callable[[int], Iterator[Item]] | None = None
    splits: tuple[str, ...] = ("test",)
    shot_splits: tuple[str, ...] = ("train", "dev")
    num_shots: int = 0
    takes_first_shots: bool = False
    uses_chat: bool = True
    is_private: bool = False
    read: Callable[[Path, str], Iterator[Row | Problem]] = read_rows


@dataclass(frozen=True, slots=True)
class SuiteItems:
    """A suite with its questions, ready to be asked.

    shots: what worked examples are taken from; empty: the items themselves, never an item for itself.
    problems: rows that were passed over. source: where they come from. digest: "sha256:..." of the questions.
    """

    suite: Suite
    items: tuple[Item, ...]
    shots: tuple[Item, ...]
    problems: tuple[Problem, ...]
    source: str
    digest: str
