"""Options on hardware: each model in each format, on cards or a CPU, rented, owned or already there."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

from wayra.plan import cost, memory, serving, training
from wayra.plan.catalogue import Candidate
from wayra.plan.hardware import Hardware
from wayra.plan.market import Market
from wayra.plan.models import Architecture, architectures
from wayra.plan.options import Failure, Kind, Option, Place, once, per_mtok
from wayra.plan.prices.dated import stale_warning
from wayra.plan.quantity import Quantity, derived, given
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


def hardware_options(candidate: Candidate, workload: Workload, market: Market, standard: Standard) -> Iterator[Option]:
    shape = shape_of(candidate)
    if shape is None:
        return
    for found in market.hardware():
        named = found is market.here or found.name in workload.gpus or found.name in workload.have
        if workload.gpus and not named:
            continue
        if not _kinds(found, workload, market):
            continue
        for fmt in serving.formats_on(found):
            yield from _on_card(candidate, workload, market, standard, (found, fmt))


def shape_of(candidate: Candidate) -> Architecture | None:
    return next((found for found in architectures() if found.name == candidate.id), None)


def _on_card(
    candidate: Candidate,
    workload: Workload,
    market: Market,
    standard: Standard,
    place: tuple[Hardware, Stored],
) -> Iterator[Option]:
    """One option a kind: the cheapest number of cards that meets every limit, else the one that comes nearest."""
    shape = shape_of(candidate)
    assert shape is not None
    kinds = _kinds(place[0], workload, market)
    made: dict[Kind, list[Option]] = {kind: [] for kind in kinds}
    for gpus in GPU_COUNTS:
        machine = serving.Machine(shape, place[0], gpus, place[1], market.constants.get(place[0].kind))
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
    if found.name in workload.have or found is market.here:
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
    failures += _hardware_failures(kind, machine, gpus, workload)
    failures += money_failures(workload, monthly, setup)
    trained = None
    if workload.fine_tuning is not None:
        trained, missing = _trained(kind, machine, workload.fine_tuning, market)
        if missing:
            failures.append(Failure("fine-tuning", missing))
    risks = [
        serving.speed_risk(machine),
        serving.FORMAT_RISK.get(machine.fmt.name, ""),
        _OWN_RISK[kind],
        serving.POWER_UNKNOWN if kind != "rented" and not machine.card.watts else "",
        f"licence: {candidate.licence}",
    ]
    return Option(
        kind=kind,
        label=f"{candidate.title}, {machine.fmt.name}, {_cards(machine, count)}, {where}",
        model=candidate.id,
        usd_per_month=monthly if kind != "rented" else _with_training(monthly, trained, workload),
        usd_per_mtok=per_mtok(monthly, workload),
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
        failures=once(failures),
        stale=_stale(kind, machine.card.name, market),
        place=_placed(candidate, machine, workload, count, load),
    )


def _cards(machine: serving.Machine, count: Quantity) -> str:
    name = machine.card.title if machine.card.measured else machine.card.name
    return f"{count.value:.0f} x {machine.gpus} {name}" if machine.card.kind == "gpu" else f"{count.value:.0f} x {name}"


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


def _hardware_failures(kind: Kind, machine: serving.Machine, gpus: Quantity, workload: Workload) -> list[Failure]:
    found: list[Failure] = []
    if machine.card.kind == "cpu" and machine.shape.experts is not None:
        found.append(Failure("hardware", "this engine, which CPUs are planned with, runs no mixtures of experts yet"))
    # The machine at hand is in no list and is there once.
    have = workload.have.get(machine.card.name, 1)
    if kind == "have" and gpus.value > have:
        noun = "cards" if machine.card.kind == "gpu" else "machines"
        found.append(Failure("hardware", f"{gpus.value:.0f} {noun} are needed for the peak, {have} are there"))
    return found


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


def _nearest_first(option: Option) -> tuple[int, bool, float]:
    """Fewest failures; of equals rather one that holds the model, for its cost and latency mean something."""
    does_not_fit = any(failure.constraint == "memory" for failure in option.failures)
    return len(option.failures), does_not_fit, option.usd_per_month.value


def _stale(kind: Kind, gpu: str, market: Market) -> tuple[str, ...]:
    if kind == "rented":
        row = market.table.cheapest_rent(gpu)
        text = stale_warning(f"the rent of {gpu} at {row.provider}", row.as_of, market.today)
    elif kind == "owned":
        text = stale_warning(f"the price of {gpu}", market.table.purchase(gpu).as_of, market.today)
    else:
        text = None
    return (text,) if text else ()
