"""How long a step takes, from the bytes it must read and the operations it must do, with a few fitted constants.

One form for every engine and machine:

    decode step = max(bytes / (bandwidth * bandwidth_share), operations * work / (peak * compute_share))
                  + layers * layer_s + sums * sum_s + bytes summed / (link * LINK_SHARE) + batch * sequence_s

Where a kv_share was fitted, the bytes above are those of the weights, and the KV cache is read after them at its own
share of the bandwidth: on a CPU nothing overlaps the attention, and its short stretches do not stream as weights do.
There, work is what this engine's multipliers do for a product and for the scales of its format (elsewhere 1), the head
takes two products, and what lies between the products comes after them, rows of values at a share of the bandwidth:

    + values * 8 bytes / (bandwidth * rows_share)

Reading a prompt takes the same form. On a CPU it is read in steps of 512 tokens, and its attention comes apart, in the
16-bit type of the KV cache:

    prompt = max(steps * bytes / (bandwidth * bandwidth_share), operations * work / (peak * compute_share))
             + operations of attention / (16-bit peak * attention_share) + steps * layers * layer_s + sequence_s + rows

A server under a steady number of requests reads one prompt for each answer that ends: between two tokens of one stream
it spends (batch - 1) / output_len of a prefill besides the step. That is what time per output token measures.
"""

import math
from dataclasses import dataclass, replace

from wayra.base.errors import InvalidParameter
from wayra.plan.hardware import Hardware
from wayra.plan.memory import CPU_BUFFERS, kv_room_bytes
from wayra.plan.models import Architecture
from wayra.plan.stored import Stored

LINK_SHARE = 0.7
SUMS_PER_LAYER = 2
ACTIVATION_BYTES = 2
VALUE_BYTES_ON_CPU = 8
"""Written and read as a float."""
HEAD_PRODUCTS_ON_CPU = 2
"""Its input is rounded to 15 bits, or not at all."""
FLOAT_ATTENTION = 1.25
"""Beside float weights the cache holds integers of sixteen bits: as many products at a time as of bfloat16, and more
between them. Measured on a Zen 5, prompts of 4,096 tokens: 1.22 times the time of bfloat16."""
MAX_BATCH = 1 << 16
MOST_WAITING = 64
"""Requests at once up to which times to first token were compared with measured ones."""
NOT_VALIDATED = "not validated: no measured times to compare with"


@dataclass(frozen=True, slots=True)
class Deployment:
    """A model in a storage format on `gpus` cards (1 for a CPU) that share it by tensor parallelism."""

    model: Architecture
    stored: Stored
    hardware: Hardware
    gpus: int = 1
    kv_bits: float = 16

    def __post_init__(self) -> None:
        if not 1 <= self.gpus <= 1024:
            raise InvalidParameter(f"{self.gpus} GPUs; expected 1 to 1,024")


@dataclass(frozen=True, slots=True)
class Load:
    """Requests at once, and the tokens of each. output_len 0: nothing is written, only read."""

    batch: float
    input_len: float
    output_len: float

    def __post_init__(self) -> None:
        if not 1 <= self.batch <= MAX_BATCH:
            raise InvalidParameter(f"a batch of {self.batch:,g}; expected 1 to {MAX_BATCH:,}")
        if not (0 <= self.input_len <= 1e9 and 0 <= self.output_len <= 1e9 and self.input_len + self.output_len >= 1):
            raise InvalidParameter(
                f"{self.input_len:,g} tokens in and {self.output_len:,g} out; expected at least one and at most 1e9"
            )


