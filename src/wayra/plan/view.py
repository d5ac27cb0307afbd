"""A plan as plain data: for `wayra plan --json`, for what deploys it, and for the web page, which asks for details too.

Rows carry values; explanations are written out only for the option that is asked about.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from wayra.plan import memory, serving
from wayra.plan.against_api import Comparison, compared_with, one_machine
from wayra.plan.machine_options import machine_of
from wayra.plan.market import Market
from wayra.plan.options import Option
from wayra.plan.planner import Plan
from wayra.plan.quantity import Quantity, derived, explain, given, number, shown
from wayra.plan.workload import Workload

Row = dict[str, Any]
_TRAFFIC = ("input_tokens", "output_tokens", "requests_per_month", "cached_share")


def as_document(made: Plan) -> Row:
    """The whole plan; explanations, as lines of text, of what meets the workload alone: hundreds are rejected."""
    return {
        "workload": _workload(made.workload),
        "options": [{"rank": rank, **as_row(option)} for rank, option in enumerate(made.options, start=1)],
        "rejected": [_values(option) for option in made.rejected],
        "conflict": made.conflict,
        "break_even": _comparison(made.break_even) if made.break_even is not None else None,
        "warnings": made.warnings,
    }


def as_row(option: Option) -> Row:
    """One option with its explanations as lines of text."""
    return {
        **_values(option),
        "parts": [as_row(part) for part in option.parts],
        "explanations": {name: explain(quantity) for name, quantity in numbers_of(option).items()},
    }


def _workload(work: Workload) -> Row:
    """Its fields; what its numbers were computed from is among the explanations."""
    fields = {field.name: getattr(work, field.name) for field in dataclasses.fields(work)}
    traffic = work.traffic
    fields["traffic"] = {name: getattr(traffic, name) for name in _TRAFFIC}
    return fields


def _values(option: Option) -> Row:
    return {
        "kind": option.kind,
        "label": option.label,
        "model": option.model,
        **{name: quantity.value for name, quantity in numbers_of(option).items()},
        "evidence": option.evidence,
        "risks": option.risks,
        "known_to_meet": option.known_to_meet,
        "unknowns": option.unknowns,
        "failures": option.failures,
        "stale": option.stale,
        "place": option.place,
        "parts": [_values(part) for part in option.parts],
    }


def numbers_of(option: Option) -> Mapping[str, Quantity]:
    """The numbers an option has, by the names programs know them under."""
    named = {
        "usd_per_month": option.usd_per_month,
        "usd_per_mtok": option.usd_per_mtok,
        "hardware_usd": option.setup_usd,
        "memory_gb": option.memory_gb,
        "machines": option.machines,
        "latency_p95_s": option.latency_s,
        "ttft_p95_s": option.ttft_s,
        "tok_per_s": option.tok_per_s,
        "capacity_mtok_per_month": option.capacity_mtok,
    }
    if option.training is not None:
        named["training_usd" if option.training.unit == "USD" else "training_hours"] = option.training
    return {name: quantity for name, quantity in named.items() if quantity is not None}


def as_table(made: Plan) -> Row:
    """The plan in values alone. id: by which `details` finds an option, "o" or "r" with its place."""
    work = made.workload
    return {
        "name": work.name,
        "numbers": {name: tree(quantity) for name, quantity in _of_workload(work).items()},
        "options": [_light(option, f"o{place}") for place, option in enumerate(made.options)],
        "rejected": [_light(option, f"r{place}") for place, option in enumerate(made.rejected)],
        "conflict": made.conflict,
        "warnings": made.warnings,
    }


def option_called(made: Plan, name: str) -> Option | None:
    """The option of an id of `as_table`."""
    options = made.options if name[:1] == "o" else made.rejected if name[:1] == "r" else ()
    place = name[1:]
    if not (place.isascii() and place.isdigit() and len(place) < 6 and int(place) < len(options)):
        return None
    return options[int(place)]


def details(made: Plan, option: Option, market: Market) -> Row:
    """Everything about one option: each number with its derivation, memory by parts, paces, break-even.

    beside: of an API, the same about the machines it is compared with.
    """
    compared = compared_with(option, [*made.options, *made.rejected]) if option.kind != "hybrid" else made.break_even
    beside = None
    if compared is not None and option.kind == "api":
        beside = {"id": _id_of(compared.machines, made), **_about(compared.machines, made.workload, market)}
    return {
        **_about(option, made.workload, market),
        "break_even": _curve(compared, made.workload) if compared is not None else _alone(option, made.workload),
        "beside": beside,
        "parts": [_about(part, made.workload, market) for part in option.parts],
    }


def pace_details(made: Plan, option: Option, market: Market, batch: int) -> Row | None:
    """What an option's machine does with `batch` sequences at once, each number with its derivation; None without."""
    machine = machine_of(option, market)
    if machine is None or not 1 <= batch <= serving.max_batch(machine, made.workload.traffic, made.workload.longest):
        return None
    load = serving.load_at(machine, made.workload.traffic, batch)
    named = {
        "latency_p95_s": load.latency_s,
        "ttft_p95_s": load.ttft_s,
        "tok_per_s": load.tok_per_s,
        "requests_per_s": load.requests_per_s,
    }
    return {"numbers": {name: tree(quantity) for name, quantity in named.items()}}


