"""The plan: every model, place and precision weighed against a workload; what remains ranked, the rest with reasons."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import combinations

from wayra.base.errors import InvalidParameter, SourceError
from wayra.plan import cost, serving, training
from wayra.plan.against_api import Comparison, against_api
from wayra.plan.catalogue import Candidate, candidates
from wayra.plan.evidence import Score
from wayra.plan.hardware import Hardware, all_hardware, hardware
from wayra.plan.models import Architecture, architectures
from wayra.plan.options import Constraint, Failure, Kind, Option
from wayra.plan.prices.api import api_price
from wayra.plan.prices.dated import stale_warning
from wayra.plan.prices.table import ApiPrice, PriceTable
from wayra.plan.quantity import Quantity, computed, derived, given
from wayra.plan.requirements import (
    Standard,
    evidence_for,
    model_failures,
    money_failures,
    place_failures,
    time_failures,
)
from wayra.plan.stored import Stored
from wayra.plan.workload import FineTuning, Route, Workload

GPU_COUNTS = (1, 2, 4, 8)
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


@dataclass(frozen=True, slots=True)
class Market:
    """What is known from outside: prices of hardware, the day on which price lists are read, scores of one's own."""

    table: PriceTable
    today: date
    own_scores: tuple[Score, ...] = ()


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
        found += _hardware_options(candidate, workload, market, standard)
        if candidate.open_weights and _shape(candidate) is None:
            warnings.append(f"{candidate.title}: its shape is not known here, so only its APIs were weighed")
    return found, warnings


def _api_options(
    candidate: Candidate, workload: Workload, market: Market, standard: Standard
) -> tuple[list[Option], list[str]]:
    found: list[Option] = []
    stated = [row for row in market.table.apis if row.model == candidate.id]
    try:
        listed = [
            api_price(provider, name, on=market.today, prompt_tokens=int(workload.traffic.input_tokens))
            for provider, name in candidate.sold
        ]
    except SourceError as error:
        return [_api_option(candidate, row, workload, standard) for row in stated], [str(error)]
    except InvalidParameter as error:
        return [_api_option(candidate, row, workload, standard) for row in stated], [
            f"{candidate.title}: {error}; the price list has changed"
        ]
    for price in [*stated, *listed]:
        found.append(_api_option(candidate, price, workload, standard))
    return found, []


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
            f"its {' and '.join(unknown)} cannot be known from here; wayra bench URL measures what the provider does"
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
        usd_per_mtok=_per_mtok(monthly, workload),
        evidence=evidence_for(candidate, standard),
        risks=tuple(risks),
        unknowns=tuple(unknown),
        failures=_once(failures),
    )


def _hardware_options(candidate: Candidate, workload: Workload, market: Market, standard: Standard) -> Iterator[Option]:
    shape = _shape(candidate)
    if shape is None:
        return
    for found in all_hardware():
        if workload.gpus and found.name not in workload.gpus and found.name not in workload.have:
            continue
        if not _kinds(found, workload, market):
            continue
        for fmt in serving.FORMATS:
            yield from _on_card(candidate, workload, market, standard, (found, fmt))


def _shape(candidate: Candidate) -> Architecture | None:
    return next((found for found in architectures() if found.name == candidate.id), None)


def _on_card(
    candidate: Candidate,
    workload: Workload,
    market: Market,
    standard: Standard,
    place: tuple[Hardware, Stored],
) -> Iterator[Option]:
    """One option a kind: the cheapest number of cards that meets every limit, else the one that comes nearest."""
    shape = _shape(candidate)
    assert shape is not None
    kinds = _kinds(place[0], workload, market)
    made: dict[Kind, list[Option]] = {kind: [] for kind in kinds}
    for gpus in GPU_COUNTS:
        machine = serving.Machine(shape, place[0], gpus, place[1])
        if not machine.possible():
            continue
        load = serving.best_load(
            machine, workload.traffic, workload.longest, workload.latency_p95_s, workload.ttft_p95_s
        )
        for kind in kinds:
            made[kind].append(_machine_option(candidate, workload, market, standard, (kind, machine, load)))
    for options in made.values():
        if options:
            yield min(options, key=_nearest_first)


def _kinds(found: Hardware, workload: Workload, market: Market) -> tuple[Kind, ...]:
    kinds: list[Kind] = []
    if any(row.gpu == found.name for row in market.table.rents):
        kinds.append("rented")
    if any(row.gpu == found.name for row in market.table.purchases):
        kinds.append("owned")
    if found.name in workload.have:
        kinds.append("have")
    return tuple(kinds)


