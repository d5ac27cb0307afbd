"""What fine-tuning takes: FLOPs, hours, memory and money of LoRA, QLoRA and full training, from first principles.

A multiply-add is two FLOPs. Forward is 2 a weight and token; the backward pass is 2 for the gradient of activations and
2 for that of weights, the latter only where weights are trained. Recomputing activations adds another forward pass.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from wayra.base.errors import InvalidParameter
from wayra.plan.quantity import Quantity, derived, given

Method = Literal["full", "lora", "qlora"]
METHODS: tuple[Method, ...] = ("full", "lora", "qlora")

# Reached share of the peak. Fused full training of large models reports 35 to 45 %; dequantising costs QLoRA a third.
DEFAULT_MFU: Mapping[Method, float] = MappingProxyType({"full": 0.4, "lora": 0.4, "qlora": 0.27})
# NF4 in blocks of 64 with double quantisation: 4 bits, an 8-bit scale for 64 weights, a 32-bit one for 256 of those.
QLORA_BITS = 4 + 8 / 64 + 32 / (64 * 256)
DEFAULT_RANK = 16
# bf16 weight and gradient, float32 master weight and two Adam moments.
ADAM_BYTES = 2 + 2 + 4 + 4 + 4


@dataclass(frozen=True, slots=True)
class Model:
    """What training needs to know of a model. linear_parameters: those in the projections of the layers."""

    name: str
    parameters: float
    linear_parameters: float
    num_layers: int
    hidden_size: int
    ffn_size: int
    q_size: int
    kv_size: int
    vocab_size: int


@dataclass(frozen=True, slots=True)
class Job:
    """A fine-tuning run. mfu: reached share of the peak, None for the method's default.

    assumed: names of the numbers that nobody stated. Raises: InvalidParameter outside the bounds.
    """

    method: Method
    examples: int
    tokens_per_example: int
    epochs: float = 1.0
    micro_batch: int = 1
    lora_rank: int = DEFAULT_RANK
    recompute: bool = True
    mfu: float | None = None
    assumed: tuple[str, ...] = ()

    def source_of(self, name: str) -> str:
        """Whether a number is ours or the user's."""
        return "assumption; state your own" if name in self.assumed else "the job"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InvalidParameter(f"fine-tuning method {self.method!r} is unknown; expected {', '.join(METHODS)}")
        _between("examples", self.examples, 1, 1e12)
        _between("tokens an example", self.tokens_per_example, 1, 1e8)
        _between("epochs", self.epochs, 1e-3, 1e4)
        _between("micro batch", self.micro_batch, 1, 1e6)
        _between("LoRA rank", self.lora_rank, 1, 65536)
        if self.mfu is not None:
            _between("share of the peak reached", self.mfu, 1e-4, 1)


def lora_parameters(model: Model, rank: int, source: str = "the job") -> Quantity:
    """Adapters on all seven projections of a layer: rank * (rows + columns) each."""
    return derived(
        "adapter_parameters",
        "",
        "num_layers * rank * (2 * (hidden + q_size) + 2 * (hidden + kv_size) + 3 * (hidden + ffn_size))",
        given("num_layers", model.num_layers, "", f"config of {model.name}"),
        given("rank", rank, "", source),
        given("hidden", model.hidden_size, "", f"config of {model.name}"),
        given("q_size", model.q_size, "", f"config of {model.name}"),
        given("kv_size", model.kv_size, "", f"config of {model.name}"),
        given("ffn_size", model.ffn_size, "", f"config of {model.name}"),
    )


def training_tokens(job: Job) -> Quantity:
    return derived(
        "training_tokens",
        "tok",
        "examples * tokens_per_example * epochs",
        given("examples", job.examples, "", "the job"),
        given("tokens_per_example", job.tokens_per_example, "tok", "the job"),
        given("epochs", job.epochs, "", job.source_of("epochs")),
    )


def flops_per_token(model: Model, job: Job) -> Quantity:
    """Full training 6 a weight; frozen weights 4; recomputation 2 more. The embedding's look-up counts as a product."""
    trained = given("weight_gradient", 2.0 if job.method == "full" else 0.0, "FLOP/weight", "trained weights only")
    again = given("recompute", 2.0 if job.recompute else 0.0, "FLOP/weight", "activations computed a second time")
    parameters = given("parameters", model.parameters, "", f"config of {model.name}")
    return derived(
        "flops_per_token",
        "FLOP/tok",
        "(4 + weight_gradient + recompute) * parameters",
        trained,
        again,
        parameters,
        note="attention scores left out: small below some 8K tokens an example",
    )


