"""The roofline by hand, and constants found again from times made with them."""

import math
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from wayra.base.errors import FileFormatError, InvalidParameter
from wayra.plan.calibration import Observation, fit_constants, interval_of, predict
from wayra.plan.constants import constants_for, default_constants, read_constants, write_constants
from wayra.plan.hardware import all_hardware, hardware
from wayra.plan.measurements import COLUMNS, read_measurements
from wayra.plan.models import architecture
from wayra.plan.roofline import (
    Constants,
    Deployment,
    Load,
    Terms,
    attention_flops,
    decode_terms,
    first_token,
    prefill_flops,
    prefill_terms,
    served_batch,
    speed,
    weight_bytes_read,
)
from wayra.plan.stored import stored_as

IDEAL = Constants(1.0, 1.0, 0.0, 0.0, 0.0)


def on(model: str, fmt: str, card: str, gpus: int = 1) -> Deployment:
    return Deployment(architecture(model), stored_as(fmt), hardware(card), gpus)


def test_decode_reads_all_weights_but_the_embedding_table() -> None:
    # 8B: (8,030,261,248 - 525,336,576) weights of 2 bytes = 15.01 GB, at 3,350 GB/s 4.48 ms.
    terms = decode_terms(on("llama-3.1-8b", "bf16", "h100"), Load(1, 1, 0), interleaved=False)
    assert terms.weights_s == pytest.approx(2 * 7_504_924_672 / 3.35e12)
    assert terms.kv_s == pytest.approx(131_072 / 3.35e12)
    found = speed(terms, IDEAL)
    assert found.seconds == pytest.approx(4.48e-3, rel=1e-3)
    assert found.bounded_by == "reading weights"


def test_tensor_parallelism_divides_bytes_and_adds_sums() -> None:
    one = decode_terms(on("llama-3.1-8b", "bf16", "h100"), Load(8, 1024, 0), interleaved=False)
    four = decode_terms(on("llama-3.1-8b", "bf16", "h100", 4), Load(8, 1024, 0), interleaved=False)
    assert four.weights_s == pytest.approx(one.weights_s / 4)
    assert (one.sums, four.sums) == (0, 64)
    # A ring sends 2 * 3/4 of 8 tokens * 4096 values * 2 bytes, 64 times, at 450 GB/s.
    assert four.link_s == pytest.approx(64 * 2 * 0.75 * 8 * 4096 * 2 / 450e9)


def test_a_batch_reads_the_experts_it_touches() -> None:
    mixtral, fmt = architecture("mixtral-8x7b"), stored_as("bf16")
    one, two = weight_bytes_read(mixtral, fmt, 1), weight_bytes_read(mixtral, fmt, 2)
    # 1.5 more experts of 3 * 4096 * 14336 weights in each of 32 layers.
    assert two - one == pytest.approx(1.5 * 32 * 176_160_768 * 2)


def test_prefill_is_bounded_by_arithmetic() -> None:
    # 2 * 6,979,321,856 * 4096 of projections, 2 * 32 * 4096 * 4096^2 of attention, 2 * 525,336,576 of the head.
    flops = prefill_flops(architecture("llama-3.1-8b"), 4096)
    assert flops == 2 * 6_979_321_856 * 4096 + 2 * 32 * 4096 * 4096**2 + 2 * 525_336_576
    found = speed(prefill_terms(on("llama-3.1-8b", "bf16", "h100"), 4096), IDEAL)
    assert found.seconds == pytest.approx(flops / 989e12)
    assert found.bounded_by == "arithmetic"


def test_each_answer_that_ends_costs_the_others_a_prefill() -> None:
    deployment = on("llama-3.1-8b", "bf16", "h100")
    terms = decode_terms(deployment, Load(17, 1024, 128))
    # 16 other requests each read one prompt while 128 tokens are written.
    assert terms.prefill_s == pytest.approx(16 / 128 * prefill_flops(deployment.model, 1024) / 989e12)
    assert decode_terms(deployment, Load(1, 1024, 128)).prefill_s == 0


