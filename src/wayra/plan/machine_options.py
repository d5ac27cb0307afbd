"""Options on hardware: each model in each format, on cards or a CPU, rented, owned or already there."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from wayra.plan import cost, memory, serving, training
from wayra.plan.catalogue import Candidate
from wayra.plan.hardware import Hardware
from wayra.plan.market import Market
from wayra.plan.models import Architecture, architectures
from wayra.plan.options import Failure, Kind, Option, Place, once, per_mtok
from wayra.plan.prices.dated import stale_warning
from wayra.plan.quantity import Quantity, derived, given, number
from wayra.plan.requirements import (
    Standard,
    evidence_for,
    model_failures,
    money_failures,
    place_failures,
    time_failures,
)
from wayra.plan.stored import Stored
from wayra.plan.workload import FineTuning, Workload

GPU_COUNTS = (1, 2, 4, 8)
LEAST_BATCH = 8
UNSTATED_CONTEXT = 4


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What every option of a model shares. failures: those of the model, wherever it runs."""

    candidate: Candidate
    shape: Architecture
    workload: Workload
    market: Market
    standard: Standard
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class _Draft:
    """An option in bare numbers, to be compared with others of its place; only the nearest is written out.

    most: the pace with the highest rate within the limits; carried: that of its share of the busiest minutes; None
    when the model does not fit.
    """

    kind: Kind
    machine: serving.Machine
    count: int
    most: serving.Pace | None
    carried: serving.Pace | None
    cost: "_Cost"
    trained: Quantity | None
    failures: tuple[Failure, ...]

    def nearest_first(self) -> tuple[int, bool, float]:
        """Fewest failures; of equals rather one that holds the model, for its cost and latency mean something."""
        does_not_fit = any(failure.constraint == "memory" for failure in self.failures)
        return len(self.failures), does_not_fit, self.cost.monthly.value


@dataclass(frozen=True, slots=True)
class _Cost:
    """where: it stands. monthly: with training runs. setup: what the hardware costs at once."""

    where: str
    monthly: Quantity
    setup: Quantity | None


def hardware_options(candidate: Candidate, workload: Workload, market: Market, standard: Standard) -> Iterator[Option]:
    shape = shape_of(candidate)
    if shape is None:
        return
    wanted = _Wanted(candidate, shape, workload, market, standard, model_failures(candidate, workload, standard))
    for found in market.hardware():
        named = found is market.here or found.name in workload.gpus or found.name in workload.have
        if workload.gpus and not named:
            continue
        kinds = _kinds(found, workload, market)
        if not kinds:
            continue
        for fmt in serving.formats_on(found):
            yield from _on_card(wanted, kinds, found, fmt)


def shape_of(candidate: Candidate) -> Architecture | None:
    return next((found for found in architectures() if found.name == candidate.id), None)


def machine_of(option: Option, market: Market) -> serving.Machine | None:
    """The machine an option runs on; None for what runs on none, or is not held by it."""
    place = option.place
    if place is None:
        return None
    shape = next(found for found in architectures() if found.name == place.model)
    card = next(found for found in market.hardware() if found.name == place.hardware)
    fmt = next(found for found in serving.formats_on(card) if found.name == place.format)
    return serving.Machine(shape, card, place.gpus, fmt, market.constants.get(card.kind))


def _on_card(wanted: _Wanted, kinds: tuple[Kind, ...], card: Hardware, fmt: Stored) -> Iterator[Option]:
    """One option a kind: the cheapest number of cards that meets every limit, else the one that comes nearest."""
    drafts: dict[Kind, list[_Draft]] = {kind: [] for kind in kinds}
    for gpus in GPU_COUNTS:
        machine = serving.Machine(wanted.shape, card, gpus, fmt, wanted.market.constants.get(card.kind))
        if not machine.possible():
            continue
        most = serving.best_pace(machine, wanted.workload)
        for kind in kinds:
            drafts[kind].append(_draft(wanted, kind, machine, most))
    for made in drafts.values():
        if made:
            yield _option(wanted, min(made, key=_Draft.nearest_first))


def _kinds(found: Hardware, workload: Workload, market: Market) -> tuple[Kind, ...]:
    kinds: list[Kind] = []
    if any(row.gpu == found.name for row in market.table.rents):
        kinds.append("rented")
    if any(row.gpu == found.name for row in market.table.purchases):
        kinds.append("owned")
    if found.name in workload.have or found is market.here:
        kinds.append("have")
    return tuple(kinds)