def _machine_option(
    candidate: Candidate,
    workload: Workload,
    market: Market,
    standard: Standard,
    place: tuple[Kind, serving.Machine, serving.Load | None],
) -> Option:
    kind, machine, most = place
    count, load = _sized(machine, workload, most)
    failures = [*model_failures(candidate, workload, standard), *place_failures(kind, workload)]
    gpus = serving.total_gpus(machine, count)
    where, monthly, setup = _machine_cost(kind, machine, gpus, workload, market)
    if load is None:
        failures.append(_does_not_fit(machine, workload))
    else:
        failures += time_failures(workload, load.latency_s, load.ttft_s)
    if kind == "have" and gpus.value > workload.have[machine.card.name]:
        have = workload.have[machine.card.name]
        failures.append(Failure("hardware", f"{gpus.value:.0f} cards are needed for the peak, {have} are there"))
    failures += money_failures(workload, monthly, setup)
    trained = None
    if workload.fine_tuning is not None:
        trained, missing = _trained(kind, machine, workload.fine_tuning, market)
        if missing:
            failures.append(Failure("fine-tuning", missing))
    risks = [
        serving.UNCALIBRATED,
        serving.FORMAT_RISK.get(machine.fmt.name, ""),
        _OWN_RISK[kind],
        f"licence: {candidate.licence}",
    ]
    return Option(
        kind=kind,
        label=f"{candidate.title}, {machine.fmt.name}, {count.value:.0f} x {machine.gpus} {machine.card.name}, {where}",
        model=candidate.id,
        usd_per_month=monthly if kind != "rented" else _with_training(monthly, trained, workload),
        usd_per_mtok=_per_mtok(monthly, workload),
        setup_usd=setup,
        memory_gb=_memory(machine, workload, load),
        machines=count,
        latency_s=load.latency_s if load else None,
        ttft_s=load.ttft_s if load else None,
        tok_per_s=load.tok_per_s if load else None,
        capacity_mtok=_capacity(most, workload),
        training=trained,
        evidence=evidence_for(candidate, standard),
        risks=tuple(risk for risk in risks if risk),
        failures=_once(failures),
        stale=_stale(kind, machine.card.name, market),
    )


def _trained(kind: Kind, machine: serving.Machine, wanted: FineTuning, market: Market) -> tuple[Quantity | None, str]:
    """A run's cost on rented cards, its hours on own ones; with a sentence when there is no room for it."""
    if kind != "rented":
        return training.train_at_home(machine.shape, wanted, machine.card, machine.gpus)
    run = training.plan_training(machine.shape, wanted, market.table)
    return run, "" if run is not None else "no eight rented cards hold even QLoRA"


_OWN_RISK: Mapping[Kind, str] = {
    "rented": "prices of rented GPUs move within weeks, and the cheapest may be out of stock",
    "owned": "one's own people keep it running; staff is counted only where stated",
    "have": "other work on these cards is not counted",
}


def _sized(
    machine: serving.Machine, workload: Workload, most: serving.Load | None
) -> tuple[Quantity, serving.Load | None]:
    """How many machines carry the busiest minutes, and what each does then."""
    if most is None:
        return given("machines", 1, "", "at least one"), None
    count = serving.machines(most, workload.peak_requests_per_s)
    each = workload.peak_requests_per_s / count.value
    return count, serving.load_of(machine, workload.traffic, workload.longest, each, most)


def _capacity(load: serving.Load | None, workload: Workload) -> Quantity | None:
    return serving.capacity_mtok_per_month(load, workload.traffic, workload.peak_factor) if load else None


def _memory(machine: serving.Machine, workload: Workload, load: serving.Load | None) -> Quantity:
    batch = load.batch if load else 1
    context = workload.traffic.input_tokens + workload.traffic.output_tokens if load else workload.longest
    return serving.memory_gb(machine, batch, context)


def _does_not_fit(machine: serving.Machine, workload: Workload) -> Failure:
    needed = serving.memory_gb(machine, 1, workload.longest).value
    there = serving.usable_gb(machine)
    return Failure(
        "memory", f"one sequence of {workload.longest:,} tokens takes {needed:.1f} GB, {there:.1f} GB can be used"
    )