def test_sequences_beyond_the_kv_cache_wait() -> None:
    deployment = on("llama-3.1-8b", "bf16", "l40s")
    # 44.99 GiB * 0.9 - 2 GB - 16.06 GB = 25.4 GB of room; a sequence of 10,240 tokens keeps 1.342 GB.
    assert served_batch(deployment, Load(512, 8192, 4096)) == pytest.approx(25.41e9 / (10_240 * 131_072), rel=1e-3)


def test_formats_without_units_run_at_the_peak_of_bf16() -> None:
    assert hardware("a100").peak("fp8") == hardware("a100").peak("bf16") == 312e12


def test_constants_are_found_again_from_their_own_times() -> None:
    true = Constants(0.7, 0.5, 2e-5, 8e-6, 3e-5)
    made: list[Observation] = []
    for card in ("h100", "h200", "b200"):
        for model in ("llama-3.1-8b", "llama-3.1-70b"):
            for gpus in (4, 8) if model.endswith("70b") else (1, 2):
                for batch in (1, 8, 64, 128):
                    terms = decode_terms(on(model, "fp8", card, gpus), Load(batch, 1024, 256))
                    made.append(Observation(terms, speed(terms, true).seconds, card))
    found = fit_constants(made)
    errors = np.abs(predict(made, found) / np.array([item.seconds for item in made]) - 1)
    assert errors.max() < 0.03
    assert found.bandwidth_share == pytest.approx(0.7, rel=0.1)
    assert found.low <= 1 <= found.high < 1.2


def test_intervals_cover_what_noise_leaves() -> None:
    noise = np.random.default_rng(3).normal(0, 0.1, 120)
    made: list[Observation] = []
    for i, error in enumerate(noise):
        terms = decode_terms(on("llama-3.1-8b", "bf16", "h100"), Load(1 + i, 512 + 8 * i, 256))
        made.append(Observation(terms, speed(terms, default_constants("gpu")).seconds * math.exp(error), "h100"))
    found = fit_constants(made)
    # Nine of ten of a normal distribution lie within 1.645 standard deviations.
    assert math.log(found.high) == pytest.approx(0.1645, rel=0.35)
    assert math.log(found.low) == pytest.approx(-0.1645, rel=0.35)


def test_runs_of_several_kinds_of_hardware_are_not_mixed() -> None:
    terms = decode_terms(on("llama-3.1-8b", "bf16", "h100"), Load(1, 8, 8))
    made = [Observation(terms, 1.0, "x", "gpu")] * 6
    assert fit_constants([*made, *made]).kind == "gpu"
    with pytest.raises(InvalidParameter, match="cpu, gpu"):
        fit_constants([*made, *(replace(item, kind="cpu") for item in made)])


def test_what_no_run_tells_is_not_made_up() -> None:
    made: list[Observation] = []
    for batch in (1, 2, 4, 8, 16, 32, 64, 128):
        terms = decode_terms(on("llama-3.1-8b", "bf16", "h100"), Load(batch, 1024, 256))
        made.append(Observation(terms, speed(terms, default_constants("gpu")).seconds, "h100", "gpu"))
    assert fit_constants(made).sum_s == default_constants("gpu").sum_s
    assert fit_constants([replace(item, kind="") for item in made]).sum_s == 0


def test_constants_of_another_kind_are_refused() -> None:
    mine = Constants(0.7, 0.5, 0, 0, 0, kind="cpu")
    assert constants_for(mine, "cpu") == mine
    with pytest.raises(InvalidParameter, match="of the kind cpu, wanted are those of gpu"):
        constants_for(mine, "gpu")


