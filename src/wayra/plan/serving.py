"""What a machine of one or more GPUs can serve: memory, time of a step, and the traffic it carries within its limits.

Bytes read by bandwidth, operations by peak, fixed costs, each times a constant that was fitted to measured runs of that
kind of hardware; `speed_risk` says to which, and how far they were off. Runs of one's own narrow it.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType

from wayra.plan import memory, roofline
from wayra.plan.constants import default_constants
from wayra.plan.cost import Traffic, hours_per_month
from wayra.plan.expression import evaluate
from wayra.plan.hardware import Hardware
from wayra.plan.models import Architecture
from wayra.plan.quantity import Quantity, derived, given, with_interval
from wayra.plan.stored import Stored, stored_as
from wayra.plan.workload import Workload

KV_BITS = 16
Z95 = 1.645
MEAN_BATCH = "max(((sqrt(z * z + 4 * batch) - z) / 2) ** 2, 0.1)"
FIXED = " + layers * layer_s + link_s / link_share + sums * sum_s + sequences * sequence_s"
SECONDS = "max((weights_s + kv_s) / bandwidth_share, compute_s / compute_share)" + FIXED
SECONDS_KV_APART = "max(weights_s / bandwidth_share, compute_s / compute_share) + kv_s / kv_share" + FIXED
ATTENTION = " + attention_s / attention_share"
ROWS = " + rows_s / rows_share"
LATENCY = "output_tok * step_s + batch * prefill_s"
TTFT = "2 * prefill_s + step_s"
TTFT_FITTED = "first_token_s + (1 + wait_share * batch) * prefill_s + step_s"
RATE = "mean_batch / latency_s"
MACHINES = "max(1, ceil(peak_requests_per_s / requests_per_s))"
MAX_BATCH = 512

_OPERATIONS = "two a weight and token, attention in prompts and on what all heads share, updates of states"
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
    first = constants.first_interval or constants.interval(is_prompt=True)
    prompts = f"{first[0]:.2f} to {first[1]:.2f}" if first is not None else roofline.NOT_VALIDATED
    if not constants.high:
        return f"speed and latency are computed, not measured here, and {roofline.NOT_VALIDATED} ({constants.source})"
    what = "times of reading prompts"
    if constants.first_interval:
        what = f"times to first token, with {roofline.MOST_WAITING} requests at once at most,"
    return (
        f"speed and latency are computed, not measured here: true times may be {constants.low:.2f} to "
        f"{constants.high:.2f} of them, {what} {prompts} (constants {constants.source}); wayra bench measures them"
    )


def kv_bytes_per_sequence(machine: Machine, context: float) -> float:
    """Layers with a window keep no more than it, those with a state the state; of all cards, copies included."""
    return machine.shape.kept_on(machine.card.kind, machine.gpus).kept_bytes(context, KV_BITS)


def memory_gb(machine: Machine, batch: int, context: float) -> Quantity:
    """Weights, KV cache of `batch` sequences of `context` tokens, the largest step's activations, runtime."""
    return derived(
        "memory_gb",
        "GB",
        "(weights_bytes + batch * kv_bytes_per_sequence + activation_bytes + runtime_bytes) / 1e9",
        memory.weights_bytes(machine.shape, machine.fmt),
        given("batch", batch, "", "sequences at once"),
        memory.kv_bytes_per_sequence(
            machine.shape.kept_on(machine.card.kind, machine.gpus),
            given("context", context, "tok", "of a sequence"),
            KV_BITS,
        ),
        activation_bytes(machine, batch),
        memory.runtime_bytes(machine.shape, machine.card, machine.gpus),
    )


def activation_bytes(machine: Machine, batch: int) -> Quantity:
    """Of a step as large as the engine makes them, whatever the prompts: buffers are set aside for it."""
    buffers = memory.buffers_of(machine.card)
    return memory.activation_bytes(machine.shape, memory.Request(batch, buffers.step_tokens, KV_BITS), buffers)


def usable_gb(machine: Machine) -> float:
    """What a model may take of the cards."""
    return memory.usable_bytes(machine.card, machine.gpus).value / 1e9


def step_s(machine: Machine, batch: int, context: float) -> Quantity:
    """Seconds of a decode step of `batch` sequences with `context` tokens each."""
    work = roofline.step_work(machine.deployment(), batch, context)
    return _seconds("step_s", machine, work, machine.constants())


def prefill_s(machine: Machine, tokens: float) -> Quantity:
    """Seconds to read a prompt of so many tokens."""
    work = roofline.prefill_work(machine.deployment(), max(tokens, 1.0))
    return _seconds("prefill_s", machine, work, machine.constants().of_prompts())


