"""Fine-tuning by hand: FLOPs, hours, memory and money, with the working."""

import re

import pytest

from wayra.base.errors import FileFormatError, InvalidParameter
from wayra.plan import finetune
from wayra.plan.hardware import hardware
from wayra.plan.models import architecture
from wayra.plan.prices.table import shipped_prices
from wayra.plan.quantity import given
from wayra.plan.training import plan_training, train_at_home
from wayra.plan.workload import METHODS, FineTuning, workload_of

# Llama 3.1 70B: 80 layers, hidden 8,192, feed-forward 28,672, 64 heads of 128, 8 for keys and values.
LLAMA_70B = finetune.Model("Llama 3.1 70B", 70_553_706_496, 68_451_041_280, 80, 8192, 28_672, 8192, 1024, 128_256)
H100_PCIE = given("peak_tflops", 756.5, "TFLOPS", "NVIDIA H100 PCIe, bf16 dense")


def test_training_ten_thousand_examples_of_512_tokens_at_six_flops_a_weight_takes_two_hours():
    # 6 * 70.55e9 * 5.12e6 / (756.5e12 * 0.4) / 3600 = 1.99 h
    job = finetune.Job("lora", 10_000, 512, mfu=0.4)
    assert finetune.hours(LLAMA_70B, job, H100_PCIE, 1).value == pytest.approx(1.99, abs=0.005)


def test_full_training_with_recomputation_needs_eight_flops_a_weight_and_without_six():
    job = finetune.Job("full", 1, 1)
    assert finetune.flops_per_token(LLAMA_70B, job).value == 8 * 70_553_706_496
    plain = finetune.Job("full", 1, 1, recompute=False)
    assert finetune.flops_per_token(LLAMA_70B, plain).value == 6 * 70_553_706_496
    frozen = finetune.Job("lora", 1, 1, recompute=False)
    assert finetune.flops_per_token(LLAMA_70B, frozen).value == 4 * 70_553_706_496


def test_six_to_twelve_hours_at_199_cost_12_to_24_dollars():
    rent = given("rent", 1.99, "USD/h", "")
    assert finetune.cost_usd(given("h", 6, "h", ""), rent, 1).value == pytest.approx(11.94)
    assert finetune.cost_usd(given("h", 12, "h", ""), rent, 1).value == pytest.approx(23.88)


def test_adapters_of_rank_16_on_70b_have_207_million_parameters():
    # 16 * 80 * (2 * (8192 + 8192) + 2 * (8192 + 1024) + 3 * (8192 + 28672)) = 1,280 * 161,792
    assert finetune.lora_parameters(LLAMA_70B, 16).value == 1280 * 161_792


def test_lora_on_70b_does_not_fit_one_card_and_qlora_does():
    # LoRA: 141.1 GB of frozen bf16 weights + 207.1e6 * 16 B = 3.3 GB. QLoRA: 68.45e9 * 4.127 / 8 = 35.3 GB
    # + 2.10e9 * 2 B = 4.2 GB + 3.3 GB. Activations of 512 tokens: 0.67 GB of layer inputs, 0.5 GB of logits.
    lora = finetune.memory_gb(LLAMA_70B, finetune.Job("lora", 10_000, 512)).value
    qlora = finetune.memory_gb(LLAMA_70B, finetune.Job("qlora", 10_000, 512)).value
    assert lora == pytest.approx(145.9, abs=0.2)
    assert qlora == pytest.approx(44.3, abs=0.3)


def test_full_training_of_70b_takes_more_than_a_terabyte():
    # 70.55e9 * 16 B = 1,128.9 GB before any activation
    assert finetune.memory_gb(LLAMA_70B, finetune.Job("full", 10_000, 512)).value > 1128.8


def test_unknown_methods_and_absurd_jobs_are_refused():
    with pytest.raises(InvalidParameter, match="'dora' is unknown; expected full, lora, qlora"):
        finetune.Job("dora", 1, 1)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidParameter, match="examples: 0"):
        finetune.Job("lora", 0, 1)
    with pytest.raises(InvalidParameter, match="share of the peak reached: 2"):
        finetune.Job("lora", 1, 1, mfu=2)