def tree(quantity: Quantity) -> Row:
    """A number with its reasons, inputs and all."""
    return {
        "name": quantity.name,
        "value": quantity.value,
        "unit": quantity.unit,
        "shown": shown(quantity),
        "formula": quantity.formula,
        "source": quantity.source,
        "note": quantity.note,
        "inputs": [tree(item) for item in quantity.inputs],
    }


def _id_of(option: Option, made: Plan) -> str:
    places = {id(one): f"o{place}" for place, one in enumerate(made.options)}
    places |= {id(one): f"r{place}" for place, one in enumerate(made.rejected)}
    return places[id(option)]


def _of_workload(work: Workload) -> Mapping[str, Quantity]:
    return {"mtok_per_month": work.traffic.volume(), "peak_requests_per_s": work.peak_rate()}


def _light(option: Option, name: str) -> Row:
    # Of the hundreds that are rejected the cost says enough.
    shown_of = numbers_of(option) if option.feasible else {"usd_per_month": option.usd_per_month}
    return {
        "id": name,
        "kind": option.kind,
        "label": option.label,
        "model": option.model,
        "numbers": {name: _in_row(quantity) for name, quantity in shown_of.items()},
        "evidence": [[score.benchmark, score.value] for score in option.evidence],
        "known_to_meet": option.known_to_meet,
        "unknowns": option.unknowns,
        "failures": option.failures,
        "stale": bool(option.stale),
    }


def _in_row(quantity: Quantity) -> list[float | str]:
    """Value, text and unit; then the interval, where there is one."""
    row: list[float | str] = [quantity.value, number(quantity.value), quantity.unit]
    return row if quantity.low is None or quantity.high is None else [*row, quantity.low, quantity.high]


def _about(option: Option, work: Workload, market: Market) -> Row:
    machine = machine_of(option, market)
    return {
        "label": option.label,
        "kind": option.kind,
        "numbers": {name: tree(quantity) for name, quantity in numbers_of(option).items()},
        "evidence": [
            {"benchmark": score.benchmark, "value": score.value, "origin": score.origin(), "url": score.url}
            for score in option.evidence
        ],
        "risks": option.risks,
        "stale": option.stale,
        "memory": _memory(option, machine) if machine is not None else None,
        "paces": _paces(option, machine, work) if machine is not None else None,
    }


