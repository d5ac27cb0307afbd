"""What an eval's run says of itself before its first question: names, seeds, hashes of the questions."""

from collections.abc import Mapping, Sequence

from wayra.lab.runs import RunFacts
from wayra.lab.scoring.grade import DEFINITIONS
from wayra.lab.scoring.settings import EvalSettings
from wayra.lab.suites import SuiteItems


def facts_of(chosen: EvalSettings, suites: Sequence[SuiteItems]) -> RunFacts:
    """The hash of a suite's questions is under "NAME items"."""
    return RunFacts(
        name=f"{chosen.target}: {', '.join(chosen.suites)}",
        definitions=DEFINITIONS,
        seeds={"questions": chosen.seed},
        hashes=question_hashes(suites),
        packages=packages_of(suites),
    )


def question_hashes(suites: Sequence[SuiteItems]) -> dict[str, str]:
    return {f"{found.suite.name} items": found.digest for found in suites}


def packages_of(suites: Sequence[SuiteItems]) -> tuple[str, ...]:
    """Those that questions may have come from."""
    return tuple(sorted({one.suite.package.distribution for one in suites if one.suite.package is not None}))


def sources_of(suites: Sequence[SuiteItems]) -> Mapping[str, object]:
    """For RunWriter.set_facts: where each suite's questions came from, and how many there are."""
    return {
        found.suite.name: {
            "title": found.suite.title,
            "source": found.source,
            "questions": len(found.items),
            "passed_over": len(found.problems),
        }
        for found in suites
    }
