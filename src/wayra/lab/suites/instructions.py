"""Suites of checkable instructions: IFEval's own rows, and prompts made for wayra from seeds in the same form."""

import random
from collections.abc import Iterator, Mapping
from typing import cast

from wayra.lab.items import Item
from wayra.lab.suites.answers import as_user
from wayra.lab.suites.choice import item_id
from wayra.lab.suites.fields import BadRow, field, text, texts
from wayra.lab.suites.rows import Row

NUM_PROMPTS = 100
MAX_TOKENS = 1280
KNOWN = frozenset(
    {
        "keywords:existence", "keywords:frequency", "keywords:forbidden_words", "keywords:letter_frequency",
        "language:response_language", "length_constraints:number_sentences", "length_constraints:number_paragraphs",
        "length_constraints:number_words", "length_constraints:nth_paragraph_first_word",
        "detectable_content:number_placeholders", "detectable_content:postscript",
        "detectable_format:number_bullet_lists", "detectable_format:constrained_response",
        "detectable_format:number_highlighted_sections", "detectable_format:multiple_sections",
        "detectable_format:json_format", "detectable_format:title", "combination:two_responses",
        "combination:repeat_prompt", "startend:end_checker", "startend:quotation",
        "change_case:capital_word_frequency", "change_case:english_capital", "change_case:english_lowercase",
        "punctuation:no_comma",
    }
)  # fmt: skip

TASKS = (
    "Explain to a child why the sea is salty.", "Describe how bread is made.", "Give advice for a first job interview.",
    "Write a short review of a rainy picnic.", "Explain how a bicycle stays upright.",
    "Describe a market in the early morning.", "Write a letter to a neighbour about a noisy clock.",
    "Explain what a bank does with savings.", "Describe the life of a honey bee.",
    "Write about a train that never arrives.", "Explain how vaccines work.", "Describe your ideal library.",
    "Give tips for growing tomatoes on a balcony.", "Tell the story of a lost umbrella.",
    "Explain the difference between weather and climate.", "Describe how to pack for a week in the mountains.",
    "Write an announcement for a village concert.", "Explain why leaves change colour in autumn.",
    "Describe a day in the life of a lighthouse keeper.", "Explain how to mend a flat tyre.",
)  # fmt: skip
WORDS = ("morning", "river", "patience", "window", "together", "careful", "music", "distance", "garden", "promise")

Demand = tuple[str, str, dict[str, object]]
"""The instruction's name, how it is asked, its arguments."""


def ifeval(row: Row) -> Item:
    """A row with `prompt`, `instruction_id_list` and `kwargs`."""
    fields = row.fields
    prompt = text(fields, "prompt")
    names = texts(fields, "instruction_id_list")
    arguments = field(fields, "kwargs")
    if not isinstance(arguments, list) or len(arguments) != len(names):
        raise BadRow("'kwargs' is no list with one object for each instruction")
    unknown = [name for name in names if name not in KNOWN]
    if unknown:
        raise BadRow(f"has an instruction nobody can check: {unknown[0][:80]!r}")
    kept: list[dict[str, object]] = []
    for given in cast(list[object], arguments):
        if not isinstance(given, Mapping):
            raise BadRow("'kwargs' holds something other than objects")
        kept.append({str(name): value for name, value in given.items() if value is not None})
    return _item("ifeval", item_id(fields, prompt), prompt, list(names), kept)


def written_for_wayra(seed: int) -> Iterator[Item]:
    """NUM_PROMPTS prompts with one to three demands that can be met together; the same for the same seed."""
    for number in range(NUM_PROMPTS):
        draw = random.Random(f"{seed}/{number}")
        demands = _demands(draw, 1 + number % 3)
        prompt = " ".join([draw.choice(TASKS), *(asked for _, asked, _ in demands)])
        yield _item(
            "instructions",
            f"{seed}-{number:03d}",
            prompt,
            [name for name, _, _ in demands],
            [arguments for _, _, arguments in demands],
        )


def _demands(draw: random.Random, count: int) -> list[Demand]:
    """At most one of each kind, so that no two contradict each other."""
    kinds = draw.sample((_of_length, _of_words, _of_form, _of_ending, _of_case), count)
    return [kind(draw) for kind in kinds]


def _of_length(draw: random.Random) -> Demand:
    relation = draw.choice(("at least", "less than"))
    if draw.random() < 0.5:
        words = draw.choice((60, 90, 120, 150))
        asked = f"Use {relation} {words} words."
        return "length_constraints:number_words", asked, {"relation": relation, "num_words": words}
    sentences = draw.choice((5, 7, 9))
    asked = f"Use {relation} {sentences} sentences."
    return "length_constraints:number_sentences", asked, {"relation": relation, "num_sentences": sentences}


def _of_words(draw: random.Random) -> Demand:
    words = draw.sample(WORDS, 2)
    kind = draw.randrange(3)
    if kind == 0:
        asked = f'Use the words "{words[0]}" and "{words[1]}".'
        return "keywords:existence", asked, {"keywords": words}
    if kind == 1:
        forbidden = draw.sample(("very", "really", "also", "just", "important"), 2)
        asked = f'Do not use the words "{forbidden[0]}" and "{forbidden[1]}".'
        return "keywords:forbidden_words", asked, {"forbidden_words": forbidden}
    times = draw.choice((2, 3))
    asked = f'Use the word "{words[0]}" at least {times} times.'
    return "keywords:frequency", asked, {"keyword": words[0], "frequency": times, "relation": "at least"}


def _of_form(draw: random.Random) -> Demand:
    kind = draw.randrange(4)
    count = draw.choice((3, 4, 5))
    if kind == 0:
        asked = f"Include exactly {count} bullet points that begin with an asterisk and a space."
        return "detectable_format:number_bullet_lists", asked, {"num_bullets": count}
    if kind == 1:
        asked = "Begin with a title between double angle brackets, as in <<A title>>."
        return "detectable_format:title", asked, {}
    if kind == 2:
        asked = f"Leave at least {count} blanks to be filled in, each in square brackets, such as [name]."
        return "detectable_content:number_placeholders", asked, {"num_placeholders": count}
    asked = f"Highlight at least {count} phrases between asterisks, like *this*."
    return "detectable_format:number_highlighted_sections", asked, {"num_highlights": count}


def _of_ending(draw: random.Random) -> Demand:
    if draw.random() < 0.5:
        phrase = draw.choice(("That is all for today.", "Thank you for reading.", "And so it ends."))
        return "startend:end_checker", f'End with exactly this sentence: "{phrase}"', {"end_phrase": phrase}
    return "detectable_content:postscript", "Add a postscript that begins with P.S.", {"postscript_marker": "P.S."}


def _of_case(draw: random.Random) -> Demand:
    kind = draw.randrange(3)
    if kind == 0:
        return "punctuation:no_comma", "Do not use any commas.", {}
    if kind == 1:
        return "change_case:english_lowercase", "Write in lower case only.", {}
    return (
        "keywords:letter_frequency",
        "Use the letter q at least 3 times.",
        {"letter": "q", "let_frequency": 3, "let_relation": "at least"},
    )


def _item(suite: str, name: str, prompt: str, names: list[str], arguments: list[dict[str, object]]) -> Item:
    return Item(
        id=name,
        suite=suite,
        messages=as_user(prompt),
        prompt=f"{prompt}\n\n",
        max_tokens=MAX_TOKENS,
        data={"instructions": names, "arguments": arguments},
    )
