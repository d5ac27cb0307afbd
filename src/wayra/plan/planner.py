"""The plan: every model, place and precision weighed against a workload; what remains ranked, the rest with reasons."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from wayra.base.errors import InvalidParameter, SourceError
from wayra.plan import cost
from wayra.plan.against_api import Comparison, against_api
from wayra.plan.catalogue import Candidate, candidates
from wayra.plan.hardware import hardware
from wayra.plan.machine_options import hardware_options, shape_of
from wayra.plan.market import Market
from wayra.plan.options import Constraint, Failure, Option, once, per_mtok
from wayra.plan.prices.api import api_price
from wayra.plan.prices.dated import stale_warning
from wayra.plan.prices.table import ApiPrice
from wayra.plan.quantity import computed
from wayra.plan.requirements import Standard, evidence_for, model_failures, money_failures, place_failures
from wayra.plan.workload import Route, Workload

DEPENDENCE = "depends on one provider's prices, limits and uptime"


@dataclass(frozen=True, slots=True)
class Conflict:
    """Constraints that no option meets together, and what each costs the other."""

    constraints: tuple[Constraint, ...]
    explanation: str


@dataclass(frozen=True, slots=True)
class Plan:
    """options: feasible ones, best first. rejected: the rest, nearest to feasible first. conflict: when none remains.
    break_even: machines against an API, when both would do.

    warnings: prices that are old, lists that are missing.
    """

    workload: Workload
    options: tuple[Option, ...]
    rejected: tuple[Option, ...]
    conflict: Conflict | None
    break_even: Comparison | None
    warnings: tuple[str, ...]


def make_plan(workload: Workload, market: Market) -> Plan:
    """Weigh every option. Raises InvalidParameter for unknown models, GPUs and benchmarks, with the nearest names."""
    workload = replace(
        workload,
        gpus=tuple(hardware(name).name for name in workload.gpus),
        have={hardware(name).name: count for name, count in workload.have.items()},
    )
    weighed, warnings = _weigh(workload, market, Standard(_every_floor(workload), market.own_scores))
    if workload.routes:
        hybrids, more = _hybrids(workload, market)
        weighed += hybrids
        warnings += more
    options = sorted((option for option in weighed if option.feasible), key=Option.rank)
    rejected = sorted((option for option in weighed if not option.feasible), key=_nearness)
    if not weighed:
        raise InvalidParameter("nothing is left to choose from; name fewer models and GPUs, or others")
    conflict = None if options else find_conflict(rejected)
    compared = against_api([*options, *rejected])
    return Plan(workload, tuple(options), tuple(rejected), conflict, compared, tuple(dict.fromkeys(warnings)))


def _every_floor(workload: Workload) -> dict[str, float]:
    """The highest floor of any route: what one model alone must reach."""
    floors = dict(workload.quality)
    for route in workload.routes:
        for benchmark, floor in route.quality.items():
            floors[benchmark] = max(floor, floors.get(benchmark, 0.0))
    return floors


def _weigh(workload: Workload, market: Market, standard: Standard) -> tuple[list[Option], list[str]]:
    found: list[Option] = []
    warnings: list[str] = []
    for candidate in candidates(workload.models):
        sold, missing = _api_options(candidate, workload, market, standard)
        found += sold
        warnings += missing
        found += hardware_options(candidate, workload, market, standard)
        if candidate.open_weights and shape_of(candidate) is None:
            warnings.append(f"{candidate.title}: its shape is not known here, so only its APIs were weighed")
    return found, warnings


def _api_options(
    candidate: Candidate, workload: Workload, market: Market, standard: Standard
) -> tuple[list[Option], list[str]]:
    rows = [
        (row, f"the price of {row.model} at {row.provider}") for row in market.table.apis if row.model == candidate.id
    ]
    missing: list[str] = []
    try:
        for provider, name in candidate.sold:
            price = api_price(provider, name, on=market.today, prompt_tokens=int(workload.traffic.input_tokens))
            rows.append((price, f"the price list of {price.source}"))
    except SourceError as error:
        missing.append(str(error))
    except InvalidParameter as error:
        missing.append(f"{candidate.title}: {error}; the price list has changed")
    found: list[Option] = []
    for price, what in rows:
        option = _api_option(candidate, price, workload, standard)
        stale = stale_warning(what, price.as_of, market.today)
        found.append(replace(option, stale=(stale,)) if stale else option)
    return found, missing


def _api_option(candidate: Candidate, price: ApiPrice, workload: Workload, standard: Standard) -> Option:
    monthly = cost.api_usd_per_month(workload.traffic, price.input_price(), price.output_price(), price.cached_price())
    failures = [
        *model_failures(candidate, workload, standard),
        *place_failures("api", workload),
        *money_failures(workload, monthly, None),
    ]
    if price.context_len is not None and price.context_len < workload.longest:
        failures.append(Failure("context", f"{price.provider} takes {price.context_len:,} tokens"))
    unknown: list[Constraint] = []
    if workload.latency_p95_s is not None:
        unknown.append("latency")
    if workload.ttft_p95_s is not None:
        unknown.append("time to first token")
    risks = [DEPENDENCE]
    if unknown:
        risks.append(
            f"not known to meet the limit on {' and '.join(unknown)}, which cannot be known from here; "
            "wayra bench URL measures what the provider does"
        )
    if price.note:
        risks.append(price.note)
    if workload.fine_tuning is not None:
        risks.append("the price is that of the plain model; tuned ones cost more, or are not served")
    return Option(
        kind="api",
        label=f"{candidate.title}, API of {price.provider}",
        model=candidate.id,
        usd_per_month=monthly,
        usd_per_mtok=per_mtok(monthly, workload),
        evidence=evidence_for(candidate, standard),
        risks=tuple(risks),
        unknowns=tuple(unknown),
        failures=once(failures),
    )


def _hybrids(workload: Workload, market: Market) -> tuple[list[Option], list[str]]:
    """The cheapest feasible option for each route, together: one hybrid, or the reason why a route has none."""
    parts: list[Option] = []
    warnings: list[str] = []
    for route in workload.routes:
        standard = Standard({**workload.quality, **route.quality}, market.own_scores)
        part = _part(workload, route)
        # Most models fall out by themselves wherever they run; these are weighed only where the reason is asked for.
        able = [row.id for row in candidates(part.models) if not model_failures(row, part, standard)]
        weighed, more = _weigh(replace(part, models=tuple(able)), market, standard) if able else ([], [])
        feasible = [option for option in weighed if option.feasible]
        if not feasible:
            weighed, more = _weigh(part, market, standard)
        warnings += more
        if not feasible:
            conflict = find_conflict(weighed)
            why = conflict.explanation if conflict else "nothing was weighed"
            return [], [*warnings, f"route {route.name!r} has no option of its own: {why}"]
        parts.append(min(feasible, key=Option.rank))
    total = cost.weighted_usd_per_month(
        tuple((route.share, part.usd_per_month) for route, part in zip(workload.routes, parts, strict=True))
    )
    named = "; ".join(f"{route.name}: {part.label}" for route, part in zip(workload.routes, parts, strict=True))
    setups = [part.setup_usd for part in parts if part.setup_usd is not None]
    setup = (
        computed("hardware_usd", sum(s.value for s in setups), "USD", "sum of the routes", *setups) if setups else None
    )
    hybrid = Option(
        kind="hybrid",
        label=f"Hybrid ({named})",
        model="+".join(dict.fromkeys(part.model for part in parts)),
        usd_per_month=total,
        usd_per_mtok=per_mtok(total, workload),
        setup_usd=setup,
        evidence=tuple(dict.fromkeys(score for part in parts for score in part.evidence)),
        risks=(
            "something must tell the routes' requests apart, and errs at times",
            *dict.fromkeys(risk for part in parts for risk in part.risks),
        ),
        unknowns=tuple(dict.fromkeys(unknown for part in parts for unknown in part.unknowns)),
        failures=money_failures(workload, total, setup),
        parts=tuple(parts),
        stale=tuple(dict.fromkeys(text for part in parts for text in part.stale)),
    )
    return [hybrid], warnings


def _part(workload: Workload, route: Route) -> Workload:
    """The workload of one route: its share of the requests; budgets count for the sum, not for the part."""
    traffic = workload.traffic.share_of(route.share)
    return replace(workload, traffic=traffic, routes=(), budget_usd_per_month=None, budget_upfront_usd=None)


def find_conflict(rejected: Sequence[Option]) -> Conflict | None:
    """The smallest set of constraints that no option meets together; of these the one that leaves most options near."""
    failing: list[tuple[Option, frozenset[Constraint]]] = [
        (option, frozenset(failure.constraint for failure in option.failures)) for option in _worth_a_change(rejected)
    ]
    every: list[Constraint] = sorted({constraint for _, failed in failing for constraint in failed})
    for size in range(1, len(every) + 1):
        found = [group for group in combinations(every, size) if all(failed & set(group) for _, failed in failing)]
        if found:
            group = min(found, key=lambda group: sum(len(failed - set(group)) for _, failed in failing))
            return Conflict(group, _explain_conflict(group, failing))
    return None


def _worth_a_change(rejected: Sequence[Option]) -> list[Option]:
    """Without what no constraint of the workload keeps out: a model on hardware too small for it, which fits others."""
    placed = {option.model for option in rejected if not _misplaced(option)}
    return [option for option in rejected if not (_misplaced(option) and option.model in placed)]


def _misplaced(option: Option) -> bool:
    """Whether the machine cannot run the model. That of cards at hand there are too few is the workload's matter."""
    return any(
        failure.constraint == "memory" or (failure.constraint == "hardware" and option.kind != "have")
        for failure in option.failures
    )


