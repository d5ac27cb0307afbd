"""Fine-tuning as part of a plan: the cheapest method and rented card that holds the training, and what a run costs."""

from collections.abc import Iterator, Mapping
from functools import lru_cache

from wayra.plan import finetune
from wayra.plan.hardware import Hardware, all_hardware
from wayra.plan.models import Architecture
from wayra.plan.prices.table import PriceTable
from wayra.plan.quantity import Quantity, given, number
from wayra.plan.workload import FineTuning

MEMORY_SHARE = 0.9
GPU_COUNTS = (1, 2, 4, 8)
NAMES: Mapping[finetune.Method, str] = {"full": "full fine-tuning", "lora": "LoRA", "qlora": "QLoRA"}


def methods_of(wanted: FineTuning) -> tuple[finetune.Method, ...]:
    """What may be trained; of LoRA and QLoRA, which reach the same, the cheaper unless one is named."""
    return tuple(method for method in finetune.METHODS if method == wanted.method) or ("lora", "qlora")


def _job(method: finetune.Method, wanted: FineTuning) -> finetune.Job:
    return finetune.Job(
        method,
        wanted.examples,
        wanted.tokens_per_example,
        epochs=wanted.epochs,
        lora_rank=wanted.lora_rank,
        mfu=wanted.mfu,
        assumed=wanted.assumed,
    )


def trained_model(shape: Architecture) -> finetune.Model:
    return finetune.Model(
        name=shape.name,
        parameters=shape.parameters,
        linear_parameters=shape.linear,
        num_layers=shape.num_layers,
        hidden_size=shape.hidden_size,
        ffn_size=shape.ffn_size,
        q_size=shape.num_heads * shape.head_dim,
        kv_size=shape.num_kv_heads * shape.head_dim,
        vocab_size=shape.vocab_size,
    )


def train_at_home(shape: Architecture, wanted: FineTuning, card: Hardware, gpus: int) -> tuple[Quantity | None, str]:
    """Hours of a run on a machine's own cards, or None with how much memory is missing."""
    model = trained_model(shape)
    there = gpus * card.memory_bytes / 1e9 * MEMORY_SHARE
    peak = given("peak_tflops", card.peak("bf16") / 1e12, "TFLOPS", f"data sheet: {card.name}")
    least = float("inf")
    for method in methods_of(wanted):
        job = _job(method, wanted)
        needed = finetune.memory_gb(model, job).value
        least = min(least, needed)
        if needed <= there:
            hours = finetune.hours(model, job, peak, gpus)
            return hours.noted(f"{method} on {gpus} x {card.name} of its own, while they do not serve"), ""
    last = NAMES[methods_of(wanted)[-1]]
    return None, f"{last} takes {least:.0f} GB, a machine has {there:.0f} GB for it"


@lru_cache(maxsize=256)
def plan_training(shape: Architecture, wanted: FineTuning, table: PriceTable) -> Quantity | None:
    """The cheapest run on rented cards, of the method wanted. None when no eight cards hold it."""
    return min(_runs(shape, wanted, table), key=lambda run: run.value, default=None)


def _runs(shape: Architecture, wanted: FineTuning, table: PriceTable) -> Iterator[Quantity]:
    model = trained_model(shape)
    rented = {row.gpu for row in table.rents}
    for method in methods_of(wanted):
        job = _job(method, wanted)
        needed = finetune.memory_gb(model, job)
        for card in all_hardware():
            if card.name not in rented:
                continue
            rent = table.cheapest_rent(card.name).quantity()
            for gpus in GPU_COUNTS:
                if needed.value > gpus * card.memory_bytes / 1e9 * MEMORY_SHARE:
                    continue
                peak = given("peak_tflops", card.peak("bf16") / 1e12, "TFLOPS", f"data sheet: {card.name}")
                hours = finetune.hours(model, job, peak, gpus)
                run = finetune.cost_usd(hours, rent, gpus)
                took = f"{number(hours.value)} h"
                yield run.noted(f"{method} on {gpus} x {card.name}, {took}, {needed.value:.0f} GB needed")
                break
