"""A function with a bug and what a user says about it; the repaired function is run on cases."""

import random

from wayra.lab.tasks.api import Draft, Generator, Task
from wayra.lab.tasks.planted import PROGRAMS, Program
from wayra.lab.tasks.running import Case, in_block, literal, mark_function

REPORTS = (
    "A user writes: \N{LEFT DOUBLE QUOTATION MARK}{symptom}.\N{RIGHT DOUBLE QUOTATION MARK} {name}{given} should "
    "give {wanted}.",
    "From the bug tracker: {symptom}. Expected {wanted} from {name}{given}.",
    "Since the last change {symptom}. It used to give {wanted} for {name}{given}.",
)


def _generator(program: Program) -> Generator:
    def generate(rng: random.Random) -> Draft | None:
        bug = rng.choice(program.bugs)
        given = [*program.special, *(program.arguments(rng) for _ in range(16))]
        cases: list[Case] = [(arguments, program.function(*arguments)) for arguments in given]
        shown, wanted = rng.choice(cases[len(program.special) :])
        called = f"({', '.join(map(repr, shown))})"
        report = rng.choice(REPORTS).format(symptom=bug.symptom, name=program.name, given=called, wanted=repr(wanted))
        ask = (
            f"This function has a bug:\n\n{in_block(program.with_bug(bug))}\n\nWhat it should do: `{program.name}` "
            f"{program.purpose}.\n{report}\n\nAnswer with the whole corrected function in one ```python block."
        )
        other = next(one for one in program.bugs if one is not bug)
        wrong = (in_block(program.with_bug(bug)), in_block(program.with_bug(other)), "Check the loop.")
        data = {"function": program.name, "cases": literal(cases), "bug": bug.kind}
        return Draft(ask, in_block(program.source), wrong, None, data, 768)

    generate.__name__ = program.name
    return generate


TASK = Task(
    "bug_fix",
    "Bug fix from a description",
    tuple(map(_generator, PROGRAMS)),
    mark=mark_function,
    needs_sandbox=True,
    items_per_generator=3,
)
