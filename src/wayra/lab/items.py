"""One question of a suite and the score of one answer to it: what suites, tasks and scorers hand each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Item:
    """A question. Plain data, ready for JSON.

    id: stable within the suite, so that runs of different models can be paired item by item.
    messages: the question as a conversation; prompt: as text to be continued. At least one of them is there.
    choices: the possible answers of a multiple-choice question. target: the right one: an index into choices, a text,
    or whatever the suite's scorer reads. max_tokens, stop: of a generated answer.
    data: what else the scorer needs (tests, constraints, the group an item belongs to).
    """

    id: str
    suite: str
    messages: tuple[Mapping[str, object], ...] | None = None
    prompt: str | None = None
    choices: tuple[str, ...] = ()
    target: object = None
    max_tokens: int = 512
    stop: tuple[str, ...] = ()
    data: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True)
class Score:
    """How good one answer is. value: 0 to 1. passed: right or wrong, None where there is only a degree.

    explanation: why, in a sentence for people. extracted: what was taken for the answer, None when nothing was found.
    """

    value: float
    passed: bool | None = None
    explanation: str = ""
    extracted: str | None = None