def _seconds(name: str, machine: Machine, work: roofline.Work, constants: roofline.Constants) -> Quantity:
    """The roofline's sum with its parts; `roofline.speed` says in words which part is the largest."""
    terms = roofline.terms_of(work, machine.deployment())
    at_limits = {item.name: item for item in _at_limits(machine, work)}
    source = {
        "layers": machine.shape.title,
        "link_share": "assumed",
        "sums": "two a layer over several cards",
        "sequences": "sequences at once",
    }
    inputs = (
        at_limits.get(of) or given(of, value, "s" if of.endswith("_s") else "", source.get(of, constants.source))
        for of, value in _values(terms, constants).items()
    )
    found = roofline.speed(terms, constants)
    made = derived(name, "s", _seconds_formula(terms, constants), *inputs, note=f"bounded by {found.bounded_by}")
    return _within(made, found.low, found.high)


def _within(made: Quantity, low: float | None, high: float | None) -> Quantity:
    if low is None or high is None:
        return made.noted(f"{made.note}; {roofline.NOT_VALIDATED}" if made.note else roofline.NOT_VALIDATED)
    # Sums of the same parts in another order may differ in their last bits.
    return with_interval(made, min(low, made.value), max(high, made.value))


def _at_limits(machine: Machine, work: roofline.Work) -> tuple[Quantity, ...]:
    """The seconds each part would take at what the hardware's sheet says."""
    card, shape, fmt = machine.card, machine.shape, machine.fmt
    sheet = f"{card.title}: {card.source}, {card.as_of}"
    gpus = given("gpus", machine.gpus, "", "of one machine")
    bandwidth = given("bytes_per_s", card.bytes_per_s, "B/s", sheet)
    peak = given("peak_per_s", card.peak(fmt.maths), "1/s", sheet, note=f"operations in {fmt.maths}")
    weights = given("weights_read", work.weight_bytes, "B", f"{shape.title} in {fmt.name}, head included")
    kept = given("kv_read", work.kv_bytes, "B", "of all sequences, on all cards")
    found = (
        derived("weights_s", "s", "weights_read / (gpus * bytes_per_s)", weights, gpus, bandwidth),
        derived("kv_s", "s", "kv_read / (gpus * bytes_per_s)", kept, gpus, bandwidth),
    )
    if card.kind == "cpu":
        return *found, *_on_cpu(machine, work, peak, bandwidth)
    operations = given("operations", work.operations, "", _OPERATIONS)
    found += (derived("compute_s", "s", "operations / (gpus * peak_per_s)", operations, gpus, peak),)
    if machine.gpus == 1:
        return found
    sent = given("link_bytes", work.link_bytes, "B", "sums over the cards, as a ring sends them")
    link = given("link_bytes_per_s", card.link_bytes_per_s, "B/s", sheet)
    return *found, derived("link_s", "s", "link_bytes / link_bytes_per_s", sent, link)


def _on_cpu(machine: Machine, work: roofline.Work, peak: Quantity, bandwidth: Quantity) -> Iterator[Quantity]:
    """The same of this engine's products, and of what lies between them."""
    card = machine.card
    factor = roofline.product_work(machine.deployment())
    yield derived(
        "compute_s",
        "s",
        "operations * product_work / peak_per_s",
        given("operations", work.operations, "", "two a weight and token; the head's rows twice, in 15 bits"),
        given("product_work", factor, "", f"a product in {machine.fmt.name} with its scales, by the product alone"),
        peak,
    )
    yield derived(
        "rows_s",
        "s",
        "values * value_bytes / bytes_per_s",
        given("values", work.values, "", "between products: norms, rotations, activations"),
        given("value_bytes", roofline.VALUE_BYTES_ON_CPU, "B", "written and read as a float"),
        bandwidth,
    )
    if work.attention:
        said = "four a value of a head, for each token and each one before it; twice beside float weights"
        yield derived(
            "attention_s",
            "s",
            "attention_operations / float_peak_per_s",
            given("attention_operations", work.attention, "", said),
            given(
                "float_peak_per_s", card.peak("bf16"), "1/s", f"{card.title}: {card.source}, {card.as_of}", note="bf16"
            ),
        )


def _seconds_formula(terms: roofline.Terms, constants: roofline.Constants) -> str:
    formula = SECONDS_KV_APART if constants.kv_share else SECONDS
    formula += ATTENTION if terms.attention_s else ""
    return formula + ROWS if terms.rows_s and constants.rows_share else formula