def test_the_method_of_training_can_be_named_and_full_costs_most() -> None:
    shape, table = architecture("llama-3.1-8b"), shipped_prices()
    runs = {name: plan_training(shape, FineTuning(20_000, 1024, method=name), table) for name in METHODS}
    costs = {name: run.value for name, run in runs.items() if run is not None}
    assert costs["cheapest"] == min(costs["lora"], costs["qlora"])
    # 6 operations a weight and token, and 2 for activations made again, against LoRA's 4 and 2.
    assert costs["full"] > costs["lora"]
    assert runs["full"] is not None
    assert runs["full"].note.startswith("full on ")


def test_what_holds_no_full_fine_tuning_says_so() -> None:
    hours, why = train_at_home(
        architecture("llama-3.1-8b"), FineTuning(1000, 1024, method="full"), hardware("rtx4090"), 1
    )
    assert hours is None
    # 8.03e9 parameters of 16 bytes alone are 128 GB.
    assert why.startswith("full fine-tuning takes 1")
    assert why.endswith("GB, a machine has 23 GB for it")


def test_an_unknown_method_is_refused() -> None:
    tables = {
        "traffic": {"input_tokens": 1, "output_tokens": 1, "requests_per_s": 1},
        "fine_tuning": {"examples": 1, "tokens_per_example": 1, "method": "dpo"},
    }
    with pytest.raises(FileFormatError, match="the method is 'dpo'; expected cheapest, lora, qlora, full"):
        workload_of(tables, "w.toml")


def tuned(**keys: object) -> FineTuning:
    tables = {
        "traffic": {"input_tokens": 1, "output_tokens": 1, "requests_per_month": 1},
        "fine_tuning": {"examples": 1000, "tokens_per_example": 512, **keys},
    }
    found = workload_of(tables, "file").fine_tuning
    assert found is not None
    return found


def test_passes_rank_and_share_of_the_peak_can_be_stated():
    shape, prices = architecture("llama-3.1-8b"), shipped_prices()
    plain = plan_training(shape, tuned(method="lora"), prices)
    thrice = plan_training(shape, tuned(method="lora", epochs=3, mfu=0.2), prices)
    assert plain is not None
    assert thrice is not None
    # 6 * 8.03e9 * 512,000 operations at 40 % of the peak; the note says where and how long.
    assert re.fullmatch(r"lora on \d x [\w-]+, [\d.]+ h, \d+ GB needed", plain.note)
    # Three passes at half of the 40 % that are assumed.
    assert thrice.value == pytest.approx(6 * plain.value)
    card, wide = hardware("l40s"), tuned(method="lora", lora_rank=4096)
    # 4096 * 32 * (2 * 8192 + 2 * 5120 + 3 * 18432) weights of 16 bytes are 171.8 GB more than rank 16 takes.
    assert train_at_home(shape, tuned(method="lora"), card, 1)[0] is not None
    none, why = train_at_home(shape, wide, card, 1)
    assert none is None
    assert why.startswith("LoRA takes 189 GB")


def test_what_of_a_training_nobody_stated_is_an_assumption():
    def sources(wanted: FineTuning) -> dict[str, str]:
        run = plan_training(architecture("llama-3.1-8b"), wanted, shipped_prices())
        assert run is not None
        (hours,) = [item for item in run.inputs if item.name == "training_hours"]
        (tokens,) = [item for item in hours.inputs if item.name == "training_tokens"]
        return {item.name: item.source for item in (*hours.inputs, *tokens.inputs)}

    assumed, stated = sources(tuned()), sources(tuned(epochs=1, mfu=0.3))
    assert (assumed["epochs"], assumed["mfu"]) == (
        "assumption; state your own",
        "usual of the method; state your own as mfu",
    )
    assert (stated["epochs"], stated["mfu"], stated["examples"]) == ("the job", "the job", "the job")


def test_a_rank_is_a_whole_number():
    with pytest.raises(FileFormatError, match=r"'lora_rank' is 1\.5; expected a whole number"):
        tuned(lora_rank=1.5)