@dataclass(frozen=True, slots=True)
class Terms:
    """What the constants multiply. Seconds at the limits of the hardware, counts for the rest.

    weights_s, kv_s, compute_s: of a decode step, or of reading a prompt. prefill_s: operations of the prefills that
    fall on one step. attention_s, rows_s: of prompts, and between products, on a CPU. link_s: of the sums over cards.
    The others are counts.
    """

    weights_s: float
    kv_s: float
    compute_s: float
    prefill_s: float
    link_s: float
    layers: float
    sums: float
    sequences: float
    attention_s: float = 0.0
    rows_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Constants:
    """Five numbers fitted to runs of one class of engine and hardware. Shares lie in (0, 1], times are seconds.

    kv_share: a sixth, of the bandwidth, where the KV cache is read after the weights; 0 where with them.
    attention_share: of the 16-bit peak, in the attention of prompts; 0 where all operations reach compute_share.
    rows_share: of the bandwidth, at which values pass between products; 0 where that is in the other constants.
    low, high: factors around a prediction that hold nine of ten runs on hardware left out of the fit; 0 where unknown.
    prompt_low, prompt_high: the same around the time of reading a prompt; 0 where nothing measured says so.
    first_token_s, wait_share: of a server, what a request takes besides, and the share of the other prompts that are
    read before its own; first_low, first_high: around its time to first token, with MOST_WAITING requests at most.
    kind: of the hardware they are for ("gpu", "unified", "cpu"), "" where that is not said.
    """

    bandwidth_share: float
    compute_share: float
    layer_s: float
    sum_s: float
    sequence_s: float
    low: float = 1.0
    high: float = 1.0
    source: str = ""
    kind: str = ""
    kv_share: float = 0.0
    attention_share: float = 0.0
    rows_share: float = 0.0
    prompt_low: float = 0.0
    prompt_high: float = 0.0
    first_token_s: float = 0.0
    wait_share: float = 0.0
    first_low: float = 0.0
    first_high: float = 0.0

    @property
    def first_interval(self) -> tuple[float, float] | None:
        """Around times to first token; None where they are not fitted to measured ones."""
        return (self.first_low, self.first_high) if self.first_high else None

    def interval(self, *, is_prompt: bool) -> tuple[float, float] | None:
        """low and high, or those of prompts; None where nothing measured says how far off such times may be."""
        low, high = (self.prompt_low, self.prompt_high) if is_prompt else (self.low, self.high)
        return (low, high) if high else None

    def of_prompts(self) -> "Constants":
        """The same with the interval of prompts, 0 to 0 where none is known."""
        return replace(self, low=self.prompt_low, high=self.prompt_high)


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds, with the interval. bounded_by: the largest part, in words. shares: part of each term, summing to 1.

    low, high: None where no measurement says how far off such a time may be.
    """

    seconds: float
    low: float | None
    high: float | None
    bounded_by: str
    shares: tuple[tuple[str, float], ...]


def served_batch(deployment: Deployment, load: Load) -> float:
    """Sequences that run at once: those asked for, or what the KV cache has room for; the others wait."""
    kept = deployment.model.kept_on(deployment.hardware.kind, deployment.gpus)
    per_sequence = kept.kept_bytes(load.input_len + load.output_len / 2, deployment.kv_bits)
    room = kv_room_bytes(deployment.model, deployment.stored, deployment.hardware, deployment.gpus)
    return max(1.0, min(load.batch, room / per_sequence)) if per_sequence else load.batch


def weight_bytes_read(model: Architecture, stored: Stored, tokens: float) -> float:
    """Bytes of weights a step of so many tokens reads: projections, the experts it touches, head, norms."""
    return (
        model.linear_read(tokens) * stored.linear_bits
        + model.embedding * stored.table_bits
        + model.small * stored.small_bits
    ) / 8


def attention_flops(model: Architecture, tokens: float) -> float:
    """Operations of a prompt between its tokens: with keys and values of all pairs that attend, and on states."""
    return sum(m.layers * (m.pair_operations * m.pairs(tokens) + m.token_operations * tokens) for m in model.mixing)


def step_flops(model: Architecture, context: float) -> float:
    """Operations of one sequence's step of decoding besides products with weights, where they are worth counting: on
    states, and of all heads with one latent vector, which take as long as reading it.
    """
    return sum(m.layers * (m.kept_operations * m.seen_tokens(context) + m.token_operations) for m in model.mixing)


def product_flops(model: Architecture, tokens: float, rows: float, *, on_cpu: bool) -> float:
    """Operations of the projections of so many tokens, and of the head for so many rows."""
    return 2 * model.active_linear * tokens + 2 * model.embedding * rows * (HEAD_PRODUCTS_ON_CPU if on_cpu else 1)


def prefill_flops(model: Architecture, tokens: float) -> float:
    """Operations of reading a prompt."""
    return product_flops(model, tokens, 1, on_cpu=False) + attention_flops(model, tokens)


def values_between(model: Architecture, tokens: float) -> float:
    """Values that this engine writes and reads between the products of so many tokens.

    A layer's norms have the residual, the normalised row and the sum to be added twice; queries, keys and values are
    there before the rotation and after, the queries' results once; gate, up and their product once each.
    """
    q, kv = model.num_heads * model.head_dim, model.num_kv_heads * model.head_dim
    return tokens * model.num_layers * (6 * model.hidden_size + 3 * q + 4 * kv + 3 * model.ffn_size)


def _products_on_cpu(model: Architecture, tokens: float) -> float:
    """Operations of a prompt's products in this engine, whose last layer goes on with one row from its attention on."""
    q, kv = model.num_heads * model.head_dim, model.num_kv_heads * model.head_dim
    for_one_row = max(0.0, model.active_linear / model.num_layers - model.hidden_size * (q + 2 * kv))
    return product_flops(model, tokens, 1, on_cpu=True) - 2 * for_one_row * (tokens - 1)


