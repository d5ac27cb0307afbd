"""What a machine of one or more GPUs can serve: memory, time of a step, and the traffic it carries within its limits.

First principles with stated assumptions, not a measurement: bytes read by bandwidth, operations by peak, a fixed cost a
step. `UNCALIBRATED` says so wherever a number comes from here; runs of the lab narrow it.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

from wayra.plan.cost import Traffic, hours_per_month
from wayra.plan.quantity import Quantity, computed, derived, given
from wayra.plan.subjects import Card, Shape, read_a_token

ASSUMED = "assumed; calibrate with runs of the lab"
UNCALIBRATED = "speed and latency are computed, not measured: expect errors of 30 % and more; wayra bench measures them"

BANDWIDTH_SHARE = 0.7
PEAK_SHARE = 0.5
STEP_S = 0.003
SYNC_S = 20e-6
SYNC_OVER_PCIE_S = 60e-6
NVLINK_BYTES_PER_S = 100e9
RUNTIME_GB = 2.0
MEMORY_SHARE = 0.92
Z95 = 1.645
MAX_BATCH = 512


@dataclass(frozen=True, slots=True)
class Format:
    """How weights are stored. bits: a weight of the layers' projections, scales included; the rest stays in 16 bit.

    peak_factor: operations a second by those in bf16.
    """

    name: str
    bits: float
    kv_bits: float
    needs_fp8: bool
    peak_factor: float
    risk: str


BF16 = Format("bf16", 16, 16, False, 1.0, "")
FP8 = Format(
    "fp8", 8, 16, True, 2.0, "published scores are of bf16 weights; FP8 usually keeps them within noise: measure yours"
)  # fmt: skip
INT4 = Format(
    "int4-g128", 4 + 16 / 128 + 4 / 128, 16, False, 1.0,
    "published scores are of bf16 weights; 4 bits lose some: measure it",
)  # fmt: skip
FORMATS = (BF16, FP8, INT4)


@dataclass(frozen=True, slots=True)
class Machine:
    """A model on `gpus` cards that share it by tensor parallelism."""

    shape: Shape
    card: Card
    gpus: int
    fmt: Format

    def possible(self) -> bool:
        """Whether heads divide among the cards and the cards have the units the format needs."""
        return self.shape.num_kv_heads % self.gpus == 0 and (self.card.fp8 or not self.fmt.needs_fp8)


def weights_gb(machine: Machine) -> Quantity:
    shape, fmt = machine.shape, machine.fmt
    return derived(
        "weights_gb",
        "GB",
        "(linear * bits + (parameters - linear) * 16) / 8 / 1e9",
        given("linear", shape.linear, "", f"config.json: {shape.name}"),
        given("bits", fmt.bits, "bit", fmt.name),
        given("parameters", shape.parameters, "", f"config.json: {shape.name}"),
    )


def kv_gb_per_token(machine: Machine) -> Quantity:
    return derived(
        "kv_gb_per_token",
        "GB",
        "kv_values * kv_bits / 8 / 1e9",
        given("kv_values", machine.shape.kv_values_per_token, "", "2 * layers * KV heads * head size"),
        given("kv_bits", machine.fmt.kv_bits, "bit", machine.fmt.name),
    )


def room_gb(machine: Machine) -> Quantity:
    """Memory left for the KV cache; negative when the weights alone do not fit."""
    return derived(
        "kv_room_gb",
        "GB",
        "gpus * (card_gb * memory_share - runtime_gb) - weights_gb",
        given("gpus", machine.gpus, "", "the plan"),
        given("card_gb", machine.card.memory_bytes / 1e9, "GB", f"data sheet: {machine.card.name}"),
        given("memory_share", MEMORY_SHARE, "", ASSUMED),
        given("runtime_gb", RUNTIME_GB, "GB", ASSUMED),
        weights_gb(machine),
    )


def memory_gb(machine: Machine, batch: int, context: float) -> Quantity:
    """Weights, KV cache of `batch` sequences of `context` tokens, runtime."""
    return derived(
        "memory_gb",
        "GB",
        "weights_gb + batch * context * kv_gb_per_token + gpus * runtime_gb",
        weights_gb(machine),
        given("batch", batch, "", "sequences at once"),
        given("context", context, "tok", "tokens a sequence"),
        kv_gb_per_token(machine),
        given("gpus", machine.gpus, "", "the plan"),
        given("runtime_gb", RUNTIME_GB, "GB", ASSUMED),
    )


def step_s(machine: Machine, batch: int, context: float) -> Quantity:
    """Seconds of a decode step of `batch` sequences with `context` tokens each."""
    shape, card = machine.shape, machine.card
    read_bytes = derived(
        "weight_bytes",
        "B",
        "(linear * bits + (read - linear) * 16) / 8",
        given("linear", shape.linear, "", f"config.json: {shape.name}"),
        given("bits", machine.fmt.bits, "bit", machine.fmt.name),
        given("read", read_a_token(shape), "", f"config.json: {shape.name}"),
    )
    return derived(
        "step_s",
        "s",
        "max((weight_bytes + batch * context * kv_gb_per_token * 1e9) / (gpus * bytes_per_s * bandwidth_share),"
        " 2 * read * batch / (gpus * bf16_flops * peak_factor * peak_share)) + fixed_s + sums_s",
        read_bytes,
        given("batch", batch, "", "sequences at once"),
        given("context", context, "tok", "tokens a sequence"),
        kv_gb_per_token(machine),
        given("gpus", machine.gpus, "", "the plan"),
        given("bytes_per_s", card.bytes_per_s, "B/s", f"data sheet: {card.name}"),
        given("bandwidth_share", BANDWIDTH_SHARE, "", ASSUMED),
        given("read", read_a_token(shape), "", f"config.json: {shape.name}"),
        given("bf16_flops", card.bf16_flops, "FLOP/s", f"data sheet: {card.name}"),
        given("peak_factor", machine.fmt.peak_factor, "", f"{machine.fmt.name} by bf16"),
        given("peak_share", PEAK_SHARE, "", ASSUMED),
        given("fixed_s", STEP_S, "s", ASSUMED),
        sums_s(machine, batch),
    )


def sums_s(machine: Machine, tokens: float) -> Quantity:
    """Seconds a step spends adding up over the cards: two sums a layer, each a fixed time and its bytes."""
    if machine.gpus == 1:
        return given("sums_s", 0.0, "s", "one card")
    card = machine.card
    linked = card.link_bytes_per_s >= NVLINK_BYTES_PER_S
    return derived(
        "sums_s",
        "s",
        "2 * layers * (sync_s + 2 * tokens * hidden * 2 * (gpus - 1) / gpus / link_bytes_per_s)",
        given("layers", machine.shape.num_layers, "", f"config.json: {machine.shape.name}"),
        given("sync_s", SYNC_S if linked else SYNC_OVER_PCIE_S, "s", ASSUMED),
        given("tokens", tokens, "tok", "the step"),
        given("hidden", machine.shape.hidden_size, "", f"config.json: {machine.shape.name}"),
        given("gpus", machine.gpus, "", "the plan"),
        given("link_bytes_per_s", card.link_bytes_per_s, "B/s", ASSUMED),
    )


def prefill_s(machine: Machine, tokens: float) -> Quantity:
    """Seconds to read a prompt of so many tokens, bounded by operations."""
    shape = machine.shape
    return derived(
        "prefill_s",
        "s",
        "(2 * read * tokens + 2 * layers * q_size * tokens ** 2) / (gpus * bf16_flops * peak_factor * peak_share)"
        " + fixed_s + sums_s",
        given("read", read_a_token(shape), "", f"config.json: {shape.name}"),
        given("tokens", tokens, "tok", "input not in the prompt cache"),
        given("layers", shape.num_layers, "", f"config.json: {shape.name}"),
        given("q_size", shape.num_heads * shape.head_dim, "", f"config.json: {shape.name}"),
        given("gpus", machine.gpus, "", "the plan"),
        given("bf16_flops", machine.card.bf16_flops, "FLOP/s", f"data sheet: {machine.card.name}"),
        given("peak_factor", machine.fmt.peak_factor, "", f"{machine.fmt.name} by bf16"),
        given("peak_share", PEAK_SHARE, "", ASSUMED),
        given("fixed_s", STEP_S, "s", ASSUMED),
        sums_s(machine, tokens),
    )


@dataclass(frozen=True, slots=True)
class Load:
    """What one machine carries. batch: sequences at once in the busiest 5 % of the time.

    latency_s: of a whole answer then. ttft_s: to its first token. tok_per_s: of one user's stream then.
    requests_per_s: the mean rate at which occupancy stays within the batch 95 % of the time.
    """

    batch: int
    latency_s: Quantity
    ttft_s: Quantity
    tok_per_s: Quantity
    requests_per_s: Quantity


def max_batch(machine: Machine, traffic: Traffic, longest: int) -> int:
    """Sequences of average length that fit the KV cache; 0 when the longest one does not."""
    room, token = room_gb(machine).value, kv_gb_per_token(machine).value
    if room < longest * token:
        return 0
    return min(MAX_BATCH, int(room / (token * (traffic.input_tokens + traffic.output_tokens))))


def load_at(machine: Machine, traffic: Traffic, batch: int) -> Load:
    """What the machine does with `batch` sequences at once, by Little's law.

    While an answer of n tokens is written, every one of the batch's prompts is read once: its time is n steps and
    `batch` prefills. Occupancy under random arrivals is a Poisson number; its 95th percentile is the batch.
    """
    context = traffic.input_tokens + traffic.output_tokens / 2
    step = step_s(machine, batch, context)
    prefill = prefill_s(machine, traffic.input_tokens * (1 - traffic.cached_share))
    size = given("batch", batch, "", "sequences at once")
    answer = given("output_tok", traffic.output_tokens, "tok", "the workload")
    latency = derived("latency_s", "s", "output_tok * step_s + batch * prefill_s", answer, step, size, prefill)
    ttft = derived("ttft_s", "s", "2 * prefill_s + step_s", prefill, step, note="behind one other prompt")
    stream = derived("tok_per_s", "tok/s", "output_tok / latency_s", answer, latency)
    mean_batch = derived(
        "mean_batch",
        "",
        "max(((sqrt(z * z + 4 * batch) - z) / 2) ** 2, 0.1)",
        given("z", Z95, "", "95th percentile of a Poisson number: mean + z * sqrt(mean)"),
        size,
    )
    rate = derived("requests_per_s", "1/s", "mean_batch / latency_s", mean_batch, latency)
    return Load(batch, latency, ttft, stream, rate)


def best_load(
    machine: Machine, traffic: Traffic, longest: int, latency_limit_s: float | None, ttft_limit_s: float | None
) -> Load | None:
    """The load with the highest rate within the limits. None when the model does not fit.

    When not even one sequence keeps the limits, that load is returned: its latency tells by how much.
    """
    # Neither the number of requests nor a limit changes what a batch takes.
    loads = _loads(machine, replace(traffic, requests_per_month=1.0), longest)
    if not loads:
        return None
    fitting = [
        load
        for load in loads
        if load.latency_s.value <= (latency_limit_s or math.inf) and load.ttft_s.value <= (ttft_limit_s or math.inf)
    ]
    return max(fitting, key=lambda load: load.requests_per_s.value) if fitting else loads[0]


def load_of(machine: Machine, traffic: Traffic, longest: int, requests_per_s: float, most: Load) -> Load:
    """What one machine does at a given rate: the smallest batch that carries it, at most the load `most`."""
    loads = _loads(machine, replace(traffic, requests_per_month=1.0), longest)
    carrying = (load for load in loads if load.requests_per_s.value >= requests_per_s and load.batch <= most.batch)
    return next(carrying, most)


@lru_cache(maxsize=8192)
def _loads(machine: Machine, traffic: Traffic, longest: int) -> tuple[Load, ...]:
    """The machine at every batch worth trying, smallest first."""
    largest = max_batch(machine, traffic, longest)
    sizes = sorted({1, 2, 4, 8, 16, 32, 64, 128, 256, MAX_BATCH, largest} & set(range(1, largest + 1)))
    return tuple(load_at(machine, traffic, size) for size in sizes)


def machines(load: Load, peak_requests_per_s: float) -> Quantity:
    """Whole machines for the busiest minutes."""
    return derived(
        "machines",
        "",
        "max(1, ceil(peak_requests_per_s / requests_per_s))",
        given("peak_requests_per_s", peak_requests_per_s, "1/s", "the workload's mean rate times its peak factor"),
        load.requests_per_s,
    )


def capacity_mtok_per_month(load: Load, traffic: Traffic, peak_factor: float) -> Quantity:
    """Million tokens, input and output, of one machine in a month whose busiest minutes it just carries."""
    return derived(
        "capacity_mtok_per_month",
        "Mtok/month",
        "requests_per_s / peak_factor * (input_tok + output_tok) * 3600 * hours_per_month / 1e6",
        load.requests_per_s,
        given("peak_factor", peak_factor, "", "the workload"),
        given("input_tok", traffic.input_tokens, "tok", "the workload"),
        given("output_tok", traffic.output_tokens, "tok", "the workload"),
        hours_per_month(),
    )


def total_gpus(machine: Machine, count: Quantity) -> Quantity:
    return computed("gpus", count.value * machine.gpus, "", "machines times GPUs of each", count)
