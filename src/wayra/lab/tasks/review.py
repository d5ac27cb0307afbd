"""Code with planted bugs among sound functions; a review must name their lines and kinds, and nothing else."""

import random
import re
from collections.abc import Mapping
from typing import cast

from wayra.lab.items import Item, Score
from wayra.lab.tasks.answers import visible
from wayra.lab.tasks.api import Draft, Generator, Task
from wayra.lab.tasks.planted import KINDS, PROGRAMS, Bug, Program

FALSE_ALARM_COST = 0.25
FINDING = re.compile(
    r"^[\s>*_`#-]*LINE\s*:?\s*(\d{1,4})\s*[*_`]*\s*[:,-]?\s*[*_`]*\s*([a-z]+[- ][a-z-]+)", re.IGNORECASE | re.MULTILINE
)


def mark_review(item: Item, answer: str) -> Score:
    """A bug counts fully with line and kind, half with the line alone; each false alarm costs a quarter of a bug."""
    planted = {int(line): kind for line, kind in cast(Mapping[str, str], item.target).items()}
    found = {int(line): kind.lower().replace(" ", "-") for line, kind in FINDING.findall(visible(answer))}
    if not found:
        return Score(0.0, False, 'there is no line "LINE <number>: <kind>"')
    named = sum(found.get(line) == kind for line, kind in planted.items())
    placed = sum(line in found for line in planted)
    alarms = len(found.keys() - planted.keys())
    value = max(0.0, (named + 0.5 * (placed - named) - FALSE_ALARM_COST * alarms) / len(planted))
    is_right = named == len(planted) and not alarms
    why = f"{placed} of {len(planted)} bugs found, {named} with their kind, {alarms} false alarms"
    return Score(value, is_right, why, "; ".join(f"{line}: {kind}" for line, kind in sorted(found.items())))


def _module(chosen: list[tuple[Program, Bug | None]]) -> tuple[str, dict[int, str]]:
    """Its text, and line -> kind of what is planted."""
    lines: list[str] = []
    planted: dict[int, str] = {}
    for program, bug in chosen:
        lines.append(f"# {program.name} {program.purpose}.")
        if bug is not None:
            planted[len(lines) + program.line_of(bug)] = bug.kind
        text = program.source if bug is None else program.with_bug(bug)
        lines += [*text.rstrip().split("\n"), "", ""]
    return "\n".join(f"{number:3d}  {line}".rstrip() for number, line in enumerate(lines[:-2], start=1)), planted


def _generator(program: Program) -> Generator:
    def generate(rng: random.Random) -> Draft | None:
        others = rng.sample([one for one in PROGRAMS if one is not program], 2)
        chosen: list[tuple[Program, Bug | None]] = [(program, rng.choice(program.bugs))]
        chosen += [(others[0], rng.choice((None, rng.choice(others[0].bugs)))), (others[1], None)]
        rng.shuffle(chosen)
        text, planted = _module(chosen)
        kinds = "\n".join(f"- {kind}: {meaning}" for kind, meaning in KINDS.items())
        ask = (
            "Review this Python module. The comment above each function says what it does. One or two lines of it "
            "are wrong, "
            "each in one function; the rest is right. The numbers on the left are line numbers.\n\n"
            f"```\n{text}\n```\n\nKinds of bugs:\n{kinds}\n\nWrite for each bug one line of the form\n"
            "LINE <number>: <kind>\nand nothing for lines that are right."
        )
        reference = "\n".join(f"LINE {line}: {kind}" for line, kind in planted.items())
        off = "\n".join(f"LINE {line + 1}: {kind}" for line, kind in planted.items())
        others_of = [kind for kind in KINDS if kind not in planted.values()]
        misnamed = "\n".join(f"LINE {line}: {others_of[0]}" for line in planted)
        wrong = (off, misnamed, f"{reference}\nLINE 1: off-by-one", "It looks good to me.")
        return Draft(ask, reference, wrong, {str(line): kind for line, kind in planted.items()})

    generate.__name__ = program.name
    return generate


TASK = Task("review", "Code review", tuple(map(_generator, PROGRAMS)), mark=mark_review, items_per_generator=3)
