"""Several instructions at once about the form of an answer, all of them checked by a program."""

import json
import random
from collections.abc import Sequence

from wayra.lab.tasks.api import Draft, Task
from wayra.lab.tasks.constraints import Constraint, constraint, mark_constraints

WORDS_BY_LETTER = {
    "a": "apples", "b": "birds", "c": "clouds", "d": "dogs", "e": "eagles", "f": "forests", "g": "gardens",
    "h": "hills",
    "u": "urns", "v": "valleys",
    "i": "islands", "k": "kites", "l": "lakes", "m": "maps", "n": "nests", "o": "oceans", "p": "plants", "r": "rivers",
    "s": "stones", "t": "trees", "w": "winds",
}  # fmt: skip
ACROSTICS = ("RIVER", "STONE", "CLOUD", "BREAD", "NIGHT", "LEMON", "TIGER", "WHALE", "GARDEN", "ISLAND")
SUBJECTS = ("the sea", "a market", "bread", "bicycles", "a library", "winter", "trains", "a bridge", "clay", "honey")
FIELDS = ("name", "city", "age", "colour", "score", "team", "year", "size")
THINGS = (
    "lamp",
    "stone",
    "river",
    "basket",
    "mirror",
    "candle",
    "window",
    "ladder",
    "pepper",
    "saddle",
    "anchor",
    "violin",
)
SENTENCES = (
    "The old mill stands by the road", "A boy carries two jugs of milk", "Rain is drumming on the roof",
    "Our train was late again", "A baker opens the shop at four", "The mayor cut a red ribbon", "Snow lay on the pass",
    "My aunt grows beans and maize", "The clock had stopped at noon", "A ferry crosses twice a day",
)  # fmt: skip

SPARSE = (
    "Big hills rush up", "Cold fog fills our town", "Dusk falls", "They went there", "Every street seemed empty then",
    "It is his trip", "Go on", "Hot sun burns", "She sleeps", "We keep sheep here", "Cats nap", "A man ran fast",
    "Ships sink",
)  # fmt: skip
"""Sentences with few different vowels."""


def _draft(ask: str, constraints: Sequence[Constraint], reference: str, wrong: Sequence[str]) -> Draft:
    rules = "\n".join(f"{number}. {one['words']}" for number, one in enumerate(constraints, start=1))
    told = f"{ask}\n\nObey all of these:\n{rules}\nWrite only the answer itself, nothing before or after it."
    return Draft(
        told, reference, (*wrong, "Sure! Here is what you asked for."), None, {"constraints": list(constraints)}
    )


def numbered_list(rng: random.Random) -> Draft | None:
    count, subject, word = rng.randint(4, 7), rng.choice(SUBJECTS), rng.choice(THINGS)
    rules = [
        constraint(
            "numbered", f"Write exactly {count} lines that begin with 1. to {count}., each a short remark.", count=count
        ),
        constraint("line_words", "No line has more than 12 words.", most=12),
        constraint("lacks", "Use no comma.", text=","),
        constraint("word_times", f'The word "{word}" occurs exactly twice.', word=word, times=2),
    ]
    lines = [f"{n}. Remark about the {word if n < 3 else 'weather'}" for n in range(1, count + 1)]
    return _draft(
        f"Make a list of remarks about {subject}.", rules, "\n".join(lines), ("\n".join(lines[:-1]), ", ".join(lines))
    )


def acrostic(rng: random.Random) -> Draft | None:
    word, most = rng.choice(ACROSTICS), rng.randint(4, 8)
    rules = [
        constraint("line_letters", f"The first letters of its lines spell {word}.", letters=word),
        constraint("lines", f"It has {len(word)} lines and no empty verse besides.", count=len(word)),
        constraint("line_words", f"No line has more than {most} words.", most=most),
        constraint("lacks_words", f'The word "{word.lower()}" itself does not occur.', all=[word]),
    ]
    lines = [f"{WORDS_BY_LETTER[letter].title()} under a quiet sky"[:60] for letter in word.lower()]
    reference = "\n".join(" ".join(line.split()[:most]) for line in lines)
    return _draft(
        "Write an acrostic poem.", rules, reference, ("\n".join(reversed(lines)), f"{reference}\n{word} again")
    )