def _draft(wanted: _Wanted, kind: Kind, machine: serving.Machine, most: serving.Pace | None) -> _Draft:
    workload = wanted.workload
    count, carried = _sized(machine, workload, most)
    failures = [*wanted.failures, *place_failures(kind, workload)]
    if carried is None:
        failures.append(_does_not_fit(machine, workload))
    else:
        failures += time_failures(workload, carried.latency_s, carried.ttft_s)
    failures += _hardware_failures(kind, machine, count * machine.gpus, workload)
    trained = None
    if workload.fine_tuning is not None:
        trained, missing = _trained(kind, machine, workload.fine_tuning, wanted.market)
        if missing:
            failures.append(Failure("fine-tuning", missing))
    cost = _machine_cost(kind, machine, count * machine.gpus, workload, wanted.market)
    if kind == "rented":
        cost = replace(cost, monthly=_with_training(cost.monthly, trained, workload))
    failures += money_failures(workload, cost.monthly, cost.setup)
    return _Draft(kind, machine, count, most, carried, cost, trained, once(failures))


def _option(wanted: _Wanted, draft: _Draft) -> Option:
    """The draft with the reasons of its numbers."""
    workload, machine, kind, candidate = wanted.workload, draft.machine, draft.kind, wanted.candidate
    most = None if draft.most is None else serving.load_at(machine, workload.traffic, draft.most.batch)
    load = None if draft.carried is None else serving.load_at(machine, workload.traffic, draft.carried.batch)
    count = given("machines", 1, "", "at least one")
    if most is not None:
        count = serving.machines(most, workload.peak_rate())
    risks = [
        serving.speed_risk(machine),
        *_near_limits(workload, load),
        serving.FORMAT_RISK.get(machine.fmt.name, ""),
        _OWN_RISK[kind],
        *memory.copies_of_cache(machine.shape, machine.gpus),
        machine.shape.note if machine.shape.mixers else "",
        serving.POWER_UNKNOWN if kind != "rented" and not machine.card.watts else "",
        f"licence: {candidate.licence}",
    ]
    return Option(
        kind=kind,
        label=f"{candidate.title}, {machine.fmt.name}, {_cards(machine, count)}, {draft.cost.where}",
        model=candidate.id,
        usd_per_month=draft.cost.monthly,
        usd_per_mtok=per_mtok(draft.cost.monthly, workload),
        setup_usd=draft.cost.setup,
        memory_gb=_memory(machine, workload, load),
        machines=count,
        latency_s=load.latency_s if load else None,
        ttft_s=load.ttft_s if load else None,
        tok_per_s=load.tok_per_s if load else None,
        capacity_mtok=_capacity(most, workload),
        training=draft.trained,
        evidence=evidence_for(candidate, wanted.standard),
        risks=tuple(risk for risk in risks if risk),
        failures=draft.failures,
        stale=_stale(kind, machine.card.name, wanted.market),
        place=_placed(candidate, machine, workload, count, load),
        weight_bits=machine.fmt.linear_bits,
    )


def _near_limits(workload: Workload, load: serving.Load | None) -> Iterator[str]:
    """What keeps a limit as predicted, and may miss it within the interval of the prediction, or has none."""
    if load is None:
        return
    for what, limit_s, made in (
        ("whole answers", workload.latency_p95_s, load.latency_s),
        ("first tokens", workload.ttft_p95_s, load.ttft_s),
    ):
        if limit_s is None or made.value > limit_s:
            continue
        if made.low is None or made.high is None:
            yield f"the limit on {what} is kept by a prediction that was compared with no measured time: measure it"
        elif made.high > limit_s:
            yield (
                f"the limit on {what}, {limit_s:g} s, lies within the interval of the prediction, "
                f"{number(made.low)} to {number(made.high)} s: measure it"
            )


def _cards(machine: serving.Machine, count: Quantity) -> str:
    name = machine.card.title if machine.card.measured else machine.card.name
    if machine.card.kind != "gpu" or count.value == 1:
        return f"{machine.gpus * count.value:.0f} x {name}"
    return f"{count.value:.0f} machines of {machine.gpus} x {name}"


def _placed(
    candidate: Candidate, machine: serving.Machine, workload: Workload, count: Quantity, carried: serving.Load | None
) -> Place | None:
    """What sets the machines up for their share of the busiest minutes."""
    if carried is None:
        return None
    average = workload.traffic.input_tokens + workload.traffic.output_tokens
    batch = max(carried.batch, LEAST_BATCH)
    context = workload.context_len or _context_of(average, candidate.context_len)
    return Place(
        model=machine.shape.name,
        format=machine.fmt.name,
        hardware=machine.card.name,
        hardware_kind=machine.card.kind,
        gpus=machine.gpus,
        machines=int(count.value),
        cores=machine.card.cores,
        batch=batch,
        context=context,
        weights_bytes=memory.weights_bytes(machine.shape, machine.fmt).value,
        kv_bytes=max(
            batch * serving.kv_bytes_per_sequence(machine, average), serving.kv_bytes_per_sequence(machine, context)
        ),
        runtime_bytes=memory.runtime_bytes(machine.shape, machine.card, machine.gpus).value,
        requests_per_s=carried.requests_per_s.value,
        mean_requests_per_s=workload.peak_requests_per_s / workload.peak_factor,
    )


