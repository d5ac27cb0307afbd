"""Loads a suite's questions from a path, an installed package or the hub, whichever is asked for or there."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import msgspec

from wayra.base.errors import DataError
from wayra.base.settings import Settings
from wayra.lab.items import Item
from wayra.lab.suites.api import Suite, SuiteItems
from wayra.lab.suites.fields import BadRow
from wayra.lab.suites.files import data_files, of_splits, part_of, without_split
from wayra.lab.suites.packages import package_file
from wayra.lab.suites.rows import Problem, Row

MAX_PROBLEM_SHARE = 0.5
"""Above this share of unusable rows the data is another data set's."""

Fetch = Callable[[Suite, Settings], Path]


def load_suite(
    suite: Suite, settings: Settings, data: Path | None = None, *, seed: int = 0, fetch: Fetch | None = None
) -> SuiteItems:
    """data: a file or folder; None takes the package, else the hub (through `fetch`). seed: of suites made from one.

    Raises DataError saying what to do when there are no usable rows.
    """
    if data is not None:
        part = part_of(data, suite.hub.folder if suite.hub else "")
        return _from_path(suite, part, str(part))
    if suite.write is not None:
        return _checked(suite, list(suite.write(seed)), (), [], f"made from seed {seed}")
    if suite.package is not None:
        path, source = package_file(suite.package, suite.name)
        items, problems = _items(suite, suite.package.read(path))
        return _checked(suite, items, (), problems, source)
    if suite.hub is None:
        raise DataError(f"suite {suite.name} has no data of its own; give a file or folder with --data")
    from wayra.lab.suites.hub import fetch_from_hub

    return _from_path(suite, (fetch or fetch_from_hub)(suite, settings), f"the hub's {suite.hub.repo}")


def _from_path(suite: Suite, path: Path, source: str) -> SuiteItems:
    files = data_files(path)
    root = path if path.is_dir() else path.parent
    asked = [path] if path.is_file() else of_splits(files, root, suite.splits) or without_split(files, root) or files
    shot_files = [file for file in of_splits(files, root, suite.shot_splits) if file not in asked]
    items, problems = _items(suite, _all_rows(suite, asked, root))
    shots, shot_problems = _items(suite, _all_rows(suite, shot_files, root))
    found = _checked(suite, items, shots, problems, source)
    # They do not count against the questions, and that worked examples are there twice harms nobody.
    named = tuple(problem for problem in shot_problems if not problem.is_repeat)
    return replace(found, problems=(*found.problems, *named))


def _all_rows(suite: Suite, files: Iterable[Path], root: Path) -> Iterable[Row | Problem]:
    for file in files:
        yield from suite.read(file, str(file.relative_to(root)))


def _items(suite: Suite, rows: Iterable[Row | Problem]) -> tuple[list[Item], list[Problem]]:
    items: dict[str, Item] = {}
    problems: list[Problem] = []
    for row in rows:
        if isinstance(row, Problem):
            problems.append(row)
            continue
        try:
            item = replace(suite.make(row), suite=suite.name)
        except BadRow as error:
            problems.append(Problem(row.where, str(error)))
            continue
        if item.id in items:
            # The same question twice would count twice; another one under the same id gets its own.
            if _asks(items[item.id]) == _asks(item):
                problems.append(Problem(row.where, "repeats an earlier row", is_repeat=True))
                continue
            number = sum(known == item.id or known.startswith(f"{item.id}~") for known in items) + 1
            item = replace(item, id=f"{item.id}~{number}")
        items[item.id] = item
    return list(items.values()), problems


def _asks(item: Item) -> Item:
    """What is asked and how it is judged, without the words of a worked answer."""
    return replace(item, data={name: value for name, value in item.data.items() if name != "shot"})


def _checked(
    suite: Suite, items: list[Item], shots: Iterable[Item], problems: list[Problem], source: str
) -> SuiteItems:
    if not items:
        first = f"; the first: {problems[0]}" if problems else ""
        raise DataError(f"{source} has no question that suite {suite.name} can use{first}")
    unusable = [problem for problem in problems if not problem.is_repeat]
    if len(unusable) > MAX_PROBLEM_SHARE * (len(items) + len(unusable)):
        raise DataError(
            f"{len(unusable):,} of {len(items) + len(unusable):,} rows of {source} are unusable for suite "
            f"{suite.name}, the first: {unusable[0]}; is it another data set?"
        )
    return SuiteItems(suite, tuple(items), tuple(shots), tuple(problems), source, digest(items))


def digest(items: Iterable[Item]) -> str:
    """A hash of the questions in their order, so that two runs can tell whether they asked the same."""
    found = hashlib.sha256()
    for item in items:
        found.update(msgspec.json.encode(item))
        found.update(b"\n")
    return f"sha256:{found.hexdigest()}"
