"""Summaries of a document: the facts asked for must be kept within a length, and no number may be made up."""

import random
import re
from collections.abc import Mapping, Sequence
from typing import cast

from wayra.lab.items import Item, Score
from wayra.lab.tasks.answers import visible
from wayra.lab.tasks.api import Draft, Generator, Task
from wayra.lab.tasks.documents import DOCUMENTS, SLOTS, Document, Fact

WORDS_ABOVE_REFERENCE = 20


def mark_summary(item: Item, answer: str) -> Score:
    """value: the share of facts kept, less one fact for each invented number, scaled down by excess length."""
    text = visible(answer)
    facts = cast(Sequence[Mapping[str, object]], item.data["facts"])
    lost = [str(fact["asks"]) for fact in facts if not _keeps(text, cast(Sequence[str], fact["needs"]))]
    invented = sorted(_numbers(text) - _numbers(str(item.data["document"])))
    words, most = len(re.findall(r"\w+", text)), int(cast(int, item.data["max_words"]))
    value = max(0.0, len(facts) - len(lost) - len(invented)) / len(facts) * min(1.0, most / max(words, 1))
    is_right = not lost and not invented and words <= most
    problems = [f"missing: {fact}" for fact in lost] + [f"invented: {number}" for number in invented]
    problems += [f"{words} words instead of at most {most}"] if words > most else []
    return Score(value, is_right, "; ".join(problems) or "all facts kept in the length allowed")


def _keeps(text: str, needs: Sequence[str]) -> bool:
    plain = re.sub(r"(?<=\d),(?=\d{3})", "", text).casefold()
    return all(re.search(rf"(?<![\w]){re.escape(need.casefold())}", plain) for part in needs for need in part.split())


def _numbers(text: str) -> set[str]:
    return set(re.findall(r"\d+", re.sub(r"(?<=\d),(?=\d{3})", "", text)))


def _generator(document: Document) -> Generator:
    def generate(rng: random.Random) -> Draft | None:
        values = {name: draw(rng) for name, draw in SLOTS.items()}
        numbers = re.findall(r"\d+", " ".join(values.values()))
        if len(set(numbers)) < len(numbers):
            # A number that stands for two things could hide that one of them is lost.
            return None
        text = _text(document, values, rng)
        kept = [fact.short.format(**values) for fact in document.facts]
        reference = f"{'; '.join(kept)}."
        most = len(re.findall(r"\w+", reference)) + WORDS_ABOVE_REFERENCE
        asked = "\n".join(f"- {fact.asks}" for fact in document.facts)
        ask = (
            f"{document.title}:\n\n{text}\n\nSummarise this in at most {most} words. The summary must tell:\n{asked}\n"
            "Write numbers as digits, and no number that is not in the text. Answer with the summary alone."
        )
        changed = reference.replace(max(numbers, key=len), "5" + max(numbers, key=len))
        wrong = (text, " ".join(text.split()[:most]), f"{'; '.join(kept[:-1])}.", f"{'; '.join(kept[1:])}.")
        wrong += (changed,) if changed != reference else (reference + " 999999",)
        data = {"document": text, "facts": [_needs(fact, values) for fact in document.facts], "max_words": most}
        return Draft(ask, reference, wrong, None, data, 256)

    generate.__name__ = document.name
    return generate


def _text(document: Document, values: Mapping[str, str], rng: random.Random) -> str:
    """The facts in their order, each after one or two sentences that mean little."""
    filler = rng.sample(document.filler, len(document.filler))
    sentences: list[str] = []
    for number, fact in enumerate(document.facts):
        sentences += [fact.long.format(**values)]
        sentences += filler[number : number + 1] + (filler[number + 5 : number + 6])
    return " ".join(sentences)


def _needs(fact: Fact, values: Mapping[str, str]) -> dict[str, object]:
    return {"asks": fact.asks, "needs": [values.get(slot, slot) for slot in fact.slots]}


TASK = Task("summary", "Document summarisation", tuple(map(_generator, DOCUMENTS)), mark=mark_summary)