def _values_of_prompt(model: Architecture, tokens: float) -> float:
    """`values_between` without those of the rows that the last layer leaves out."""
    for_one_row = 3 * model.hidden_size + model.num_heads * model.head_dim + 3 * model.ffn_size
    return values_between(model, tokens) - (tokens - 1) * for_one_row


def decode_terms(deployment: Deployment, load: Load, *, interleaved: bool = True) -> Terms:
    """The terms of one step of decoding. interleaved: with the prefills of requests that take the place of others."""
    batch = served_batch(deployment, load)
    prefills = (batch - 1) / load.output_len if interleaved and load.output_len else 0.0
    work = step_work(deployment, batch, load.input_len + load.output_len / 2)
    if not prefills:
        return terms_of(work, deployment)
    both = replace(work, link_bytes=_link_bytes(deployment, batch + prefills * load.input_len))
    read = terms_of(prefill_work(deployment, load.input_len), deployment)
    terms = terms_of(both, deployment)
    return replace(
        terms,
        prefill_s=prefills * read.compute_s,
        attention_s=prefills * read.attention_s,
        rows_s=terms.rows_s + prefills * read.rows_s,
    )


@dataclass(frozen=True, slots=True)
class Work:
    """What a step reads, computes and sends, of all cards together. attention: operations apart from the others, at the
    rate of bfloat16.

    steps: of the engine, each of which passes every layer. values: between products, on a CPU.
    """

    weight_bytes: float
    kv_bytes: float
    operations: float
    link_bytes: float
    sequences: float
    attention: float = 0.0
    steps: float = 1.0
    values: float = 0.0


def step_work(deployment: Deployment, batch: float, context: float) -> Work:
    """A step of decoding by itself: `batch` sequences, for which there is room, of so many tokens each."""
    model, on_cpu = deployment.model, deployment.hardware.kind == "cpu"
    kept = model.kept_on(deployment.hardware.kind, deployment.gpus)
    return Work(
        weight_bytes=weight_bytes_read(model, deployment.stored, batch),
        kv_bytes=batch * kept.seen_bytes(context, deployment.kv_bits),
        operations=product_flops(model, batch, batch, on_cpu=on_cpu) + batch * step_flops(model, context),
        link_bytes=_link_bytes(deployment, batch),
        sequences=batch,
        values=values_between(model, batch) if on_cpu else 0.0,
    )


def prefill_work(deployment: Deployment, tokens: float) -> Work:
    """Reading one prompt."""
    model, stored = deployment.model, deployment.stored
    on_cpu = deployment.hardware.kind == "cpu"
    steps = max(1.0, math.ceil(tokens / CPU_BUFFERS.step_tokens)) if on_cpu else 1.0
    again = (steps - 1) * model.linear_read(tokens / steps) * stored.linear_bits / 8
    attention = attention_flops(model, tokens) * (1 - 1 / model.num_layers) if on_cpu else 0.0
    return Work(
        weight_bytes=weight_bytes_read(model, stored, tokens / steps) + again,
        kv_bytes=0.0,
        operations=_products_on_cpu(model, tokens) if on_cpu else prefill_flops(model, tokens),
        link_bytes=_link_bytes(deployment, tokens),
        sequences=1,
        attention=attention if stored.maths == "int8" else attention * FLOAT_ATTENTION,
        steps=steps,
        values=_values_of_prompt(model, tokens) if on_cpu else 0.0,
    )


