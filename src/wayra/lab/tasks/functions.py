"""Python functions from a description; the parameters of each rule are drawn, so that no answer can be known."""

import inspect
import random
from collections.abc import Callable
from dataclasses import dataclass

from wayra.lab.tasks.api import Draft, Generator, Task
from wayra.lab.tasks.running import Case, in_block, literal, mark_function

WORDS = ("maize", "river", "stone", "cloud", "lamp", "oak", "salt", "ember", "quinoa", "wool", "iron", "reed")


def _window_totals(values: list[int], size: int, step: int) -> list[int]:
    return [sum(values[start : start + size]) for start in range(0, len(values) - size + 1, step)]


def _squeeze(text: str, least: int, mark: str) -> str:
    out, place = "", 0
    while place < len(text):
        end = place
        while end < len(text) and text[end] == text[place]:
            end += 1
        length = end - place
        out += f"{text[place]}{mark}{length}" if length >= least else text[place] * length
        place = end
    return out


def _by_remainder(values: list[int], modulus: int, most: int) -> dict[int, list[int]]:
    groups: dict[int, list[int]] = {}
    for value in sorted(set(values)):
        groups.setdefault(value % modulus, []).append(value)
    return {remainder: group[:most] for remainder, group in groups.items()}


def _turn_vowels(text: str, shift: int) -> str:
    vowels = "aeiou"
    out = ""
    for char in text:
        if char.lower() in vowels:
            turned = vowels[(vowels.index(char.lower()) + shift) % 5]
            out += turned.upper() if char.isupper() else turned
        else:
            out += char
    return out


def _join_spans(spans: list[list[int]], gap: int) -> list[list[int]]:
    joined: list[list[int]] = []
    for start, end in sorted(spans):
        if joined and start - joined[-1][1] <= gap:
            joined[-1][1] = max(joined[-1][1], end)
        else:
            joined.append([start, end])
    return joined


def _frequent_words(text: str, count: int, least: int) -> list[str]:
    counts: dict[str, int] = {}
    for word in text.lower().split():
        word = "".join(char for char in word if char.isalpha())
        if len(word) >= least:
            counts[word] = counts.get(word, 0) + 1
    return sorted(counts, key=lambda word: (-counts[word], word))[:count]


def _digits(number: int, base: int, width: int) -> str:
    signs, rest, out = "0123456789abcdef", abs(number), ""
    while rest:
        out = signs[rest % base] + out
        rest //= base
    out = out.rjust(width, "0")
    return "-" + out if number < 0 else out


def _roll_rows(grid: list[list[int]], by: int) -> list[list[int]]:
    rolled: list[list[int]] = []
    for number, row in enumerate(grid):
        turn = (number * by) % len(row) if row else 0
        rolled.append(row[-turn:] + row[:-turn] if turn else list(row))
    return rolled


def _first_unbalanced(text: str, pairs: str) -> int:
    opened: list[tuple[str, int]] = []
    closes = {pairs[n + 1]: pairs[n] for n in range(0, len(pairs), 2)}
    for place, char in enumerate(text):
        if char in closes.values():
            opened.append((char, place))
        elif char in closes:
            if not opened or opened[-1][0] != closes[char]:
                return place
            opened.pop()
    return opened[0][1] if opened else -1


def _account(entries: list[int], floor: int, fee: int) -> list[int]:
    balance, refused = 0, 0
    for entry in entries:
        if entry >= 0:
            balance += entry
        elif balance + entry - fee >= floor:
            balance += entry - fee
        else:
            refused += 1
    return [balance, refused]


def _take_turns(lists: list[list[int]], chunk: int) -> list[int]:
    out: list[int] = []
    longest = max((len(values) for values in lists), default=0)
    for start in range(0, longest, chunk):
        for values in lists:
            out += values[start : start + chunk]
    return out


def _longest_climb(values: list[int], slack: int) -> int:
    best = 0
    for start in range(len(values)):
        end, drops = start, 0
        while end + 1 < len(values):
            drops += values[end + 1] <= values[end]
            if drops > slack:
                break
            end += 1
        best = max(best, end - start + 1)
    return best


