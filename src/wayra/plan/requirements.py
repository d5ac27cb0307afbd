"""The constraints of a workload, checked one by one; each failure says by how much."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from wayra.base.errors import InvalidParameter
from wayra.plan.catalogue import Candidate
from wayra.plan.evidence import Score, benchmarks, scores
from wayra.plan.options import Failure
from wayra.plan.quantity import Quantity, number
from wayra.plan.workload import Workload


@dataclass(frozen=True, slots=True)
class Standard:
    """What counts as good enough: floors in points by benchmark, and scores of one's own that go before published ones.

    Raises: InvalidParameter for a benchmark that neither has a score on.
    """

    floors: Mapping[str, float]
    own: tuple[Score, ...] = ()

    def __post_init__(self) -> None:
        known = {*benchmarks(), *(row.benchmark for row in self.own)}
        for name in self.floors:
            if name not in known:
                near = ", ".join(difflib.get_close_matches(name, known, n=3) or sorted(known))
                raise InvalidParameter(f"no score on a benchmark {name!r} is known; nearest: {near}")

    def score(self, model: str, benchmark: str) -> Score | None:
        """The lowest of one's own scores, else the lowest published: what it reaches in whichever setting."""
        measured = [row for row in self.own if (row.model, row.benchmark) == (model, benchmark)]
        return min(measured or scores(model, benchmark), key=lambda row: row.value, default=None)


def model_failures(candidate: Candidate, workload: Workload, standard: Standard) -> tuple[Failure, ...]:
    """What a model fails wherever it runs: quality, context, licence, tuning."""
    return tuple(_model_failures(candidate, workload, standard))


def _model_failures(candidate: Candidate, workload: Workload, standard: Standard) -> Iterator[Failure]:
    for benchmark, floor in standard.floors.items():
        score = standard.score(candidate.id, benchmark)
        if score is None:
            yield Failure(
                "quality", f"no score of {candidate.title} on {benchmark} is published; measure it with wayra eval"
            )
        elif score.value < floor:
            yield Failure("quality", f"{benchmark} {number(score.value)} is below {number(floor)} ({score.origin()})")
    if candidate.context_len < workload.longest:
        yield Failure("context", f"holds {candidate.context_len:,} tokens, {workload.longest:,} are wanted")
    if workload.open_weights and not candidate.open_weights:
        yield Failure("open weights", f"the weights of {candidate.title} are closed")
    if workload.fine_tuning is not None and not candidate.tunable:
        yield Failure("fine-tuning", f"{candidate.title} cannot be fine-tuned")


def place_failures(kind: str, workload: Workload) -> tuple[Failure, ...]:
    """What privacy and region say of APIs, rented and own machines."""
    found: list[Failure] = []
    if kind == "api" and workload.privacy != "any":
        found.append(Failure("privacy", f"requests leave for a third party; the rule is {workload.privacy}"))
    if kind == "rented" and workload.privacy == "on-premises":
        found.append(Failure("privacy", "a rented machine stands elsewhere; the rule is on-premises"))
    if kind in ("api", "rented") and workload.region:
        what = "the provider's servers" if kind == "api" else "the rented machines"
        found.append(Failure("region", f"no list says where {what} stand; {workload.region} is demanded"))
    return tuple(found)


def money_failures(workload: Workload, usd_per_month: Quantity, setup_usd: Quantity | None) -> tuple[Failure, ...]:
    found: list[Failure] = []
    monthly, upfront = workload.budget_usd_per_month, workload.budget_upfront_usd
    if monthly is not None and usd_per_month.value > monthly:
        found.append(Failure("monthly budget", f"{usd_per_month.value:,.0f} USD a month, the budget is {monthly:,.0f}"))
    if upfront is not None and setup_usd is not None and setup_usd.value > upfront:
        found.append(
            Failure("budget for hardware", f"{setup_usd.value:,.0f} USD of hardware, the budget is {upfront:,.0f}")
        )
    return tuple(found)


def time_failures(workload: Workload, latency_s: float, ttft_s: float) -> tuple[Failure, ...]:
    found: list[Failure] = []
    if workload.latency_p95_s is not None and latency_s > workload.latency_p95_s:
        found.append(Failure("latency", f"{latency_s:.2f} s an answer, {workload.latency_p95_s:g} s are allowed"))
    if workload.ttft_p95_s is not None and ttft_s > workload.ttft_p95_s:
        found.append(
            Failure("time to first token", f"{ttft_s:.2f} s to the first token, {workload.ttft_p95_s:g} s are allowed")
        )
    return tuple(found)


def evidence_for(candidate: Candidate, standard: Standard) -> tuple[Score, ...]:
    """The scores that bear on the floors; of the best known benchmarks when there is no floor."""
    names = tuple(standard.floors) or ("mmlu", "humaneval", "ifeval")
    found = (standard.score(candidate.id, name) for name in names)
    return tuple(score for score in found if score is not None)