def terms_of(work: Work, deployment: Deployment) -> Terms:
    """Seconds at the limits of the hardware."""
    model, hardware, gpus = deployment.model, deployment.hardware, deployment.gpus
    return Terms(
        weights_s=work.weight_bytes / (gpus * hardware.bytes_per_s),
        kv_s=work.kv_bytes / (gpus * hardware.bytes_per_s),
        compute_s=work.operations * product_work(deployment) / _peak(deployment),
        prefill_s=0.0,
        link_s=work.link_bytes / hardware.link_bytes_per_s if gpus > 1 else 0.0,
        layers=work.steps * model.num_layers,
        sums=SUMS_PER_LAYER * model.num_layers if gpus > 1 else 0,
        sequences=work.sequences,
        attention_s=work.attention / (gpus * hardware.peak("bf16")),
        rows_s=work.values * VALUE_BYTES_ON_CPU / hardware.bytes_per_s,
    )


def prefill_terms(deployment: Deployment, tokens: float) -> Terms:
    """The terms of reading one prompt."""
    return terms_of(prefill_work(deployment, tokens), deployment)


def _peak(deployment: Deployment) -> float:
    return deployment.gpus * deployment.hardware.peak(deployment.stored.maths)


def product_work(deployment: Deployment) -> float:
    """What this engine does for a product; how others multiply what formats store is not known here."""
    return deployment.stored.product_work if deployment.hardware.kind == "cpu" else 1.0


def _link_bytes(deployment: Deployment, tokens: float) -> float:
    """A ring sends twice all but its own share of what is summed."""
    gpus = deployment.gpus
    if gpus == 1:
        return 0.0
    if not deployment.hardware.link_bytes_per_s:
        raise InvalidParameter(f"{deployment.hardware.title} cannot share a model over {gpus}; ask for one")
    sent = 2 * tokens * deployment.model.hidden_size * ACTIVATION_BYTES * (gpus - 1) / gpus
    return SUMS_PER_LAYER * deployment.model.num_layers * sent


def speed(terms: Terms, constants: Constants) -> Speed:
    """Seconds of a step of these terms; with `Constants.of_prompts`, of reading a prompt."""
    beside_s = 0.0 if constants.kv_share else terms.kv_s
    memory_s = (terms.weights_s + beside_s) / constants.bandwidth_share
    compute_s = terms.compute_s / constants.compute_share
    parts: list[tuple[str, float]] = [
        ("prefills of other requests", terms.prefill_s / constants.compute_share),
        ("attention of prompts", terms.attention_s / (constants.attention_share or constants.compute_share)),
        ("rows between products", terms.rows_s / constants.rows_share if constants.rows_share else 0.0),
        ("the link between cards", terms.link_s / LINK_SHARE + terms.sums * constants.sum_s),
        ("fixed time a layer", terms.layers * constants.layer_s),
        ("work for each sequence", terms.sequences * constants.sequence_s),
    ]
    kv_s = terms.kv_s / constants.kv_share if constants.kv_share else 0.0
    if memory_s >= compute_s:
        part = beside_s / (terms.weights_s + beside_s)
        kv_s += memory_s * part
        parts.append(("reading weights", memory_s * (1 - part)))
    else:
        parts.append(("arithmetic", compute_s))
    parts.append(("reading the KV cache", kv_s))
    total = sum(seconds for _, seconds in parts)
    parts.sort(key=lambda part: -part[1])
    shares = tuple((name, seconds / total) for name, seconds in parts if seconds > 0)
    low, high = (total * constants.low, total * constants.high) if constants.high else (None, None)
    return Speed(total, low, high, shares[0][0], shares)


def first_token(step: Speed, prompt: Speed, batch: float, constants: Constants) -> Speed | None:
    """Of a request among `batch` at a server, from its sending; None where no measured ones were fitted to."""
    if constants.first_interval is None:
        return None
    waiting_s = constants.wait_share * batch * prompt.seconds
    parts = [
        ("what a server adds to a request", constants.first_token_s),
        ("prompts of other requests", waiting_s),
        ("reading the prompt", prompt.seconds),
        ("the first step", step.seconds),
    ]
    total = sum(seconds for _, seconds in parts)
    parts.sort(key=lambda part: -part[1])
    shares = tuple((name, seconds / total) for name, seconds in parts)
    low, high = (factor * total for factor in constants.first_interval) if batch <= MOST_WAITING else (None, None)
    return Speed(total, low, high, shares[0][0], shares)