def hours(model: Model, job: Job, peak_tflops: Quantity, gpus: int) -> Quantity:
    """Wall-clock hours on `gpus` cards that share the work without loss."""
    _between("GPUs", gpus, 1, 1e6)
    mfu = DEFAULT_MFU[job.method] if job.mfu is None else job.mfu
    origin = "usual of the method; state your own as mfu" if job.mfu is None else "the job"
    return derived(
        "training_hours",
        "h",
        "flops_per_token * training_tokens / (peak_tflops * 1e12 * mfu * gpus) / 3600",
        flops_per_token(model, job),
        training_tokens(job),
        peak_tflops.named("peak_tflops"),
        given("mfu", mfu, "", origin),
        given("gpus", gpus, "", "the plan"),
    )


def cost_usd(training_hours: Quantity, rent_usd_per_h: Quantity, gpus: int) -> Quantity:
    """6 to 12 hours of one GPU at 1.99 USD are 11.94 to 23.88 USD."""
    return derived(
        "training_usd",
        "USD",
        "training_hours * rent_usd_per_h * gpus",
        training_hours.named("training_hours"),
        rent_usd_per_h.named("rent_usd_per_h"),
        given("gpus", gpus, "", "the plan"),
    )


def memory_gb(model: Model, job: Job) -> Quantity:
    """All GPUs together: weights, gradients and optimiser, activations of one micro batch and its logits."""
    weights = _weights_gb(model, job)
    activations = derived(
        "activations_gb",
        "GB",
        "batch_tok * 2 * (num_layers * hidden * kept + 4 * hidden + 2 * q_size + 2 * kv_size + 3 * ffn_size) / 1e9",
        given("batch_tok", job.micro_batch * job.tokens_per_example, "tok", "micro batch times tokens an example"),
        given("num_layers", model.num_layers, "", f"config of {model.name}"),
        given("hidden", model.hidden_size, "", f"config of {model.name}"),
        # Without recomputation a layer keeps about 17 bf16 values a hidden unit and token.
        given("kept", 1.0 if job.recompute else 17.0, "", "values of the residual's width kept a layer"),
        given("q_size", model.q_size, "", f"config of {model.name}"),
        given("kv_size", model.kv_size, "", f"config of {model.name}"),
        given("ffn_size", model.ffn_size, "", f"config of {model.name}"),
    )
    logits = derived(
        "logits_gb",
        "GB",
        "batch_tok * vocab * 8 / 1e9",
        given("batch_tok", job.micro_batch * job.tokens_per_example, "tok", "micro batch times tokens an example"),
        given("vocab", model.vocab_size, "", f"config of {model.name}"),
        note="float32 logits and their gradient",
    )
    return derived("training_gb", "GB", "weights_gb + activations_gb + logits_gb", weights, activations, logits)


def _weights_gb(model: Model, job: Job) -> Quantity:
    parameters = given("parameters", model.parameters, "", f"config of {model.name}")
    adam = given("adam_bytes", ADAM_BYTES, "B", "bf16 weight and gradient, float32 master and two moments")
    if job.method == "full":
        return derived("weights_gb", "GB", "parameters * adam_bytes / 1e9", parameters, adam)
    adapters = lora_parameters(model, job.lora_rank, job.source_of("lora_rank"))
    if job.method == "lora":
        formula = "(parameters * 2 + adapter_parameters * adam_bytes) / 1e9"
        return derived("weights_gb", "GB", formula, parameters, adapters, adam)
    return derived(
        "weights_gb",
        "GB",
        "(linear_parameters * bits / 8 + (parameters - linear_parameters) * 2 + adapter_parameters * adam_bytes) / 1e9",
        given("linear_parameters", model.linear_parameters, "", f"config of {model.name}"),
        given("bits", QLORA_BITS, "bit", "NF4, blocks of 64, double quantisation"),
        parameters,
        adapters,
        adam,
    )


def _between(what: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InvalidParameter(f"{what}: {value:,g}; expected {low:,g} to {high:,g}")