def _explain_conflict(group: tuple[Constraint, ...], failing: Sequence[tuple[Option, frozenset[Constraint]]]) -> str:
    if len(group) == 1:
        nearest = min(failing, key=lambda pair: _apart(pair[0], group[0]))[0]
        reason = next(failure.reason for failure in nearest.failures if failure.constraint == group[0])
        return f"no option meets the constraint {group[0]}; nearest is {nearest.label}: {reason}"
    texts: list[str] = []
    for constraint in group:
        others = set(group) - {constraint}
        meeting = [option for option, failed in failing if not failed & others]
        nearest = min(meeting, key=lambda option: len(option.failures), default=None)
        if nearest is not None:
            reason = next(failure.reason for failure in nearest.failures if failure.constraint == constraint)
            texts.append(f"without {constraint}, {nearest.label} comes nearest ({reason})")
    return f"no option meets {' and '.join(group)} together: " + "; ".join(texts)


def _apart(option: Option, constraint: Constraint) -> tuple[float, int]:
    """How far an option is from meeting a constraint: of budgets the money, else by what else it fails."""
    setup = option.setup_usd.value if option.setup_usd is not None else 0.0
    money: dict[Constraint, float] = {"monthly budget": option.usd_per_month.value, "budget for hardware": setup}
    return money.get(constraint, 0.0), len(option.failures)


def _nearness(option: Option) -> tuple[int, float]:
    return len(option.failures), option.usd_per_month.value