def _values(terms: roofline.Terms, constants: roofline.Constants) -> dict[str, float]:
    """What the formulas of seconds name."""
    apart = {"kv_share": constants.kv_share} if constants.kv_share else {}
    if terms.attention_s:
        share = constants.attention_share or constants.compute_share
        apart |= {"attention_s": terms.attention_s, "attention_share": share}
    if terms.rows_s and constants.rows_share:
        apart |= {"rows_s": terms.rows_s, "rows_share": constants.rows_share}
    return apart | {
        "weights_s": terms.weights_s,
        "kv_s": terms.kv_s,
        "bandwidth_share": constants.bandwidth_share,
        "compute_s": terms.compute_s,
        "compute_share": constants.compute_share,
        "layers": float(terms.layers),
        "layer_s": constants.layer_s,
        "link_s": terms.link_s,
        "link_share": roofline.LINK_SHARE,
        "sums": float(terms.sums),
        "sum_s": constants.sum_s,
        "sequences": float(terms.sequences),
        "sequence_s": constants.sequence_s,
    }


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


@dataclass(frozen=True, slots=True)
class Pace:
    """The numbers of a `Load` without their reasons: thousands are compared for each one that is shown."""

    batch: int
    latency_s: float
    ttft_s: float
    requests_per_s: float


def max_batch(machine: Machine, traffic: Traffic, longest: int) -> int:
    """Sequences of average length that fit the KV cache; 0 when the longest one does not."""
    room = memory.kv_room_bytes(machine.shape, machine.fmt, machine.card, machine.gpus)
    if room <= 0:
        return 0
    one, two = activation_bytes(machine, 1).value, activation_bytes(machine, 2).value
    room -= 2 * one - two
    kept, each = kv_bytes_per_sequence(machine, longest), two - one
    if room < kept + each:
        return 0
    average = kv_bytes_per_sequence(machine, traffic.input_tokens + traffic.output_tokens)
    return min(MAX_BATCH, int(room / (average + each)))


def load_at(machine: Machine, traffic: Traffic, batch: int) -> Load:
    """What the machine does with `batch` sequences at once, by Little's law, each number with its reasons.

    While an answer of n tokens is written, every one of the batch's prompts is read once: its time is n steps and
    `batch` prefills. Occupancy under random arrivals is a Poisson number; its 95th percentile is the batch.
    """
    return _load_at(machine, of_one_request(traffic), batch)


@lru_cache(maxsize=64)
def of_one_request(traffic: Traffic) -> Traffic:
    """The same requests whatever their number, which changes nothing of what a batch takes."""
    return replace(traffic, requests_per_month=1.0, origin=None)


@lru_cache(maxsize=2048)
def _load_at(machine: Machine, traffic: Traffic, batch: int) -> Load:
    step = step_s(machine, batch, traffic.input_tokens + traffic.output_tokens / 2)
    prefill = prefill_s(machine, traffic.input_tokens * (1 - traffic.cached_share))
    size = given("batch", batch, "", "sequences at once")
    answer = traffic.quantities()[1]
    latency = _latency(machine, derived("latency_s", "s", LATENCY, answer, step, size, prefill), step, prefill)
    ttft = _ttft(machine, batch, step, prefill)
    stream = derived("tok_per_s", "tok/s", "output_tok / latency_s", answer, latency)
    stream = _within(stream, *_slowest_and_fastest(traffic.output_tokens, latency))
    under_way = derived(
        "mean_batch",
        "",
        MEAN_BATCH,
        given("z", Z95, "", "95th percentile of a Poisson number: mean + z * sqrt(mean)"),
        size,
    )
    rate = derived("requests_per_s", "1/s", RATE, under_way, latency)
    return Load(batch, latency, ttft, stream, rate)


def _latency(machine: Machine, made: Quantity, step: Quantity, prefill: Quantity) -> Quantity:
    """With the interval: of the parts where both are known; else that of times of tokens, prompts read meanwhile."""
    constants = machine.constants()
    if step.low is None or step.high is None:
        return _within(made, None, None)
    if prefill.low is None or prefill.high is None:
        return _within(made, made.value * constants.low, made.value * constants.high)
    of = {item.name: item.value for item in made.inputs}
    low, high = (
        evaluate(LATENCY, {**of, "step_s": one, "prefill_s": other})
        for one, other in ((step.low, prefill.low), (step.high, prefill.high))
    )
    return _within(made, low, high)


def _ttft(machine: Machine, batch: int, step: Quantity, prefill: Quantity) -> Quantity:
    """To the first token: as fitted to measured ones, else behind one other prompt."""
    constants = machine.constants()
    if not constants.first_interval:
        made = derived("ttft_s", "s", TTFT, prefill, step, note="behind one other prompt")
        if prefill.low is None or prefill.high is None or step.low is None or step.high is None:
            return _within(made, None, None)
        return _within(made, 2 * prefill.low + step.low, 2 * prefill.high + step.high)
    made = derived(
        "ttft_s",
        "s",
        TTFT_FITTED,
        given("first_token_s", constants.first_token_s, "s", constants.source),
        given("wait_share", constants.wait_share, "", constants.source),
        given("batch", batch, "", "sequences at once"),
        prefill,
        step,
        note="of the other prompts, a share is read before",
    )
    if batch > roofline.MOST_WAITING:
        return _within(made, None, None)
    low, high = constants.first_interval
    return _within(made, made.value * low, made.value * high)


