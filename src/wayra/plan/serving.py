"""What a machine of one or more GPUs can serve: memory, time of a step, and the traffic it carries within its limits.

Bytes read by bandwidth, operations by peak, fixed costs, each times a constant that was fitted to measured runs of that
kind of hardware; `speed_risk` says to which, and how far they were off. Runs of one's own narrow it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType

from wayra.plan import memory, roofline
from wayra.plan.constants import default_constants
from wayra.plan.cost import Traffic, hours_per_month
from wayra.plan.expression import evaluate
from wayra.plan.hardware import Hardware
from wayra.plan.models import Architecture
from wayra.plan.quantity import Quantity, computed, derived, given, with_interval
from wayra.plan.stored import Stored, stored_as

KV_BITS = 16
Z95 = 1.645
MEAN_BATCH = "max(((sqrt(z * z + 4 * batch) - z) / 2) ** 2, 0.1)"
MAX_BATCH = 512

GPU_FORMATS: tuple[Stored, ...] = (stored_as("bf16"), stored_as("fp8"), stored_as("awq-int4"))
CPU_FORMATS: tuple[Stored, ...] = (stored_as("bf16"), stored_as("q8_0"), stored_as("q4_k_m"))
POWER_UNKNOWN = "the power it draws is not known here and not counted"
FORMAT_RISK: Mapping[str, str] = MappingProxyType(
    {
        "fp8": "published scores are of bf16 weights; FP8 usually keeps them within noise: measure yours",
        "awq-int4": "published scores are of bf16 weights; 4 bits lose some: measure it",
        "q8_0": "published scores are of bf16 weights; 8 bits usually keep them within noise: measure yours",
        "q4_k_m": "published scores are of bf16 weights; 4 bits lose some: measure it",
    }
)


def formats_on(found: Hardware) -> tuple[Stored, ...]:
    """Storage formats worth weighing: those of this engine on CPUs, those of GPU engines elsewhere."""
    return CPU_FORMATS if found.kind == "cpu" else GPU_FORMATS


@dataclass(frozen=True, slots=True)
class Machine:
    """A model on `gpus` cards that share it by tensor parallelism. calibrated: constants of one's own."""

    shape: Architecture
    card: Hardware
    gpus: int
    fmt: Stored
    calibrated: roofline.Constants | None = None

    def __hash__(self) -> int:
        """By name: the peaks of a card are a mapping, which has no hash; equality compares everything."""
        return hash((self.shape.name, self.card.name, self.gpus, self.fmt.name))

    def possible(self) -> bool:
        """Whether heads divide among the cards, cards are linked, and have the units the format needs."""
        linked = self.gpus == 1 or self.card.link_bytes_per_s > 0
        return linked and self.shape.num_kv_heads % self.gpus == 0 and self.fmt.maths in self.card.flops

    def deployment(self) -> roofline.Deployment:
        return roofline.Deployment(self.shape, self.fmt, self.card, self.gpus, KV_BITS)

    def constants(self) -> roofline.Constants:
        """What of the hardware's limits is reached."""
        return self.calibrated or default_constants(self.card.kind)


def speed_risk(machine: Machine) -> str:
    """How far computed speeds were off where they could be compared."""
    constants = machine.constants()
    return (
        f"speed and latency are computed, not measured here: true times may be {constants.low:.2f} to "
        f"{constants.high:.2f} of them (constants {constants.source}); wayra bench measures them"
    )


def kv_bytes_per_sequence(machine: Machine, context: float) -> float:
    """Layers with a window keep no more than it."""
    kept = machine.shape.kept_on(machine.card.kind).kept_tokens(context)
    return machine.shape.kv_values_per_token * KV_BITS / 8 * kept


def memory_gb(machine: Machine, batch: int, context: float) -> Quantity:
    """Weights, KV cache of `batch` sequences of `context` tokens, runtime."""
    return derived(
        "memory_gb",
        "GB",
        "(weights_bytes + batch * kv_bytes_per_sequence + runtime_bytes) / 1e9",
        memory.weights_bytes(machine.shape, machine.fmt),
        given("batch", batch, "", "sequences at once"),
        computed(
            "kv_bytes_per_sequence",
            kv_bytes_per_sequence(machine, context),
            "B",
            f"{context:,.0f} tokens, in layers with a window no more than it",
            memory.kv_bytes_per_token(machine.shape, KV_BITS),
        ),
        memory.runtime_bytes(machine.shape, machine.card, machine.gpus),
    )


def usable_gb(machine: Machine) -> float:
    """What a model may take of the cards."""
    return memory.usable_bytes(machine.card, machine.gpus).value / 1e9


def step_s(machine: Machine, batch: int, context: float) -> Quantity:
    """Seconds of a decode step of `batch` sequences with `context` tokens each."""
    load = roofline.Load(batch, context, 0)
    return _seconds("step_s", machine, roofline.decode_terms(machine.deployment(), load, interleaved=False))


def prefill_s(machine: Machine, tokens: float) -> Quantity:
    """Seconds to read a prompt of so many tokens."""
    return _seconds("prefill_s", machine, roofline.prefill_terms(machine.deployment(), max(tokens, 1.0)))


def _seconds(name: str, machine: Machine, terms: roofline.Terms) -> Quantity:
    """The roofline's sum with its parts; `roofline.speed` says in words which part is the largest."""
    constants = machine.constants()
    at_limit = "at the limits of the hardware"
    made = derived(
        name,
        "s",
        "max((weights_s + kv_s) / bandwidth_share, compute_s / compute_share)"
        " + layers * layer_s + link_s / link_share + sums * sum_s + sequences * sequence_s",
        given("weights_s", terms.weights_s, "s", at_limit),
        given("kv_s", terms.kv_s, "s", at_limit),
        given("bandwidth_share", constants.bandwidth_share, "", constants.source),
        given("compute_s", terms.compute_s, "s", at_limit),
        given("compute_share", constants.compute_share, "", constants.source),
        given("layers", terms.layers, "", machine.shape.title),
        given("layer_s", constants.layer_s, "s", constants.source),
        given("link_s", terms.link_s, "s", at_limit),
        given("link_share", roofline.LINK_SHARE, "", constants.source),
        given("sums", terms.sums, "", "two a layer over several cards"),
        given("sum_s", constants.sum_s, "s", constants.source),
        given("sequences", terms.sequences, "", "sequences at once"),
        given("sequence_s", constants.sequence_s, "s", constants.source),
        note=f"bounded by {roofline.speed(terms, constants).bounded_by}",
    )
    return with_interval(made, made.value * constants.low, made.value * constants.high)


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
    room = memory.kv_room_bytes(machine.shape, machine.fmt, machine.card, machine.gpus)
    if room < kv_bytes_per_sequence(machine, longest):
        return 0
    return min(MAX_BATCH, int(room / kv_bytes_per_sequence(machine, traffic.input_tokens + traffic.output_tokens)))


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
    under_way = derived(
        "mean_batch",
        "",
        MEAN_BATCH,
        given("z", Z95, "", "95th percentile of a Poisson number: mean + z * sqrt(mean)"),
        size,
    )
    rate = derived("requests_per_s", "1/s", "mean_batch / latency_s", under_way, latency)
    return Load(batch, latency, ttft, stream, rate)


def mean_batch(batch: int) -> float:
    """Sequences under way on average, when 95 % of the time there are at most `batch`."""
    return evaluate(MEAN_BATCH, {"z": Z95, "batch": float(batch)})


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