def one_sentence(rng: random.Random) -> Draft | None:
    count, word = rng.randint(9, 18), rng.choice(THINGS)
    place = rng.randint(3, count - 2)
    rules = [
        constraint("words", f"It has exactly {count} words.", least=count, most=count),
        constraint("word_at", f'Word number {place} is "{word}".', place=place, word=word),
        constraint(
            "lower_case",
            "All letters are lower case.",
        ),
        constraint("ends", "It ends with an exclamation mark.", text="!"),
        constraint("sentences", "It is one sentence.", count=1),
    ]
    filler = (["we", "saw", "her", "put", "one", "more", "near", "that", "big"] * 3)[: count - 1]
    reference = " ".join([*filler[: place - 1], word, *filler[place - 1 :]]) + "!"
    return _draft(
        f"Write a sentence about {rng.choice(SUBJECTS)}.", rules, reference, (reference[:-1] + ".", "now " + reference)
    )


def json_record(rng: random.Random) -> Draft | None:
    keys = rng.sample(FIELDS, 4)
    numbers = rng.sample(range(10, 99), 3)
    value: dict[str, object] = {
        keys[0]: rng.choice(THINGS), keys[1]: sorted(numbers),
        keys[2]: rng.random() < 0.5, keys[3]: None,
    }  # fmt: skip
    ask = (
        f'Write a JSON object with exactly these keys in this order: "{keys[0]}" with the text "{value[keys[0]]}", '
        f'"{keys[1]}" with '
        f'the numbers {numbers} as a list in ascending order, "{keys[2]}" with '
        f"{'true' if value[keys[2]] else 'false'}, and "
        f'"{keys[3]}" without a value (null).'
    )
    rules = [constraint("json_is", "The answer is this object as valid JSON, keys in the order given.", value=value)]
    backwards = dict(reversed(list(value.items())))
    return _draft(ask, rules, json.dumps(value), (json.dumps(backwards), str(value), json.dumps({**value, "x": 1})))


def headings(rng: random.Random) -> Draft | None:
    names = [name.title() for name in rng.sample(THINGS, 3)]
    counts = [rng.randint(1, 4) for _ in names]
    told = ", ".join(f"{name} with {count}" for name, count in zip(names, counts, strict=True))
    rules = [
        constraint("bullets_under", "It has exactly these headings (lines that begin with #), in this order, each "
                   "followed by so many bullet points (lines that begin with -) and nothing else: "
                   f"{told}.", headings=names, counts=counts),
        constraint("lacks", "No full stop occurs.", text="."),
    ]  # fmt: skip
    reference = "\n".join(
        f"# {name}\n" + "\n".join("- a point" for _ in range(count)) for name, count in zip(names, counts, strict=True)
    )
    more = reference + "\n- one more"
    return _draft(
        "Write an outline in Markdown.", rules, reference, (more, reference.replace("# ", "", 1), reference + ".")
    )


def rework_words(rng: random.Random) -> Draft | None:
    words = rng.sample(THINGS, rng.randint(6, 9))
    every, mark = rng.choice((2, 3)), rng.choice((" | ", " / ", "; ", " -> "))
    turned = [word.upper() if number % every == 0 else word for number, word in enumerate(reversed(words), start=1)]
    result = mark.join(turned)
    ask = (
        f"Take these words: {', '.join(words)}. Reverse their order, then write every "
        f"{'second' if every == 2 else 'third'} "
        f"word of the new order in capitals, and join them on one line with {mark!r} between them."
    )
    rules = [constraint("equals", "The answer is exactly this one line.", text=result)]
    forwards = mark.join(word.upper() if number % every == 0 else word for number, word in enumerate(words, start=1))
    return _draft(ask, rules, result, (forwards, mark.join(reversed(words)), result.replace(mark, " ")))


def edit_text(rng: random.Random) -> Draft | None:
    sentences = rng.sample(SENTENCES, 6)
    drop = rng.randrange(6)
    old = rng.choice([word for n, text in enumerate(sentences) if n != drop for word in text.split() if len(word) > 3])
    kept = [text for number, text in enumerate(sentences) if number != drop]
    result = "\n".join(
        f"({number}) " + " ".join("CACTUS" if word == old else word for word in text.split()) + "."
        for number, text in enumerate(kept, start=1)
    )
    ask = (
        f"Here is a text: {'. '.join(sentences)}.\n\nLeave out sentence number {drop + 1}. Replace the word {old} "
        f"by CACTUS "
        "wherever it stands. Put each remaining sentence on a line of its own with its new number in round brackets "
        "and a "
        "space before it, like (1) and (2). Change nothing else."
    )
    rules = [constraint("equals", "The answer is exactly the changed text.", text=result)]
    whole = "\n".join(f"({number}) {text}." for number, text in enumerate(sentences, start=1))
    return _draft(ask, rules, result, (whole, result.replace("CACTUS", old), result.replace("\n", " ")))