def _memory(option: Option, machine: serving.Machine) -> Row | None:
    """The parts of one machine's memory: those the formula of `memory_gb` sums."""
    if option.memory_gb is None:
        return None
    of = {item.name: item for item in option.memory_gb.inputs}
    kv = derived("kv_bytes", "B", "batch * kv_bytes_per_sequence", of["batch"], of["kv_bytes_per_sequence"])
    parts = {"weights": of["weights_bytes"], "kv": kv}
    parts |= {"activations": of["activation_bytes"], "runtime": of["runtime_bytes"]}
    device = derived(
        "device_bytes",
        "B",
        "devices * memory_bytes",
        given("devices", machine.gpus, "", "of one machine"),
        given("memory_bytes", machine.card.memory_bytes, "B", f"{machine.card.title}: {machine.card.source}"),
    )
    return {
        "parts": {name: tree(quantity) for name, quantity in parts.items()},
        "usable": tree(memory.usable_bytes(machine.card, machine.gpus)),
        "device": tree(device),
        "device_title": f"{machine.gpus} x {machine.card.title}" if machine.gpus > 1 else machine.card.title,
    }


def _paces(option: Option, machine: serving.Machine, work: Workload) -> Row:
    """What the machine does at every batch worth trying, each time with its interval where one is known.

    source: of the constants.
    """
    tried = serving.paces(machine, serving.of_one_request(work.traffic), work.longest)
    most = serving.best_pace(machine, work)
    carried = None
    if most is not None and option.machines is not None:
        each = work.peak_requests_per_s / option.machines.value
        carried = serving.pace_of(machine, work, each, most)
    return {
        "points": [_point(serving.load_at(machine, work.traffic, pace.batch)) for pace in tried],
        "source": machine.constants().source,
        "carried": carried.batch if carried is not None else None,
        "most": most.batch if most is not None else None,
        "latency_limit_s": work.latency_p95_s,
        "ttft_limit_s": work.ttft_p95_s,
    }


def _point(load: serving.Load) -> Row:
    """One batch. within: low and high of each time, None where no measurement says how far off it may be."""
    times = {"latency_s": load.latency_s, "ttft_s": load.ttft_s}
    stream = load.tok_per_s
    paced = stream.value > 0
    return {
        "batch": load.batch,
        "requests_per_s": load.requests_per_s.value,
        **{name: time.value for name, time in times.items()},
        "tpot_s": 1 / stream.value if paced else None,
        "within": {
            **{name: None if time.low is None else [time.low, time.high] for name, time in times.items()},
            "tpot_s": [1 / stream.high, 1 / stream.low] if paced and stream.low and stream.high else None,
        },
    }


def _comparison(compared: Comparison) -> Row:
    found = compared.found
    return {
        "machines": compared.machines.label,
        "api": compared.api.label,
        "mtok_per_month": found.volume.value if found.volume is not None else None,
        "for_good_mtok_per_month": found.for_good_mtok,
        "capacity_mtok_per_month": found.capacity.value,
        "full_load_usd_per_mtok": found.full_load_usd_per_mtok.value,
        "curve": found.curve,
        "reason": found.reason,
    }


def _curve(compared: Comparison, work: Workload) -> Row:
    found = compared.found
    named = {
        "volume": found.volume,
        "capacity": found.capacity,
        "full_load": found.full_load_usd_per_mtok,
        "machine": compared.one_machine,
        "api": compared.api.usd_per_mtok,
    }
    return {
        **_comparison(compared),
        "now_mtok_per_month": work.traffic.mtok_per_month,
        "numbers": {name: tree(quantity) for name, quantity in named.items() if quantity is not None},
    }


def _alone(option: Option, work: Workload) -> Row | None:
    """The same of machines that no API can be compared with."""
    if option.capacity_mtok is None or option.machines is None or option.usd_per_month.value <= 0:
        return None
    one = one_machine(option.usd_per_month, option.machines)
    return {
        "machines": option.label,
        "api": None,
        "mtok_per_month": None,
        "capacity_mtok_per_month": option.capacity_mtok.value,
        "curve": (),
        "reason": "No API that would do is known to compare with.",
        "now_mtok_per_month": work.traffic.mtok_per_month,
        "numbers": {"capacity": tree(option.capacity_mtok), "machine": tree(one)},
    }
