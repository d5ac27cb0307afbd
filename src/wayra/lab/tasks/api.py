"""What a task is: generators that write questions from a seed, and a scorer that judges an answer by what it does."""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from wayra.lab.items import Item, Score

MAX_DRAWS = 200


@dataclass(frozen=True, slots=True)
class Draft:
    """A question with its right answer, before it has a number.

    reference: an answer as a model would write it, which the scorer must pass; wrong: ones that it must not pass.
    """

    ask: str
    reference: str
    wrong: tuple[str, ...]
    target: object = None
    data: Mapping[str, object] = field(default_factory=dict[str, object])
    max_tokens: int = 512


Generator = Callable[[random.Random], Draft | None]
"""Draws one question; None when this draw makes a poor one, so that another is made."""

Judge = Callable[[str], str]
"""A language model that judges: a question to it, and its reply."""


@dataclass(frozen=True, slots=True)
class Check:
    """One constraint on a text that a program can check, in words, and whether it was obeyed."""

    constraint: str
    is_obeyed: bool


@dataclass(frozen=True, slots=True)
class Task:
    """One kind of work. mark: scores an answer by a program. mark_by_judge: by a language model, where none else can.

    checks: constraints that are reported apart from the score. needs_sandbox: answers are programs that are run.
    """

    name: str
    title: str
    generators: tuple[Generator, ...]
    mark: Callable[[Item, str], Score] | None = None
    mark_by_judge: Callable[[Item, str, Judge], Score] | None = None
    checks: Callable[[Item, str], tuple[Check, ...]] | None = None
    needs_sandbox: bool = False
    items_per_generator: int = 4

    def items(self, seed: int = 0) -> tuple[Item, ...]:
        """The same for the same seed, on every machine. Each item's `reference` and `wrong` are in its data."""
        return tuple(self._written(seed))

    def _written(self, seed: int) -> Iterator[Item]:
        asked: set[str] = set()
        for number in range(self.items_per_generator * len(self.generators)):
            generator = self.generators[number % len(self.generators)]
            draft = self._draw(generator, f"{seed}/{self.name}/{number}", asked)
            asked.add(draft.ask)
            group = generator.__name__.strip("_")
            yield Item(
                id=f"{seed}-{number:02d}-{group}",
                suite=self.name,
                messages=({"role": "user", "content": draft.ask},),
                target=draft.target,
                max_tokens=draft.max_tokens,
                data={**draft.data, "group": group, "reference": draft.reference, "wrong": list(draft.wrong)},
            )

    def _draw(self, generator: Generator, name: str, asked: set[str]) -> Draft:
        for attempt in range(MAX_DRAWS):
            draft = generator(random.Random(f"{name}/{attempt}"))
            if draft is not None and draft.ask not in asked:
                return draft
        raise AssertionError(f"{generator.__name__} drew no new question in {MAX_DRAWS} attempts")

    def score(self, item: Item, answer: str, judge: Judge | None = None) -> Score | None:
        """None: not judged, because only a language model could and none was given.

        Raises BackendError where the answer is a program and no sandbox can be made.
        """
        if self.mark is not None:
            return self.mark(item, answer)
        if self.mark_by_judge is None or judge is None:
            return None
        return self.mark_by_judge(item, answer, judge)