def without_letter(rng: random.Random) -> Draft | None:
    letter = rng.choice("aeiou")
    usable = [text for text in (*SENTENCES, *SPARSE) if letter not in text.lower()]
    count = rng.randint(3, 4)
    if len(usable) < count:
        return None
    first = rng.choice(usable).split()[0]
    rules = [
        constraint("sentences", f"It has exactly {count} sentences.", count=count),
        constraint("lacks", f'The letter "{letter}" does not occur, neither small nor capital.', text=letter),
        constraint("begins", f'It begins with the word "{first}".', text=first),
    ]
    opening = next(text for text in usable if text.startswith(first))
    chosen = [opening, *[text for text in usable if text != opening][: count - 1]]
    reference = ". ".join(chosen) + "."
    return _draft(
        f"Write a short text about {rng.choice(SUBJECTS)}.",
        rules,
        reference,
        (f"{reference} {letter}.", chosen[0] + "."),
    )


def sorted_table(rng: random.Random) -> Draft | None:
    key, value = rng.sample(FIELDS, 2)
    rows = list(zip(rng.sample(THINGS, 5), rng.sample(range(100, 999), 5), strict=True))
    up = rng.random() < 0.5
    ordered = sorted(rows, key=lambda row: row[1], reverse=not up)
    result = "\n".join(
        [f"{key},{value},rank", *(f"{name},{number},{rank}" for rank, (name, number) in enumerate(ordered, start=1))]
    )
    records = "; ".join(rng.choice((f"{name} has {number}", f"{number} for {name}")) for name, number in rows)
    ask = (
        f"Turn this into CSV without spaces: {records}. The header is {key},{value},rank. Sort the rows by number, "
        f"{'ascending' if up else 'descending'}; the rank counts the rows from 1."
    )
    rules = [constraint("equals", "The answer is exactly the CSV, header first.", text=result)]
    upside = "\n".join([result.split("\n")[0], *reversed(result.split("\n")[1:])])
    return _draft(ask, rules, result, (upside, result.replace(",", ", "), "\n".join(result.split("\n")[1:])))


def letter_with_frame(rng: random.Random) -> Draft | None:
    opening, closing = (
        f"Dear {rng.choice(THINGS).title()}s Club,",
        f"Yours, {rng.choice(('Ada', 'Ben', 'Cleo', 'Dov'))}",
    )
    musts = rng.sample(THINGS, 3)
    least = rng.randint(25, 40)
    rules = [
        constraint("begins", f'It begins with "{opening}".', text=opening),
        constraint("ends", f'It ends with "{closing}".', text=closing),
        constraint("has_words", f"It contains the words {', '.join(musts)}.", all=musts),
        constraint(
            "words",
            f"It has {least} to {least + 25} words, greeting and ending included.",
            least=least,
            most=least + 25,
        ),
        constraint(
            "paragraphs", "It has three paragraphs (separated by empty lines): greeting, text, ending.", count=3
        ),
        constraint("lacks_words", 'The word "very" does not occur.', all=["very"]),
    ]
    body = f"thank you for the {musts[0]}, the {musts[1]} and the {musts[2]}. " + "We were glad to see them. " * 6
    reference = f"{opening}\n\n{' '.join(body.split()[: least + 5])}\n\n{closing}"
    return _draft(
        "Write a letter of thanks.",
        rules,
        reference,
        (reference.replace("\n\n", "\n"), reference + " PS", f"{opening}\n\nThanks.\n\n{closing}"),
    )


TASK = Task(
    "instruction_following",
    "Instruction following",
    (
        numbered_list, acrostic, one_sentence, json_record, headings, rework_words, edit_text, without_letter,
        sorted_table, letter_with_frame,
    ),
    mark=mark_constraints,
    items_per_generator=4,
)  # fmt: skip