def _machine_cost(
    kind: Kind, machine: serving.Machine, gpus: Quantity, workload: Workload, market: Market
) -> tuple[str, Quantity, Quantity | None]:
    """Where it stands, what a month costs, what the hardware costs at once."""
    count = int(gpus.value)
    if kind == "rented":
        rent = market.table.cheapest_rent(machine.card.name)
        return f"rented at {rent.provider}", cost.rent_usd_per_month(rent.quantity(), count), None
    owning = replace(workload.ownership, power_w=machine.card.watts)
    if kind == "owned":
        price = market.table.purchase(machine.card.name).quantity()
        paid = cost.hardware_usd(price, count, count // machine.gpus, owning)
        return "owned", cost.owned_usd_per_month(paid, count, owning), paid
    nothing = given("hardware_usd", 0.0, "USD", "already there")
    return "already there", cost.owned_usd_per_month(nothing, count, owning), None


def _with_training(monthly: Quantity, trained: Quantity | None, workload: Workload) -> Quantity:
    if trained is None or workload.fine_tuning is None:
        return monthly
    return derived(
        "usd_per_month",
        "USD/month",
        "serving_usd_per_month + training_usd * runs_per_year / 12",
        monthly.named("serving_usd_per_month"),
        trained,
        given("runs_per_year", workload.fine_tuning.runs_per_year, "1/year", cost.STATED),
    )


def _per_mtok(monthly: Quantity, workload: Workload) -> Quantity:
    volume = given("mtok_per_month", workload.traffic.mtok_per_month, "Mtok/month", "the workload, input and output")
    return derived("usd_per_mtok", "USD/Mtok", "usd_per_month / mtok_per_month", monthly.named("usd_per_month"), volume)


def _hybrids(workload: Workload, market: Market) -> tuple[list[Option], list[str]]:
    """The cheapest feasible option for each route, together: one hybrid, or the reason why a route has none."""
    parts: list[Option] = []
    warnings: list[str] = []
    for route in workload.routes:
        standard = Standard({**workload.quality, **route.quality}, market.own_scores)
        weighed, more = _weigh(_part(workload, route), market, standard)
        warnings += more
        feasible = [option for option in weighed if option.feasible]
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
        usd_per_mtok=_per_mtok(total, workload),
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
    traffic = replace(workload.traffic, requests_per_month=workload.traffic.requests_per_month * route.share)
    return replace(workload, traffic=traffic, routes=(), budget_usd_per_month=None, budget_upfront_usd=None)


def find_conflict(rejected: Sequence[Option]) -> Conflict | None:
    """The smallest set of constraints that no option meets together; of these the one that leaves most options near."""
    failing: list[tuple[Option, frozenset[Constraint]]] = [
        (option, frozenset(failure.constraint for failure in option.failures)) for option in rejected
    ]
    every: list[Constraint] = sorted({constraint for _, failed in failing for constraint in failed})
    for size in range(1, len(every) + 1):
        found = [group for group in combinations(every, size) if all(failed & set(group) for _, failed in failing)]
        if found:
            group = min(found, key=lambda group: sum(len(failed - set(group)) for _, failed in failing))
            return Conflict(group, _explain_conflict(group, failing))
    return None


def _explain_conflict(group: tuple[Constraint, ...], failing: Sequence[tuple[Option, frozenset[Constraint]]]) -> str:
    if len(group) == 1:
        nearest = min(failing, key=lambda pair: len(pair[1]))[0]
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


def _nearest_first(option: Option) -> tuple[int, bool, float]:
    """Fewest failures; of equals rather one that holds the model, for its cost and latency mean something."""
    does_not_fit = any(failure.constraint == "memory" for failure in option.failures)
    return len(option.failures), does_not_fit, option.usd_per_month.value


def _nearness(option: Option) -> tuple[int, float]:
    return len(option.failures), option.usd_per_month.value


def _once(failures: Sequence[Failure]) -> tuple[Failure, ...]:
    """One failure a constraint: the first found is the plainest."""
    return tuple({failure.constraint: failure for failure in reversed(failures)}.values())[::-1]


def _stale(kind: Kind, gpu: str, market: Market) -> tuple[str, ...]:
    if kind == "rented":
        row = market.table.cheapest_rent(gpu)
        text = stale_warning(f"the rent of {gpu} at {row.provider}", row.as_of, market.today)
    elif kind == "owned":
        text = stale_warning(f"the price of {gpu}", market.table.purchase(gpu).as_of, market.today)
    else:
        text = None
    return (text,) if text else ()