def _slowest_and_fastest(output_tokens: float, latency: Quantity) -> tuple[float | None, float | None]:
    if not latency.low or not latency.high:
        return None, None
    return output_tokens / latency.high, output_tokens / latency.low


@lru_cache(maxsize=16_384)
def paces(machine: Machine, traffic: Traffic, longest: int) -> tuple[Pace, ...]:
    """The machine at every batch worth trying, smallest first; none when the model does not fit.

    Computed from the formulas that `load_at` explains.
    """
    largest = max_batch(machine, traffic, longest)
    sizes = sorted({1, 2, 4, 8, 16, 32, 64, 128, 256, MAX_BATCH, largest} & set(range(1, largest + 1)))
    if not sizes:
        return ()
    context = traffic.input_tokens + traffic.output_tokens / 2
    deployment, constants = machine.deployment(), machine.constants()
    prompt = max(traffic.input_tokens * (1 - traffic.cached_share), 1.0)

    def seconds(work: roofline.Work, constants: roofline.Constants) -> float:
        terms = roofline.terms_of(work, deployment)
        return evaluate(_seconds_formula(terms, constants), _values(terms, constants))

    ttft = TTFT_FITTED if constants.first_interval else TTFT
    prefill = seconds(roofline.prefill_work(deployment, prompt), constants.of_prompts())
    found: list[Pace] = []
    for size in sizes:
        step = seconds(roofline.step_work(deployment, size, context), constants)
        named = {"output_tok": traffic.output_tokens, "step_s": step, "batch": float(size), "prefill_s": prefill}
        named |= {"first_token_s": constants.first_token_s, "wait_share": constants.wait_share}
        latency = evaluate(LATENCY, named)
        rate = evaluate(RATE, {"mean_batch": mean_batch(size), "latency_s": latency})
        found.append(Pace(size, latency, evaluate(ttft, named), rate))
    return tuple(found)


@lru_cache(maxsize=1024)
def mean_batch(batch: int) -> float:
    """Sequences under way on average, when 95 % of the time there are at most `batch`."""
    return evaluate(MEAN_BATCH, {"z": Z95, "batch": float(batch)})


def best_pace(machine: Machine, workload: Workload) -> Pace | None:
    """The pace with the highest rate within the limits. None when the model does not fit.

    When not even one sequence keeps the limits, that pace is returned: its latency tells by how much.
    """
    tried = paces(machine, of_one_request(workload.traffic), workload.longest)
    latency_limit_s, ttft_limit_s = workload.latency_p95_s or math.inf, workload.ttft_p95_s or math.inf
    fitting = [pace for pace in tried if pace.latency_s <= latency_limit_s and pace.ttft_s <= ttft_limit_s]
    if fitting:
        return max(fitting, key=lambda pace: pace.requests_per_s)
    return tried[0] if tried else None


def pace_of(machine: Machine, workload: Workload, requests_per_s: float, most: Pace) -> Pace:
    """What one machine does at a given rate: the smallest batch that carries it, at most the pace `most`."""
    tried = paces(machine, of_one_request(workload.traffic), workload.longest)
    carrying = (pace for pace in tried if pace.requests_per_s >= requests_per_s and pace.batch <= most.batch)
    return next(carrying, most)


def machines(load: Load, peak_requests_per_s: Quantity) -> Quantity:
    """Whole machines for the busiest minutes."""
    return derived(
        "machines",
        "",
        MACHINES,
        peak_requests_per_s.named("peak_requests_per_s"),
        load.requests_per_s,
    )


def capacity_mtok_per_month(load: Load, traffic: Traffic, peak_factor: Quantity) -> Quantity:
    """Million tokens, input and output, of one machine in a month whose busiest minutes it just carries."""
    return derived(
        "capacity_mtok_per_month",
        "Mtok/month",
        "requests_per_s / peak_factor * (input_tok + output_tok) * 3600 * hours_per_month / 1e6",
        load.requests_per_s,
        peak_factor,
        *traffic.quantities()[:2],
        hours_per_month(),
    )


def num_machines(pace: Pace, peak_requests_per_s: float) -> int:
    """The value of `machines`."""
    return int(evaluate(MACHINES, {"peak_requests_per_s": peak_requests_per_s, "requests_per_s": pace.requests_per_s}))