def test_too_few_or_senseless_runs_are_refused() -> None:
    terms = decode_terms(on("llama-3.1-8b", "bf16", "h100"), Load(1, 8, 8))
    with pytest.raises(InvalidParameter, match="3 runs"):
        fit_constants([Observation(terms, 1.0, "x")] * 3)
    for seconds in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(InvalidParameter):
            Observation(terms, seconds, "x")


def test_senseless_loads_are_refused() -> None:
    for batch, read, written in ((0, 1, 1), (1, 0, 0), (-1, 1, 1), (1, -1, 1), (1, 1e12, 1), (math.nan, 1, 1)):
        with pytest.raises(InvalidParameter):
            Load(batch, read, written)
    with pytest.raises(InvalidParameter):
        on("llama-3.1-8b", "bf16", "h100", 0)


def test_constants_survive_the_disk(tmp_path: Path) -> None:
    made = Constants(0.7, 0.5, 2e-5, 8e-6, 3e-5, 0.8, 1.3, 'from "here"')
    write_constants(tmp_path / "c.toml", made)
    assert read_constants(tmp_path / "c.toml") == replace(made, source="from 'here'")


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("bandwidth_share = 1.5", "bandwidth_share"),
        ("compute_share = 0", "compute_share"),
        ("layer_s = -1", "layer_s"),
        ("sequence_s = 'x'", "sequence_s"),
        ("high = 0.5", "interval"),
        ("attention_share = 2", "attention_share"),
        ("first_token_s = -1", "first_token_s"),
        ("prompt_low = 0.5", "interval of prompts 0.5 to 0"),
        ("first_high = 2.0", "interval of first tokens 0 to 2"),
    ],
)
def test_damaged_constants_are_refused_by_name(line: str, named: str, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    write_constants(path, Constants(0.7, 0.5, 2e-5, 8e-6, 3e-5, 0.8, 1.3))
    name = line.split(" ", maxsplit=1)[0]
    kept = [text for text in path.read_text().splitlines() if not text.startswith(name)]
    path.write_text("\n".join([*kept, line]))
    with pytest.raises(FileFormatError, match=named):
        read_constants(path)


def test_runs_are_read_from_a_csv(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(",".join(COLUMNS) + "\nllama3.1:8b,bf16,h100,2,16,1024,256,0.0065\n")
    (found,) = read_measurements(path, lambda: hardware("desktop-ddr5"))
    assert found.terms == decode_terms(on("llama-3.1-8b", "bf16", "h100", 2), Load(16, 1024, 256))
    assert (found.seconds, found.group) == (0.0065, "h100-sxm")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("model,format\n", "hardware"),
        (",".join(COLUMNS) + "\nllama3,bf16,h100,1,1,1,1,0\n", "line 2: seconds_per_token"),
        (",".join(COLUMNS) + "\nllama3,bf16,h100,1,x,1,1,1\n", "line 2: batch"),
        (",".join(COLUMNS) + "\nllama3,bf16,h100,1,nan,1,1,1\n", "line 2: batch"),
        (",".join(COLUMNS) + "\nllama3,bf16,h100\n", "line 2: gpus"),
    ],
)
def test_damaged_runs_are_refused_by_line(text: str, named: str, tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(text)
    with pytest.raises(FileFormatError, match=named):
        read_measurements(path, lambda: hardware("desktop-ddr5"))


def test_old_rows_warn() -> None:
    row = replace(hardware("h100"), as_of="2020-01-01")
    assert "2020-01-01" in row.stale(date(2026, 1, 1))
    assert hardware("h100").stale(date(2026, 12, 1)) == ""


def test_shipped_hardware_is_sound_and_sourced() -> None:
    for row in all_hardware():
        assert "" not in (row.source, row.as_of), row.name
        assert min(row.memory_bytes, row.bytes_per_s, row.peak("bf16")) > 0


def test_an_interval_holds_the_scatter_within_groups_and_the_largest_shift_of_one():
    # Groups around 0.1 and -0.3, each with 21 errors 0.01 apart: the second and the last but one of 42 lie 0.1 off.
    scatter = np.linspace(-0.1, 0.1, 21)
    errors = np.concatenate([scatter + 0.1, scatter - 0.3])
    low, high = interval_of(errors, np.repeat([0, 1], 21))
    assert (low, high) == (pytest.approx(-0.1 - 0.3), pytest.approx(0.1 + 0.3))


def test_a_cpu_reads_the_kv_cache_after_the_weights() -> None:
    terms = Terms(weights_s=0.004, kv_s=0.003, compute_s=0.002, prefill_s=0, link_s=0, layers=10, sums=0, sequences=2)
    apart = Constants(0.8, 0.5, 1e-5, 0.0, 1e-4, kv_share=0.6)
    # max(4 / 0.8, 2 / 0.5) + 3 / 0.6 + 10 * 0.01 + 2 * 0.1 ms
    assert speed(terms, apart).seconds == pytest.approx(0.0103)
    # max((4 + 3) / 0.8, 2 / 0.5) + 0.3 ms
    assert speed(terms, replace(apart, kv_share=0.0)).seconds == pytest.approx(0.00905)
    # Arithmetic hides the weights, and not the cache.
    busy = speed(replace(terms, compute_s=0.01), apart)
    assert busy.seconds == pytest.approx(0.02 + 0.005 + 0.0003)
    assert dict(busy.shares)["reading the KV cache"] == pytest.approx(0.005 / 0.0253)


def test_constants_of_a_cpu_are_found_again_with_the_share_of_the_cache() -> None:
    true = Constants(0.9, 0.6, 3e-5, 0.0, 2e-4, kv_share=0.55)
    made: list[Observation] = []
    for weights_s in (0.003, 0.01, 0.03):
        for batch in (1, 4, 16):
            for kv_s in (0.0002, 0.002, 0.006):
                terms = Terms(weights_s, kv_s * batch, weights_s * batch / 10, 0, 0, 24, 0, batch)
                made.append(Observation(terms, speed(terms, true).seconds, f"model {weights_s}", "cpu"))
    found = fit_constants(made)
    assert found.kv_share == pytest.approx(0.55, rel=0.05)
    assert np.abs(predict(made, found) / np.array([item.seconds for item in made]) - 1).max() < 0.03


ON_CPU = Constants(0.8, 0.5, 1e-5, 0.0, 1e-4, 0.9, 1.1, kv_share=0.6, attention_share=0.4, rows_share=0.8)


def test_a_prompt_on_a_cpu_by_hand() -> None:
    # Llama 3.2 1B in Q4_0: 16 layers of 2,048 * 5,120 + 3 * 2,048 * 8,192 weights of 4.5 bits, a table of
    # 128,256 * 2,048; 8 cores with 89.6 GB/s, 4.1 Top/s of int8 and 2 TFLOP/s of bf16.
    deployment = on("llama-3.2-1b", "q4_0", "desktop-ddr5")
    linear, table = 973_078_528, 262_668_288
    found = prefill_terms(deployment, 1024)
    # Two steps of 512 tokens read the weights twice, the table once; norms in 32 bits.
    assert found.weights_s == pytest.approx((2 * linear * 4.5 + table * 4.5 + 33 * 2048 * 32) / 8 / 89.6e9)
    # The head's row takes two products. Beside each 8 multiplications of bytes there are two of floats, for scales.
    # The last layer's output projection and feed-forward have one row to multiply.
    last = 2048 * 2048 + 3 * 2048 * 8192
    assert found.compute_s == pytest.approx(2 * (linear * 1024 - last * 1023 + 2 * table) * 10 / 8 / 4.1e12)
    # 32 heads of 64 values, 4 operations each for half of 1,024 * 1,024 pairs, in all layers but the last.
    assert found.attention_s == pytest.approx(4 * 15 * 32 * 64 * 1024**2 / 2 / 2e12)
    # 6 * 2,048 of norms, 3 * 2,048 + 4 * 512 of attention and 3 * 8,192 in 16 layers, written and read in 4 bytes; in
    # the last for one row what comes after the rotation.
    values = 1024 * 16 * 45_056 - 1023 * (3 * 2048 + 2048 + 3 * 8192)
    assert found.rows_s == pytest.approx(values * 8 / 89.6e9)
    assert (found.layers, found.sequences, found.kv_s) == (32, 1, 0)
    made = speed(found, ON_CPU.of_prompts())
    by_hand = found.compute_s / 0.5 + found.attention_s / 0.4 + found.rows_s / 0.8 + 32 * 1e-5 + 1e-4
    assert made.seconds == pytest.approx(by_hand)
    assert made.bounded_by == "arithmetic"
    assert dict(made.shares)["attention of prompts"] == pytest.approx(found.attention_s / 0.4 / by_hand)


def test_beside_float_weights_a_prompt_attends_at_four_fifths_of_the_rate() -> None:
    of = {name: prefill_terms(on("llama-3.2-1b", name, "desktop-ddr5"), 1024) for name in ("q8_0", "bf16", "fp16")}
    assert of["bf16"].attention_s == of["fp16"].attention_s == pytest.approx(1.25 * of["q8_0"].attention_s)
    assert prefill_terms(on("llama-3.2-1b", "bf16", "h100"), 1024).attention_s == 0


def test_a_prompts_time_has_an_interval_only_where_one_was_measured() -> None:
    terms = prefill_terms(on("llama-3.2-1b", "q4_0", "desktop-ddr5"), 1024)
    unknown = speed(terms, ON_CPU.of_prompts())
    assert (unknown.low, unknown.high) == (None, None)
    known = speed(terms, replace(ON_CPU, prompt_low=0.8, prompt_high=1.3).of_prompts())
    assert (known.low, known.high) == (pytest.approx(0.8 * known.seconds), pytest.approx(1.3 * known.seconds))
    assert ON_CPU.interval(is_prompt=False) == (0.9, 1.1)
    assert ON_CPU.interval(is_prompt=True) is None


def test_constants_without_a_share_of_attention_take_one_for_all_operations() -> None:
    terms = prefill_terms(on("llama-3.2-1b", "q4_0", "desktop-ddr5"), 4096)
    plain = replace(ON_CPU, attention_share=0.0, rows_share=0.0)
    expected = (terms.compute_s + terms.attention_s) / 0.5 + 8 * 16 * 1e-5 + 1e-4
    assert speed(terms, plain.of_prompts()).seconds == pytest.approx(expected)


@pytest.mark.parametrize(
    ("kind", "tokens", "pairs"),
    [
        ("sliding", 3000, 3000**2 / 2),
        ("sliding", 8192, 4096**2 / 2 + 4096 * 4096),
        ("chunked", 10_000, (2 * 4096**2 + 1808**2) / 2),
    ],
)
def test_a_window_bounds_how_far_a_prompt_attends(kind: str, tokens: int, pairs: float) -> None:
    every = replace(architecture("mistral-7b"), window=4096, window_layers=32, window_kind=kind)
    # A product with the key and one with the value for each pair, 32 heads of 128 in 32 layers.
    a_pair = 4 * 32 * 128 * 32
    assert attention_flops(every, tokens) == pytest.approx(a_pair * pairs)
    half = replace(every, window_layers=16)
    assert attention_flops(half, tokens) == pytest.approx(a_pair * (pairs + tokens**2 / 2) / 2)


def test_prompts_that_others_read_take_their_attention_along_on_a_cpu() -> None:
    deployment = on("llama-3.2-1b", "q4_0", "desktop-ddr5")
    alone, terms = prefill_terms(deployment, 1024), decode_terms(deployment, Load(5, 1024, 64))
    assert terms.attention_s == pytest.approx(4 / 64 * alone.attention_s)
    assert terms.prefill_s == pytest.approx(4 / 64 * alone.compute_s)


def test_constants_of_prompts_are_found_again() -> None:
    true = replace(ON_CPU, compute_share=0.55, attention_share=0.3)
    made: list[Observation] = []
    for model in ("llama-3.2-1b", "smollm2-135m", "llama-3.1-8b"):
        deployment = on(model, "q8_0", "desktop-ddr5")
        for batch in (1, 4, 16):
            terms = decode_terms(deployment, Load(batch, 1000, 0), interleaved=False)
            made.append(Observation(terms, speed(terms, true).seconds, model, "cpu"))
        for tokens in (64, 512, 2048, 8192):
            terms = prefill_terms(deployment, tokens)
            made.append(Observation(terms, speed(terms, true.of_prompts()).seconds, model, "cpu", is_prompt=True))
    found = fit_constants(made)
    assert (found.compute_share, found.attention_share) == (pytest.approx(0.55, rel=0.03), pytest.approx(0.3, rel=0.05))
    assert found.interval(is_prompt=True) == (pytest.approx(1, abs=0.1), pytest.approx(1, abs=0.1))
    assert np.abs(predict(made, found) / np.array([item.seconds for item in made]) - 1).max() < 0.05


@pytest.mark.parametrize(
    ("fmt", "work"),
    [
        ("q4_0", 1.25),
        ("q8_0", 1.25),
        ("q4_1", 1.375),
        ("q4_k", 1.375),
        ("q6_k", 1.375),
        ("q2_k", 1.625),
        ("bf16", 1),
        ("fp16", 1.125),
    ],
)
def test_on_a_cpu_formats_differ_by_what_their_scales_take(fmt: str, work: float) -> None:
    here, card = (on("llama-3.2-1b", fmt, name) for name in ("desktop-ddr5", "h100"))
    for deployment, factor, head in ((here, work, 2), (card, 1, 1)):
        terms = decode_terms(deployment, Load(1, 8, 0), interleaved=False)
        peak = deployment.hardware.peak(deployment.stored.maths)
        assert terms.compute_s == pytest.approx(2 * (973_078_528 + head * 262_668_288) * factor / peak)


def test_runs_without_prompts_keep_what_is_shipped_for_them() -> None:
    made: list[Observation] = []
    for batch in range(1, 10):
        terms = decode_terms(on("llama-3.2-1b", "q8_0", "desktop-ddr5"), Load(batch, 1000, 0), interleaved=False)
        made.append(Observation(terms, speed(terms, ON_CPU).seconds, "a model", "cpu"))
    found, shipped = fit_constants(made, source="mine"), default_constants("cpu")
    assert (found.attention_share, found.prompt_high) == (shipped.attention_share, shipped.prompt_high)
    assert found.source == f"mine; those of prompts as shipped, {shipped.source}"


def test_a_first_token_waits_for_the_server_a_share_of_the_others_and_its_own_prompt() -> None:
    deployment = on("llama-3.1-8b", "bf16", "h100")
    step = speed(decode_terms(deployment, Load(8, 1024, 0), interleaved=False), IDEAL)
    prompt = speed(prefill_terms(deployment, 1024), IDEAL)
    assert first_token(step, prompt, 8, IDEAL) is None
    fitted = replace(IDEAL, first_token_s=0.05, wait_share=0.1, first_low=0.5, first_high=3.0)
    found = first_token(step, prompt, 8, fitted)
    assert found is not None
    assert found.seconds == pytest.approx(0.05 + 1.8 * prompt.seconds + step.seconds)
    assert (found.low, found.high) == (pytest.approx(0.5 * found.seconds), pytest.approx(3 * found.seconds))
    beyond = first_token(step, prompt, 65, fitted)
    assert beyond is not None
    assert (beyond.low, beyond.high) == (None, None)