def _numbers(rng: random.Random, least: int = 0, most: int = 12) -> list[int]:
    return [rng.randint(-9, 30) for _ in range(rng.randint(least, most))]


def _text(rng: random.Random, letters: str, longest: int = 20) -> str:
    return "".join(rng.choice(letters) * rng.choice((1, 1, 2, 3, 5)) for _ in range(rng.randint(0, longest // 2)))


def _sentence(rng: random.Random) -> str:
    return " ".join(rng.choice(WORDS).title() + rng.choice(("", ",", ".")) for _ in range(rng.randint(0, 25)))


@dataclass(frozen=True, slots=True)
class Rule:
    """One function to write. names: it may have. ask: with the parameters in braces. parameters: what each can be.

    given: draws its one argument. special: arguments that are always tried.
    """

    reference: Callable[..., object]
    names: tuple[str, ...]
    ask: str
    parameters: dict[str, tuple[object, ...]]
    given: Callable[[random.Random], object]
    special: tuple[object, ...] = ()


def _generator(rule: Rule) -> Generator:
    def generate(rng: random.Random) -> Draft | None:
        name = rng.choice(rule.names)
        chosen = {key: rng.choice(values) for key, values in rule.parameters.items()}
        others = {key: rng.choice(values) for key, values in rule.parameters.items()}
        given = [*rule.special, *(rule.given(rng) for _ in range(12))]
        cases: list[Case] = [((one,), rule.reference(one, **chosen)) for one in given]
        if all(rule.reference(one, **others) == wanted for ((one,), wanted) in cases):
            return None
        shown = max(cases[len(rule.special) :], key=lambda case: len(repr(case[1])) if len(repr(case)) < 160 else 0)
        ask = (
            f"Write a Python function `{name}` with one parameter. {rule.ask.format(**chosen)}\n\n"
            f"For example, {name}({shown[0][0]!r}) gives {shown[1]!r}.\n\n"
            "It must not change its argument. Answer with the whole function in one ```python block."
        )
        wrong = (in_block(f"def {name}(value):\n    return None"), in_block(_source(rule, name, others)), "I cannot.")
        data = {"function": name, "cases": literal(cases)}
        return Draft(ask, in_block(_source(rule, name, chosen)), wrong, None, data, 768)

    generate.__name__ = rule.reference.__name__
    return generate


def _source(rule: Rule, name: str, chosen: dict[str, object]) -> str:
    given = ", ".join(f"{key}={value!r}" for key, value in chosen.items())
    body = f"    return {rule.reference.__name__}(value, {given})"
    return f"{inspect.getsource(rule.reference)}\n\ndef {name}(value):\n{body}"


RULES = (
    Rule(_window_totals, ("window_totals", "sums_of_windows"),
         "It takes a list of integers and returns the list of the sums of {size} neighbours, beginning at index 0 "
         "and moving on "
         "by {step} each time. Windows that would reach beyond the end are left out.",
         {"size": (2, 3, 4, 5), "step": (1, 2, 3)}, _numbers, ([], [7])),
    Rule(_squeeze, ("squeeze", "shorten_runs"),
         "It takes a text and replaces every longest run of at least {least} equal characters by the character, then "
         "{mark!r}, then the length of the run. Shorter runs stay as they are.",
         {"least": (2, 3, 4), "mark": ("*", "x", "#", "~")}, lambda rng: _text(rng, "abcAB "), ("",)),
    Rule(_by_remainder, ("by_remainder", "sort_into_bins"),
         "It takes a list of integers and returns a dictionary: for each remainder that occurs when dividing by "
         "{modulus} (as "
         "Python's % gives it), the {most} smallest distinct values with that remainder, ascending.",
         {"modulus": (3, 4, 5, 6, 7), "most": (1, 2, 3)}, _numbers, ([],)),
    Rule(_turn_vowels, ("turn_vowels", "move_vowels"),
         "It takes a text and replaces each of the vowels a, e, i, o, u by the vowel {shift} places further in this "
         "order, "
         "beginning again with a after u. Upper case stays upper case; all other characters stay.",
         {"shift": (1, 2, 3, 4)}, _sentence, ("", "AEIOU aeiou y")),
    Rule(_join_spans, ("join_spans", "close_gaps"),
         "It takes a list of spans [start, end] with start <= end, in any order, and joins spans that overlap or "
         "whose distance "
         "(start of the later minus end of the earlier) is at most {gap}. It returns the joined spans, ascending.",
         {"gap": (0, 1, 2, 3, 5)},
         lambda rng: [[s, s + rng.randint(0, 6)] for s in (rng.randint(0, 60) for _ in range(rng.randint(1, 9)))],
         ([], [[1, 9], [2, 3]])),
    Rule(_frequent_words, ("frequent_words", "top_words"),
         "It takes a text and returns the {count} most frequent words with at least {least} letters, the most "
         "frequent first, "
         "equally frequent ones in alphabetical order. Words are separated by whitespace; upper case counts as "
         "lower case, and "
         "characters that are no letters are dropped from a word first.",
         {"count": (1, 2, 3, 4), "least": (3, 4, 5)}, _sentence, ("", "a b c", "Don't dont DON'T")),
    Rule(_digits, ("digits", "write_in_base"),
         "It takes an integer and returns it as text in base {base}, with lower-case letters for digits above 9, "
         "filled up with "
         "zeros on the left to at least {width} digits. Negative numbers get a minus sign before that, which does "
         "not count as "
         "a digit.",
         {"base": (2, 3, 5, 7, 12, 16), "width": (2, 3, 4, 6)}, lambda rng: rng.randint(-2000, 5000), (0, -1)),
    Rule(_roll_rows, ("roll_rows", "shear_grid"),
         "It takes a list of lists (rows; perhaps of different lengths) and returns a new one in which row number "
         "i, counted from "
         "0, is rotated to the right by i * {by} places: what leaves on the right comes back on the left.",
         {"by": (1, 2, 3)}, lambda rng: [_numbers(rng, 1, 6) for _ in range(rng.randint(1, 5))], ([], [[], [1, 2]])),
    Rule(_first_unbalanced, ("first_unbalanced", "bracket_error"),
         "The brackets are the pairs in {pairs!r}: each opening one is followed there by its closing one; all other "
         "characters "
         "mean nothing. It takes a text and returns the index of the first closing bracket that does not fit the "
         "last one still "
         "open; if there is none, the index of the first bracket that is never closed; and -1 if all is balanced.",
         {"pairs": ("()", "()[]", "<>{}", "[]<>", "(){}")},
         lambda rng: "".join(rng.choice("()[]<>{}x") for _ in range(rng.randint(1, 8))),
         ("", "()", "<{}>", "([)]", "[[", "(x)[y]{z}")),
    Rule(_account, ("run_account", "settle"),
         "It takes a list of integers, entries of an account that begins at 0. Entries >= 0 are added. A negative "
         "entry is a "
         "withdrawal that costs a fee of {fee} on top; it is carried out, with its fee, if the balance after that "
         "is at least "
         "{floor}, and else refused without a fee. It returns the list [last balance, number of refused entries].",
         {"floor": (0, -5, -10, -20), "fee": (1, 2, 3)},
         lambda rng: [rng.randint(-15, 12) for _ in range(rng.randint(1, 12))], ([], [-1])),
    Rule(_take_turns, ("take_turns", "deal_out"),
         "It takes a list of lists and returns one list: the first {chunk} values of the first list, the first "
         "{chunk} of the "
         "second and so on, then the next {chunk} of each, until all are used up. A list with fewer left gives what "
         "it has.",
         {"chunk": (1, 2, 3, 4)}, lambda rng: [_numbers(rng, 0, 7) for _ in range(rng.randint(1, 4))], ([], [[], []])),
    Rule(_longest_climb, ("longest_climb", "best_ascent"),
         "It takes a list of integers and returns the length of its longest part of neighbouring values in which at "
         "most {slack} "
         "of the steps from one value to the next do not go up.",
         {"slack": (0, 1, 2)}, _numbers, ([], [4], [3, 3, 3])),
)  # fmt: skip

TASK = Task(
    "functions",
    "Python function generation",
    tuple(_generator(rule) for rule in RULES),
    mark=mark_function,
    needs_sandbox=True,
    items_per_generator=3,
)
