"""How a question is put: worked examples before it, as text or as a conversation, with letters to choose from."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from wayra.lab.items import Item
from wayra.lab.suites.api import Suite, SuiteItems
from wayra.lab.suites.fields import LETTERS

SHOT_BREAK = "\n\n"
LETTER_ASK = 'End your answer with the letter of the best choice alone on the last line, as in "Answer: A".'
LETTER_TOKENS = 512

Message = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Question:
    """An item and the examples before it. uses_chat: as a conversation."""

    item: Item
    shots: tuple[Item, ...]
    uses_chat: bool

    def text(self) -> str:
        """To be continued."""
        described = str(self.item.data.get("description") or "")
        examples = "".join(f"{_plain(shot)}{_joint(shot)}{_shot(shot)}{SHOT_BREAK}" for shot in self.shots)
        return f"{described}{examples}{_plain(self.item)}"

    def messages(self) -> list[Message]:
        """A conversation in which the examples were asked and answered before."""
        found: list[Message] = []
        described = str(self.item.data.get("description") or "")
        if described:
            found.append({"role": "system", "content": described})
        for shot in self.shots:
            found += [*_asked(shot), {"role": "assistant", "content": _shot(shot)}]
        return [*found, *_asked(self.item)]

    def prompt(self) -> str | list[Message]:
        return self.messages() if self.uses_chat else self.text()


def questions_of(
    found: SuiteItems, items: Sequence[Item], num_shots: int, seed: int, uses_chat: bool
) -> list[Question]:
    """Each item with its examples: of its own group where there are groups, never itself."""
    pool = found.shots or found.items
    by_group: dict[str, list[Item]] = {}
    for item in pool:
        by_group.setdefault(str(item.data.get("group") or ""), []).append(item)
    return [
        Question(item, _shots_for(item, by_group, found.suite, (num_shots, seed)), uses_chat or item.prompt is None)
        for item in items
    ]


def with_letters(item: Item) -> Item:
    """The item as a question that is answered in words, ending with a letter. Target: the letter.

    Choices without letters of their own are shuffled, always the same way: data often has the right one first.
    """
    prompt = (item.prompt or "").removesuffix("Answer:").removesuffix("\nA:").rstrip()
    order = list(range(len(item.choices)))
    if "answers" not in item.data:
        random.Random(hashlib.sha256(item.id.encode()).digest()).shuffle(order)
        listed = "\n".join(f"{LETTERS[place]}. {item.choices[index]}" for place, index in enumerate(order))
        prompt = f"{prompt}\n\n{listed}"
    letter = LETTERS[order.index(int(cast(int, item.target)))]
    asked = f"{prompt}\n\n{LETTER_ASK}"
    return replace(
        item,
        messages=({"role": "user", "content": asked},),
        prompt=f"{asked}\n",
        choices=(),
        target=letter,
        max_tokens=LETTER_TOKENS,
        data={"group": item.data.get("group"), "num_letters": len(order), "shot": f"Answer: {letter}"},
    )


def drawn(items: Sequence[Item], limit: int | None, seed: int) -> list[Item]:
    """At most `limit` items, drawn by the seed, in their own order; the same ones for every model."""
    if limit is None or limit >= len(items):
        return list(items)
    chosen = sorted(random.Random(f"items/{seed}").sample(range(len(items)), limit))
    return [items[index] for index in chosen]


def _shots_for(
    item: Item, by_group: Mapping[str, Sequence[Item]], suite: Suite, how: tuple[int, int]
) -> tuple[Item, ...]:
    num_shots, seed = how
    if not num_shots:
        return ()
    group = str(item.data.get("group") or "")
    others = [one for one in by_group.get(group, ()) if one.id != item.id and one.prompt != item.prompt]
    others = [one for one in others if one.data.get("shot")]
    if suite.takes_first_shots or num_shots >= len(others):
        return tuple(others[:num_shots])
    return tuple(random.Random(f"shots/{seed}/{item.id}").sample(others, num_shots))


def _plain(item: Item) -> str:
    """An item's text; a question that is only a conversation has none."""
    contexts = item.data.get("contexts")
    if isinstance(contexts, list):
        return str(cast(list[object], contexts)[int(cast(int, item.target))])
    return item.prompt or ""


def _shot(item: Item) -> str:
    return str(item.data.get("continuation") or item.data.get("shot") or "")


def _joint(item: Item) -> str:
    """Between a question and its answer."""
    return "" if not item.prompt or item.prompt[-1].isspace() else " "


def _asked(item: Item) -> list[Message]:
    if item.messages is not None:
        return list(item.messages)
    return [{"role": "user", "content": item.prompt or ""}]