def _context_of(average: float, most: int) -> int:
    """Where no longest request is stated: four times the average, in whole thousands of 1,024."""
    return max(int(average), min(most, math.ceil(UNSTATED_CONTEXT * average / 1024) * 1024))


def _hardware_failures(kind: Kind, machine: serving.Machine, gpus: int, workload: Workload) -> list[Failure]:
    found: list[Failure] = []
    if machine.card.kind == "cpu" and (beyond := machine.shape.beyond_engine):
        found.append(Failure("hardware", f"this engine, which CPUs are planned with, runs no {beyond} yet"))
    # The machine at hand is in no list and is there once.
    have = workload.have.get(machine.card.name, 1)
    if kind == "have" and gpus > have:
        noun = "cards" if machine.card.kind == "gpu" else "machines"
        found.append(Failure("hardware", f"{gpus:,} {noun} are needed for the peak, {have} are there"))
    return found


def _trained(kind: Kind, machine: serving.Machine, wanted: FineTuning, market: Market) -> tuple[Quantity | None, str]:
    """A run's cost on rented cards, its hours on own ones; with a sentence when there is no room for it."""
    if kind != "rented":
        return training.train_at_home(machine.shape, wanted, machine.card, machine.gpus)
    run = training.plan_training(machine.shape, wanted, market.table)
    return (
        run,
        "" if run is not None else f"no eight rented cards hold {training.NAMES[training.methods_of(wanted)[-1]]}",
    )


_OWN_RISK: Mapping[Kind, str] = {
    "rented": "prices of rented GPUs move within weeks, and the cheapest may be out of stock",
    "owned": "one's own people keep it running; staff is counted only where stated",
    "have": "other work on these cards is not counted",
}


def _sized(machine: serving.Machine, workload: Workload, most: serving.Pace | None) -> tuple[int, serving.Pace | None]:
    """How many machines carry the busiest minutes, and what each does then."""
    if most is None:
        return 1, None
    count = serving.num_machines(most, workload.peak_requests_per_s)
    return count, serving.pace_of(machine, workload, workload.peak_requests_per_s / count, most)


def _capacity(load: serving.Load | None, workload: Workload) -> Quantity | None:
    return serving.capacity_mtok_per_month(load, workload.traffic, workload.peak()) if load else None


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


def _machine_cost(kind: Kind, machine: serving.Machine, gpus: int, workload: Workload, market: Market) -> _Cost:
    if kind == "rented":
        rent = market.table.cheapest_rent(machine.card.name)
        return _Cost(f"rented at {rent.provider}", cost.rent_usd_per_month(rent.quantity(), gpus), None)
    owning = replace(workload.ownership, power_w=machine.card.watts)
    if kind == "owned":
        price = market.table.purchase(machine.card.name).quantity()
        paid = cost.hardware_usd(price, gpus, gpus // machine.gpus, owning)
        return _Cost("owned", cost.owned_usd_per_month(paid, gpus, owning), paid)
    nothing = given("hardware_usd", 0.0, "USD", "already there")
    return _Cost("already there", cost.owned_usd_per_month(nothing, gpus, owning), None)


def _with_training(monthly: Quantity, trained: Quantity | None, workload: Workload) -> Quantity:
    if trained is None or workload.fine_tuning is None:
        return monthly
    return derived(
        "usd_per_month",
        "USD/month",
        "serving_usd_per_month + training_usd * runs_per_year / 12",
        monthly.named("serving_usd_per_month"),
        trained,
        given("runs_per_year", workload.fine_tuning.runs_per_year, "1/year", _of_training(workload.fine_tuning)),
    )


def _of_training(wanted: FineTuning) -> str:
    return cost.ASSUMED if "runs_per_year" in wanted.assumed else cost.STATED


def _stale(kind: Kind, gpu: str, market: Market) -> tuple[str, ...]:
    if kind == "rented":
        row = market.table.cheapest_rent(gpu)
        text = stale_warning(f"the rent of {gpu} at {row.provider}", row.as_of, market.today)
    elif kind == "owned":
        text = stale_warning(f"the price of {gpu}", market.table.purchase(gpu).as_of, market.today)
    else:
        text = None
    return (text,) if text else ()
